"""One host's connection: authentication, then streams, each with one packet in flight per direction."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine

from .auth import HostKey, new_token
from .faults import Link
from .prompt import Authority
from .protocol import (
    MAX_PAYLOAD_BYTES,
    VERSION_WITH_CHECKSUM,
    VERSION_WITHOUT_CHECKSUM,
    AuthKind,
    Command,
    Packet,
    ProtocolError,
    encode,
    read_packet,
    text,
)

_LOGGER = logging.getLogger(__name__)


class LinkBroken(Exception):
    """The connection is gone, or the fault "drop" has just ended it."""


class Stream:
    """A service's end of one stream. Reading gives whole payloads, as the host packed them."""

    def __init__(self, connection: Connection, service: str, local_id: int, remote_id: int) -> None:
        self._connection = connection
        self.service = service
        """`sync`, `shell` or `exec`."""
        self.local_id = local_id
        self.remote_id = remote_id
        self._incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self.closed = asyncio.Event()
        """Set once the host has closed the stream or is gone."""

    async def read(self) -> bytes:
        """The next payload, empty once the stream is closed. Taking it tells the host to send more."""
        if self.closed.is_set() and self._incoming.empty():
            return b""
        payload = await self._incoming.get()
        if payload is None:
            return b""
        await self._connection.send(Packet(Command.OKAY, self.local_id, self.remote_id))
        return payload

    async def write(self, data: bytes) -> None:
        """Sends data; waits until the host has taken what was sent before. Raises LinkBroken when it no longer can."""
        step = self._connection.max_payload_bytes
        for start in range(0, len(data), step):
            while not self._may_write.is_set():  # several may wait; only one may go on
                await self._may_write.wait()
            if self.closed.is_set():
                raise LinkBroken("the host closed the stream")
            self._may_write.clear()
            chunk = data[start : start + step]
            await self._connection.send(Packet(Command.WRTE, self.local_id, self.remote_id, chunk))

    @property
    def max_write_bytes(self) -> int:
        """The longest payload that crosses in one packet."""
        return self._connection.max_payload_bytes

    def receive(self, payload: bytes) -> None:
        """The host sent data."""
        self._incoming.put_nowait(payload)

    def acknowledge(self) -> None:
        """The host took the last packet."""
        self._may_write.set()

    def end(self) -> None:
        """Nothing more comes or goes."""
        self.closed.set()
        self._incoming.put_nowait(None)
        self._may_write.set()


Service = Callable[[Stream], Coroutine[None, None, None]]


