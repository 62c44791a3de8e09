"""The services `shell:` and `exec:`: programs of this machine, run in the phone's folder.

Source of the shell protocol (version 2): shell_protocol.h of AOSP (packages/modules/adb): one byte of kind, four of
length (little-endian), data.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import re
import struct
import termios
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from .connection import Stream
from .descriptors import read_some, write_all
from .paths import PhonePaths
from .processes import Child, Processes
from .storage import Storage

_PIPE_BYTES = 64 * 1024
_FRAME = struct.Struct("<BI")
# A limit on the size of files stands for the full disk: who runs into it names the limit, on a phone the disk.
_LIMIT_SAID, _FULL_SAID = os.strerror(errno.EFBIG).encode(), os.strerror(errno.ENOSPC).encode()


class Kind(IntEnum):
    """Kinds of frames of the shell protocol."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    EXIT = 3
    CLOSE_STDIN = 4
    WINDOW_SIZE = 5


@dataclass(frozen=True)
class ShellRequest:
    """What a service name asks for."""

    command: str
    framed: bool
    terminal: bool


def parse_request(name: str) -> ShellRequest | None:
    """Reads `shell:CMD`, `shell,v2,TERM=...,raw:CMD` or `exec:CMD`; None when it is another service."""
    head, colon, command = name.partition(":")
    service, *options = head.split(",")
    if not colon or service not in ("shell", "exec") or (service == "exec" and (options or not command)):
        return None
    terminal = "pty" in options or (not command and "raw" not in options)
    return ShellRequest(command, "v2" in options, terminal)


class FrameReader:
    """Takes the shell protocol's frames out of a byte stream, however it is cut."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Frames (kind, data) that are complete now."""
        self._data += data
        frames = []
        while len(self._data) >= _FRAME.size:
            kind, length = _FRAME.unpack_from(self._data)
            if len(self._data) < _FRAME.size + length:
                break
            frames.append((kind, bytes(self._data[_FRAME.size : _FRAME.size + length])))
            del self._data[: _FRAME.size + length]
        return frames


def frame(kind: Kind, data: bytes) -> bytes:
    """One frame of the shell protocol."""
    return _FRAME.pack(kind, len(data)) + data


@dataclass
class Channels:
    """This process's ends of a program's input and outputs, and the names that /proc gives to all of them."""

    stdin: int
    outputs: list[tuple[Kind, int]]
    names: frozenset[str]

    def close_stdin(self) -> None:
        """The program reads the end of its input."""
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1


class ShellService:
    """Runs one command, or an interactive shell, for one stream."""

    def __init__(
        self,
        stream: Stream,
        request: ShellRequest,
        *,
        paths: PhonePaths,
        storage: Storage,
        processes: Processes,
        environment: Mapping[str, str],
    ) -> None:
        self._stream = stream
        self._request = request
        self._paths = paths
        self._storage = storage
        self._processes = processes
        self._environment = environment

    async def serve(self) -> None:
        """Until the program exits or the host closes the stream; then what is not detached is ended."""
        child, channels = self._start_terminal() if self._request.terminal else self._start_pipes()
        outputs = [asyncio.create_task(self._pump_output(kind, fd)) for kind, fd in channels.outputs]
        pump_input = asyncio.create_task(self._pump_input(channels))
        gone = asyncio.ensure_future(self._stream.closed.wait())
        ends: list[asyncio.Future[Any]] = [child.exit, gone]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            self._processes.end_session(child, channels.names)
            code = await child.exit
            await asyncio.gather(*outputs)
            if self._request.framed:
                await self._stream.write(frame(Kind.EXIT, bytes([code if code >= 0 else 128 - code])))
        finally:
            for task in (*outputs, pump_input, gone):
                task.cancel()
            await asyncio.gather(*outputs, pump_input, gone, return_exceptions=True)
            channels.close_stdin()
            for _, fd in channels.outputs:
                os.close(fd)

    def _start_pipes(self) -> tuple[Child, Channels]:
        stdin, to_stdin = os.pipe()
        from_stdout, stdout = os.pipe()
        from_stderr, stderr = os.pipe() if self._request.framed else (-1, os.dup(stdout))
        outputs = [(Kind.STDOUT, from_stdout)]
        if self._request.framed:
            outputs.append((Kind.STDERR, from_stderr))
        names = frozenset(str(Path(f"/proc/self/fd/{fd}").readlink()) for fd in (stdin, stdout, stderr))
        try:
            child = self._start(stdin, stdout, stderr)
        finally:
            for fd in (stdin, stdout, stderr):
                os.close(fd)
        return child, Channels(to_stdin, outputs, names)

    def _start_terminal(self) -> tuple[Child, Channels]:
        master, slave = os.openpty()
        names = frozenset([os.ttyname(slave)])
        try:
            child = self._start(slave, slave, slave, lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        finally:
            os.close(slave)
        return child, Channels(os.dup(master), [(Kind.STDOUT, master)], names)

    def _start(self, stdin: int, stdout: int, stderr: int, prepare: Callable[[], object] | None = None) -> Child:
        full = self._storage.is_full()
        command = self._paths.command(self._request.command, disk_full=full)
        if full:  # what a redirection does not show: programs that open files themselves
            command = f"ulimit -S -f 0; {command}"
        return self._processes.start(
            ["/bin/sh", "-c", command] if self._request.command else ["/bin/sh", "-i"],
            environment=self._environment,
            folder=self._paths.root,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            prepare=prepare,
        )

    async def _pump_output(self, kind: Kind, fd: int) -> None:
        os.set_blocking(fd, False)
        limit = max(1, min(_PIPE_BYTES, self._stream.max_write_bytes - _FRAME.size))
        while data := await read_some(fd, limit):
            if _LIMIT_SAID in data and self._storage.is_full():
                data = data.replace(_LIMIT_SAID, _FULL_SAID)
            await self._stream.write(frame(kind, data) if self._request.framed else data)

    async def _pump_input(self, channels: Channels) -> None:
        frames = FrameReader()
        os.set_blocking(channels.stdin, False)
        while payload := await self._stream.read():
            parts = frames.feed(payload) if self._request.framed else [(int(Kind.STDIN), payload)]
            for kind, data in parts:
                if kind == Kind.STDIN and channels.stdin >= 0:
                    await write_all(channels.stdin, data)
                elif kind == Kind.CLOSE_STDIN:
                    channels.close_stdin()
                elif kind == Kind.WINDOW_SIZE and self._request.terminal:
                    _resize(channels.stdin, data)


def _resize(terminal: int, data: bytes) -> None:
    """The host's window as "rows x columns, width x height in pixels"."""
    size = re.match(rb"(\d{1,4})x(\d{1,4}),(\d{1,5})x(\d{1,5})", data)
    if size:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("<4H", *map(int, size.groups())))
