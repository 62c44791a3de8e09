"""ADB connections over TCP for adb-shell, and the host's ADB key."""

from __future__ import annotations

import select
import socket
import time
from pathlib import Path

from adb_shell.auth.keygen import keygen
from adb_shell.auth.sign_cryptography import CryptographySigner
from adb_shell.exceptions import TcpTimeoutException
from adb_shell.transport.tcp_transport import TcpTransport
from filelock import FileLock

from splitfleet.kernels.errors import UserError

from .home import splitfleet_home


class WholeWriteTcp(TcpTransport):  # type: ignore[misc]  # adb-shell has no types
    """adb-shell's TCP transport, with three faults mended: it sent once and ignored how much went out (pushes over
    real links failed), it left Nagle's algorithm on (44 ms a shell call instead of 2), and it read a closed
    connection as nothing-yet in a busy loop."""

    _connection: socket.socket

    def connect(self, transport_timeout_s: float | None) -> None:
        super().connect(transport_timeout_s)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def bulk_read(self, numbytes: int, transport_timeout_s: float | None) -> bytes:
        readable, _, _ = select.select([self._connection], [], [], transport_timeout_s)
        if not readable:
            raise TcpTimeoutException(f"nothing to read within {transport_timeout_s} s")
        data = self._connection.recv(numbytes)
        if not data:
            raise ConnectionResetError("the phone closed the connection")
        return data

    def bulk_write(self, data: bytes, transport_timeout_s: float | None) -> int:
        rest = memoryview(data)
        deadline = None if transport_timeout_s is None else time.monotonic() + transport_timeout_s
        while rest:
            left_s = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            _, writable, _ = select.select([], [self._connection], [], left_s)
            if not writable:
                raise TcpTimeoutException(f"could not send {len(rest)} of {len(data)} bytes in {transport_timeout_s} s")
            rest = rest[self._connection.send(rest) :]
        return len(data)


def host_key() -> CryptographySigner:
    """This host's ADB key; made once, readable by its owner only. Raises UserError where it cannot be read or made."""
    path = splitfleet_home() / "adbkey"
    try:
        return _host_key(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: this host's ADB key cannot be read or made ({error}); make it this user's again, or remove it: "
            "a new one is made then, which each phone asks to allow"
        ) from error


def _host_key(path: Path) -> CryptographySigner:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(path.with_name("adbkey.lock")):
        if not path.exists():
            unfinished = path.with_name("adbkey.new")
            unfinished.touch(mode=0o600)
            keygen(str(unfinished))
            path.with_name("adbkey.new.pub").replace(path.with_name("adbkey.pub"))
            unfinished.replace(path)
    return CryptographySigner(str(path))