class Connection:
    """Speaks the device's side with one host. `open_service` gives the service of a name, or None if there is none."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        banner: str,
        authority: Authority,
        link: Link,
        open_service: Callable[[str], Service | None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._banner = banner
        self._authority = authority
        self._link = link
        self._open_service = open_service
        self._token = b""
        self._version = VERSION_WITH_CHECKSUM
        self.max_payload_bytes = 4096
        self._online = False
        self._last_id = 0
        self._streams: dict[int, Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Answers until the host goes away; then ends every service of this connection."""
        try:
            while True:
                packet = await self._next_packet()
                await self._handle(packet)
        except (asyncio.IncompleteReadError, ConnectionError, LinkBroken, ProtocolError) as error:
            if isinstance(error, ProtocolError):
                _LOGGER.warning("connection ended: %s", error)
        finally:
            self.abort()
            for asking in self._asking:
                asking.cancel()
            for stream in self._streams.values():
                stream.end()
            if self._tasks:
                await asyncio.wait(self._tasks)

    def abort(self) -> None:
        """Breaks the connection now; what is not sent yet is lost."""
        self._writer.transport.abort()

    async def send(self, packet: Packet) -> None:
        """Sends one packet. Raises LinkBroken."""
        greeting = packet.command in (Command.CNXN, Command.AUTH)  # the host cannot know the version yet
        data = encode(packet, with_checksum=greeting or self._version < VERSION_WITHOUT_CHECKSUM)
        allowed = await self._link.admit(len(data), self._service_of(packet.arg0))
        if self._writer.transport.is_closing():
            raise LinkBroken
        self._writer.write(data[:allowed])
        if allowed < len(data):
            self.abort()
            raise LinkBroken
        try:
            await self._writer.drain()
        except ConnectionError:
            raise LinkBroken from None

    async def _next_packet(self) -> Packet:
        packet = await read_packet(
            self._reader, with_checksum=self._online and self._version < VERSION_WITHOUT_CHECKSUM
        )
        size = 24 + len(packet.payload)
        service = _service(packet) if packet.command == Command.OPEN else self._service_of(packet.arg1)
        if await self._link.admit(size, service) < size:
            raise LinkBroken
        return packet

    def _service_of(self, local_id: int) -> str | None:
        stream = self._streams.get(local_id)
        return None if stream is None else stream.service

    async def _handle(self, packet: Packet) -> None:
        match packet.command:
            case Command.CNXN:
                await self._greet(packet)
            case Command.AUTH:
                await self._authenticate(packet)
            case Command.STLS:
                raise ProtocolError("the host asked for TLS, which this phone does not offer")
            case _ if not self._online:
                _LOGGER.info("%s before authentication is ignored", packet.command.name)
            case Command.OPEN:
                await self._open(packet)
            case Command.OKAY | Command.WRTE | Command.CLSE:
                await self._to_stream(packet)

    async def _greet(self, packet: Packet) -> None:
        """A host begins, or begins anew on the same link; it has to sign a fresh token."""
        self._online = False
        for stream in list(self._streams.values()):
            stream.end()
        self._version = min(packet.arg0, VERSION_WITHOUT_CHECKSUM)
        self.max_payload_bytes = max(1, min(packet.arg1, MAX_PAYLOAD_BYTES))
        await self._send_token()

    async def _send_token(self) -> None:
        self._token = new_token()
        await self.send(Packet(Command.AUTH, AuthKind.TOKEN, 0, self._token))

    async def _authenticate(self, packet: Packet) -> None:
        if not self._token:
            raise ProtocolError("AUTH before CNXN")
        if packet.arg0 == AuthKind.SIGNATURE:
            token, self._token = self._token, b"used"
            if self._authority.knows(token, packet.payload):
                await self._go_online()
            else:
                await self._send_token()
        elif packet.arg0 == AuthKind.RSA_PUBLIC_KEY:
            try:
                key = HostKey(text(packet.payload))
            except ValueError as error:
                raise ProtocolError(str(error)) from None
            self._spawn(self._ask(key), self._asking)
        else:
            raise ProtocolError(f"AUTH of unknown kind {packet.arg0}")

    async def _ask(self, key: HostKey) -> None:
        """The prompt on the phone's screen. A denied host hears nothing, as on a real phone."""
        if await self._authority.ask(key) and not self._writer.transport.is_closing():
            await self._go_online()

    async def _go_online(self) -> None:
        self._online = True
        banner = self._banner.encode()
        await self.send(Packet(Command.CNXN, VERSION_WITHOUT_CHECKSUM, MAX_PAYLOAD_BYTES, banner))

    async def _open(self, packet: Packet) -> None:
        name = text(packet.payload)
        service = self._open_service(name)
        if service is None:
            _LOGGER.info("no service %r", name)
            await self.send(Packet(Command.CLSE, 0, packet.arg0))
            return
        self._last_id += 1
        stream = Stream(self, _service(packet), self._last_id, packet.arg0)
        self._streams[stream.local_id] = stream
        await self.send(Packet(Command.OKAY, stream.local_id, stream.remote_id))
        self._spawn(self._run(service, stream), self._tasks)

    async def _run(self, service: Service, stream: Stream) -> None:
        try:
            await service(stream)
        finally:
            self._streams.pop(stream.local_id, None)
            if not stream.closed.is_set():
                await self.send(Packet(Command.CLSE, stream.local_id, stream.remote_id))

    async def _to_stream(self, packet: Packet) -> None:
        stream = self._streams.get(packet.arg1)
        if stream is None:
            return
        if packet.command == Command.OKAY:
            stream.acknowledge()
        elif packet.command == Command.WRTE:
            stream.receive(packet.payload)
        else:
            stream.end()
            await self.send(Packet(Command.CLSE, stream.local_id, stream.remote_id))

    def _spawn(self, work: Coroutine[None, None, None], group: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(_logged(work))
        group.add(task)
        task.add_done_callback(group.discard)


def _service(packet: Packet) -> str:
    """What the stream is for that this OPEN packet asks for: `shell,v2:ls` is `shell`."""
    return re.split("[:,]", text(packet.payload), maxsplit=1)[0]


async def _logged(work: Coroutine[None, None, None]) -> None:
    """A broken link ends a service quietly; anything else that goes wrong in one is a fault of ours, and is shown."""
    try:
        await work
    except LinkBroken:
        pass
    except Exception:
        _LOGGER.exception("a service failed")
