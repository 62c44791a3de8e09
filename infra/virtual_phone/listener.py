"""The phone's port on loopback: it can be given up and taken again, as when a cable is pulled and put back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from splitfleet.kernels.errors import UserError

from .connection import Connection

_HOST = "127.0.0.1"
_BUFFER_BYTES = 2 << 20  # two packets of the largest size


class Listener:
    """Accepts hosts; `connect` makes a Connection of each."""

    def __init__(self, port: int, connect: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Connection]) -> None:
        """Takes the port (0: any free one), without listening yet. Raises UserError when it is in use."""
        self._connect = connect
        self._socket = _bind(port)
        self._port: int = self._socket.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._connections: dict[Connection, asyncio.Task[None]] = {}

    @property
    def address(self) -> str:
        """What `adb connect` takes."""
        return f"{_HOST}:{self._port}"

    async def appear(self) -> None:
        """Begins to accept connections."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, sock=self._socket, limit=_BUFFER_BYTES)

    def disappear(self) -> None:
        """Refuses connections from now on and breaks the open ones; keeps the port."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._socket = _bind(self._port)
        self.break_connections()

    def break_connections(self) -> None:
        """Ends all open connections; hosts may come again."""
        for connection in self._connections:
            connection.abort()

    async def close(self) -> None:
        """Disappears for good; returns when every service has ended."""
        self.disappear()
        self._socket.close()
        if self._connections:
            await asyncio.wait(list(self._connections.values()))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = self._connect(reader, writer)
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("asyncio runs this in a task")
        self._connections[connection] = task
        try:
            await connection.serve()
        finally:
            del self._connections[connection]


def _bind(port: int) -> socket.socket:
    # named as TCP, or asyncio would leave out TCP_NODELAY, and each answer would wait 40 ms for an acknowledgement
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, port))
    except OSError as error:
        listener.close()
        raise UserError(f"port {port} on {_HOST} cannot be had: {error.strerror}; --port 0 takes a free one") from None
    return listener
