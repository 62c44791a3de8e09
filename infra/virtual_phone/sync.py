"""The service `sync:`, version 1: STAT, LIST, SEND, RECV, QUIT.

Source: SYNC.TXT and daemon/file_sync_service.cpp of AOSP (packages/modules/adb), also for the texts of failures.
"""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path
from typing import BinaryIO

from .connection import LinkBroken, Stream
from .kernel_faults import JOB_FILE, KernelFaults
from .paths import PhonePaths
from .protocol import ProtocolError
from .storage import Storage

MAX_CHUNK_BYTES = 64 * 1024
_MAX_PATH_BYTES = 1024
_REQUEST = struct.Struct("<4sI")
_STAT = struct.Struct("<4s3I")
_ENTRY = struct.Struct("<4s4I")


class SyncService:
    """One sync stream: requests are answered in order until QUIT."""

    def __init__(self, stream: Stream, paths: PhonePaths, storage: Storage, kernel_faults: KernelFaults) -> None:
        self._stream = stream
        self._paths = paths
        self._storage = storage
        self._kernel_faults = kernel_faults
        self._received = bytearray()

    async def serve(self) -> None:
        """Runs until the host quits or closes the stream."""
        try:
            while True:
                name, length = _REQUEST.unpack(await self._take(_REQUEST.size))
                if name == b"QUIT":
                    return
                if length > _MAX_PATH_BYTES:
                    await self._fail("path too long")
                    return
                await self._answer(name, os.fsdecode(await self._take(length)))
        except (LinkBroken, ProtocolError):
            return

    async def _answer(self, name: bytes, argument: str) -> None:
        if name == b"STAT":
            await self._stat(argument)
        elif name == b"LIST":
            await self._list(argument)
        elif name == b"RECV":
            await self._receive(argument)
        elif name == b"SEND":
            await self._send(argument)
        else:
            await self._fail(f"unknown command {name!r}")
            raise ProtocolError(f"sync: unknown command {name!r}")

    async def _stat(self, phone_path: str) -> None:
        """Mode, size, time of the last change; zeros for what does not exist. Links are not followed."""
        try:
            status = os.lstat(self._paths.local(phone_path))
        except OSError:
            await self._stream.write(_STAT.pack(b"STAT", 0, 0, 0))
            return
        await self._stream.write(_STAT.pack(b"STAT", *_numbers(status)))

    async def _list(self, phone_path: str) -> None:
        """The folder's entries; of a folder that cannot be read, none."""
        answer = bytearray()
        try:
            with os.scandir(self._paths.followed(phone_path)) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    status = entry.stat(follow_symlinks=False)
                    answer += _ENTRY.pack(b"DENT", *_numbers(status), len(name)) + name
        except OSError:
            answer.clear()
        await self._stream.write(bytes(answer) + _ENTRY.pack(b"DONE", 0, 0, 0, 0))

    async def _receive(self, phone_path: str) -> None:
        """`adb pull` of one file."""
        try:
            file = self._paths.followed(phone_path).open("rb")
        except OSError as error:
            await self._fail(f"open failed: {error.strerror}")
            return
        with file:
            try:
                while chunk := file.read(MAX_CHUNK_BYTES):
                    await self._stream.write(_REQUEST.pack(b"DATA", len(chunk)) + chunk)
            except OSError as error:
                await self._fail(f"read failed: {error.strerror}")
                return
        await self._stream.write(_REQUEST.pack(b"DONE", 0))

    async def _send(self, argument: str) -> None:
        """`adb push` of one file. On failure the rest is read and thrown away: some hosts listen only at the end."""
        phone_path, _, mode_text = argument.rpartition(",")
        mode = int(mode_text) if mode_text.isdecimal() else 0
        failure: str | None = None
        path: Path | None = None
        try:
            path = self._prepare(phone_path)
            if stat.S_ISLNK(mode):
                modified = await self._take_link(path)
            else:
                modified = await self._take_file(path, _spread_permissions(mode))
        except OSError as error:
            failure = f"couldn't create file: {error.strerror}" if path is None else f"write failed: {error.strerror}"
            if path is not None:
                path.unlink(missing_ok=True)
            await self._skip_to_done()
        if failure:
            await self._fail(failure)
            return
        if path is not None and not path.is_symlink():
            if path.name == JOB_FILE:
                path.write_bytes(self._kernel_faults.tamper(path.read_bytes()))
            os.utime(path, (modified, modified))
        await self._stream.write(_REQUEST.pack(b"OKAY", 0))

    def _prepare(self, phone_path: str) -> Path:
        """Makes the folders above the file and takes away what is in its place."""
        path = self._paths.writable(phone_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or path.is_file():
            path.unlink()  # a running program's file cannot be written to, only replaced
        elif path.is_dir():
            raise IsADirectoryError(21, "Is a directory")
        return path

    async def _take_file(self, path: Path, permissions: int) -> int:
        with path.open("xb", buffering=0) as file:
            while True:
                name, length = _REQUEST.unpack(await self._take(_REQUEST.size))
                if name == b"DONE":
                    path.chmod(permissions)
                    return int(length)
                await self._take_chunk(name, length, file)

    async def _take_chunk(self, name: bytes, length: int, file: BinaryIO) -> None:
        if name != b"DATA" or length > MAX_CHUNK_BYTES:
            raise ProtocolError(f"sync: {name!r} of {length} bytes within a file")
        chunk = await self._take(length)
        self._storage.require(length)
        file.write(chunk)

    async def _take_link(self, path: Path) -> int:
        """A symbolic link: its target is the only chunk. An absolute one is a path of the phone."""
        name, length = _REQUEST.unpack(await self._take(_REQUEST.size))
        if name != b"DATA" or length > _MAX_PATH_BYTES:
            raise ProtocolError(f"sync: {name!r} of {length} bytes as a link's target")
        target = os.fsdecode((await self._take(length)).rstrip(b"\0"))
        path.symlink_to(self._paths.local(target) if target.startswith("/") else target)
        return await self._skip_to_done()

    async def _skip_to_done(self) -> int:
        """Throws away the rest of a file; returns its time of last change (Unix seconds)."""
        while True:
            name, length = _REQUEST.unpack(await self._take(_REQUEST.size))
            if name == b"DONE":
                return int(length)
            if name != b"DATA" or length > MAX_CHUNK_BYTES:
                raise ProtocolError(f"sync: {name!r} of {length} bytes within a file")
            await self._take(length)

    async def _take(self, count: int) -> bytes:
        while len(self._received) < count:
            payload = await self._stream.read()
            if not payload:
                raise LinkBroken("the host closed the stream within a request")
            self._received += payload
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    async def _fail(self, reason: str) -> None:
        message = reason.encode("utf-8", errors="surrogateescape")
        await self._stream.write(_REQUEST.pack(b"FAIL", len(message)) + message)


def _numbers(status: os.stat_result) -> tuple[int, int, int]:
    """Version 1 has 32 bits for each."""
    return status.st_mode, status.st_size & 0xFFFFFFFF, int(status.st_mtime) & 0xFFFFFFFF


def _spread_permissions(mode: int) -> int:
    """As adbd: group and others get what the owner has."""
    owner = mode & 0o700
    return mode & 0o777 | owner >> 3 | owner >> 6
