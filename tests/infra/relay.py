"""A link between a host and a phone that is slow, loses, stalls and breaks: a TCP relay in user space.

with relay_to(phone.address, Link(delay_s=0.02, loss=0.01), seed=7) as relay:
    AdbTransport(relay.address)
    relay.stall(3)
    relay.cut_after(100_000, "to_phone")
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Literal

Direction = Literal["to_phone", "to_host"]

_READ_BYTES = 65536
_CHUNKS_IN_FLIGHT = 32
_CONTROL_S = 10.0


@dataclass(frozen=True)
class Link:
    """What the relay does to the bytes of each direction.

    A share `loss` of the segments is lost: TCP sends such a one again after `retransmit_s`, and all behind it waits.
    Which ones are lost depends on seed, connection and position in the stream, not on timing.
    """

    delay_s: float = 0.0
    loss: float = 0.0
    segment_bytes: int = 1460
    retransmit_s: float = 0.2


@dataclass
class _Stream:
    """One direction of one connection."""

    direction: Direction
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    random: Random
    seen_bytes: int = 0
    lost_segments: int = 0
    queue: asyncio.Queue[tuple[float, bytes]] = field(default_factory=lambda: asyncio.Queue(_CHUNKS_IN_FLIGHT))

    def lost(self, chunk: bytes, link: Link) -> int:
        """How many segments that end within this chunk get lost."""
        before = self.seen_bytes // link.segment_bytes
        self.seen_bytes += len(chunk)
        lost = sum(self.random.random() < link.loss for _ in range(self.seen_bytes // link.segment_bytes - before))
        self.lost_segments += lost
        return lost


class Relay:
    """A running relay. Its methods may be called from any thread; each has taken effect when it returns."""

    def __init__(self, target: str, link: Link, seed: int, listener: socket.socket) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._link = link
        self._seed = seed
        self._listener = listener
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._is_down = False
        self._left: dict[Direction, int | None] = {"to_phone": None, "to_host": None}
        self._streams: list[_Stream] = []
        self._passed: dict[Direction, int] = {"to_phone": 0, "to_host": 0}
        self._lost = 0
        self._connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.address = ""

    @property
    def passed_bytes(self) -> dict[Direction, int]:
        """How much has gone through, over all connections."""
        return dict(self._passed)

    @property
    def connections(self) -> int:
        """How often a host has connected."""
        return self._connections

    @property
    def lost_segments(self) -> int:
        return self._lost

    def stall(self, seconds: float | None = None) -> None:
        """Lets nothing pass, without a sign: for so long, or until `resume`."""

        def act() -> None:
            self._flowing.clear()
            if seconds is not None:
                self._loop.call_later(seconds, self._flowing.set)

        self._do(act)

    def resume(self) -> None:
        """Ends a stall, and lets connections in again."""

        def act() -> None:
            self._is_down = False
            self._flowing.set()

        self._do(act)

    def cut(self) -> None:
        """Breaks the connections there are, as a reset; new ones are let in."""
        self._do(self._cut)

    def cut_after(self, count: int, direction: Direction) -> None:
        """Breaks the connections once, after so many more bytes have passed in a direction, in mid-packet if so."""
        self._do(lambda: self._left.update({direction: count}))

    def down(self, seconds: float | None = None) -> None:
        """Breaks the connections and refuses new ones: for so long, or until `resume`."""

        def act() -> None:
            self._is_down = True
            self._cut()
            if seconds is not None:
                self._loop.call_later(seconds, setattr, self, "_is_down", False)

        self._do(act)

    def run(self, started: threading.Event) -> None:
        """The relay's thread."""
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(started))
        self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)

    async def _serve(self, started: threading.Event) -> None:
        self._stopped = asyncio.Event()
        server = await asyncio.start_server(self._accept, sock=self._listener)
        self.address = "{}:{}".format(*self._listener.getsockname())
        started.set()
        async with server:
            await self._stopped.wait()
            self._cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        if self._is_down:
            _reset(writer)
            return
        try:
            phone_reader, phone_writer = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        for stream in (
            _Stream("to_phone", reader, phone_writer, Random(f"{self._seed} {number} to_phone")),
            _Stream("to_host", phone_reader, writer, Random(f"{self._seed} {number} to_host")),
        ):
            self._streams.append(stream)
            for half in (self._take(stream), self._give(stream)):
                task = self._loop.create_task(half)
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _take(self, stream: _Stream) -> None:
        due_s = 0.0
        with suppress(OSError):
            while chunk := await stream.reader.read(_READ_BYTES):
                lost = stream.lost(chunk, self._link)
                self._lost += lost
                due_s = max(due_s, self._loop.time() + self._link.delay_s) + lost * self._link.retransmit_s
                await stream.queue.put((due_s, chunk))
        await stream.queue.put((due_s, b""))

    async def _give(self, stream: _Stream) -> None:
        while True:
            due_s, chunk = await stream.queue.get()
            await asyncio.sleep(max(due_s - self._loop.time(), 0))
            await self._flowing.wait()
            if not chunk:
                stream.writer.close()
                return
            left = self._left[stream.direction]
            if left is not None:
                chunk, is_last = chunk[:left], left <= len(chunk)
                self._left[stream.direction] = None if is_last else left - len(chunk)
            else:
                is_last = False
            self._passed[stream.direction] += len(chunk)
            with suppress(OSError):
                stream.writer.write(chunk)
                await stream.writer.drain()
            if is_last:
                self._cut()
                return

    def _cut(self) -> None:
        for stream in self._streams:
            _reset(stream.writer)
        self._streams.clear()

    def _do(self, act: Callable[[], object]) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (act(), done.set()))
        if not done.wait(_CONTROL_S):
            raise AssertionError("the relay does not answer")


def _reset(writer: asyncio.StreamWriter) -> None:
    """Closes at once; the peer sees a reset when bytes are on their way."""
    plain = writer.get_extra_info("socket")
    with suppress(OSError):
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def relay_to(
    target: str, link: Link | None = None, *, seed: int = 0, listener: socket.socket | None = None
) -> Iterator[Relay]:
    """A relay in front of HOST:PORT: on 127.0.0.1, or behind a listening socket, which may be of another namespace."""
    relay = Relay(target, link or Link(), seed, listener or socket.create_server(("127.0.0.1", 0)))
    started = threading.Event()
    thread = threading.Thread(target=relay.run, args=(started,), name="relay", daemon=True)
    thread.start()
    assert started.wait(_CONTROL_S), "the relay did not start"
    try:
        yield relay
    finally:
        relay.stop()
        thread.join(_CONTROL_S)
