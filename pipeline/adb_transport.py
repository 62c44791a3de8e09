"""A phone over ADB, by TCP or USB. What adb-shell does wrong is known in the adb_* modules and nowhere else."""

from __future__ import annotations

import re
import shlex
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from adb_shell.adb_device import AdbDevice
from adb_shell.exceptions import (
    AdbCommandFailureException,
    AdbConnectionError,
    AdbTimeoutError,
    DeviceAuthError,
    InvalidChecksumError,
    InvalidCommandError,
    InvalidResponseError,
    PushFailedError,
    TcpTimeoutException,
)

from splitfleet.kernels.errors import DeviceError

from .adb_guard import BadPacket, GuardedLink, ServiceRefused, TlsWanted
from .adb_link import WholeWriteTcp, host_key
from .adb_usb import UsbLink
from .transport import (
    READ_LIMIT_BYTES,
    STORAGE_FULL,
    CommandResult,
    CommandTimeout,
    Deadlines,
    GarbledLink,
    PhoneStorageFull,
    PhoneUnauthorized,
    PhoneUnreachable,
)

_TIMED_OUT = (TcpTimeoutException, AdbTimeoutError)
_BROKEN = (
    AdbConnectionError,
    OSError,
)
# adb-shell also lets errors of struct, of a table and of text through where the packets' content is nonsense.
_GARBLED = (
    BadPacket,
    InvalidChecksumError,
    InvalidCommandError,
    InvalidResponseError,
    struct.error,
    KeyError,
    ValueError,
)
_ALLOWANCE_BYTES = 16 << 20
"""What a shell command may print, protocol and all; files are counted apart."""
_LONGEST_FILE_BYTES = 1 << 30
_EXIT_CODE = re.compile(r"splitfleet-exit=(\d+)\r?\n?\Z")


class AdbTransport:
    """A phone at HOST:PORT, or on USB by serial. One connection, one caller at a time: adb-shell cannot share it.

    `on_prompt` is called when the phone starts asking its owner to accept this host's key.
    """

    folder = "/data/local/tmp/splitfleet"

    def __init__(
        self,
        address: str,
        *,
        usb: bool = False,
        deadlines: Deadlines | None = None,
        on_prompt: Callable[[], None] | None = None,
    ) -> None:
        self.name = f"phone {address}"
        self._address = address
        self._usb = usb
        self._deadlines = deadlines or Deadlines()
        self._on_prompt = on_prompt
        self._prompted = False
        self._lock = threading.Lock()
        self._device: AdbDevice | None = None
        self._guard = GuardedLink(UsbLink(address) if usb else WholeWriteTcp(*_host_port(address)))

    def run(self, command: str, timeout_s: float) -> CommandResult:
        # The old shell service, which every phone has, tells no exit code: the shell itself must, and it must
        # outlive a command that ends with exit.
        with self._connection(timeout_s) as device:
            text = device.shell(f"({command}\n)\necho splitfleet-exit=$?", **_limits(timeout_s))
        match = _EXIT_CODE.search(text)
        if match is None:
            self.close()
            raise PhoneUnreachable(f"{self.name}: the shell ended without an answer; check the cable or the network")
        return CommandResult(text[: match.start()], int(match.group(1)))

    def push(self, content: bytes, remote: str, mode: int = 0o644) -> None:
        # adb-shell's default mode is 0770.
        with self._connection(self._deadlines.transfer_s, remote) as device:
            device.push(BytesIO(content), remote, st_mode=stat.S_IFREG | mode, **self._transfer_limits)

    def pull(self, remote: str, local: Path) -> None:
        content = BytesIO()
        with self._connection(self._deadlines.transfer_s, remote) as device:
            self._guard.allowance_bytes = _LONGEST_FILE_BYTES
            device.pull(remote, content, **self._transfer_limits)
        local.write_bytes(content.getvalue())

    def read_from(self, remote: str, offset: int) -> bytes:
        # exec: is shell: without a terminal in between, so bytes stay bytes.
        command = f"tail -c +{offset + 1} {shlex.quote(remote)} 2>/dev/null | head -c {READ_LIMIT_BYTES}"
        with self._connection(self._deadlines.transfer_s) as device:
            content: bytes = device.exec_out(command, decode=False, **self._transfer_limits)
        return content

    def close(self) -> None:
        with self._lock:
            self._drop()

    @property
    def _transfer_limits(self) -> dict[str, float]:
        return dict.fromkeys(("transport_timeout_s", "read_timeout_s"), self._deadlines.transfer_s)

    @contextmanager
    def _connection(self, timeout_s: float, remote: str = "") -> Iterator[AdbDevice]:
        """The connected device. Any failure drops the connection: after one, its packets are out of step."""
        with self._lock:
            if self._device is None:
                self._device = self._connect()
            self._guard.allowance_bytes = _ALLOWANCE_BYTES
            try:
                yield self._device
            except (PushFailedError, AdbCommandFailureException) as error:
                self._drop()
                raise self._file_error(error, remote) from error
            except _TIMED_OUT as error:
                self._drop()
                raise CommandTimeout(
                    f"{self.name}: no answer within {timeout_s:g} s; it may hang: unlock it, or restart it"
                ) from error
            except ServiceRefused as error:
                self._drop()
                raise DeviceError(
                    f"{self.name}: it refuses this service of ADB; is its debugging on and its Android 5 or newer?"
                ) from error
            except _GARBLED as error:
                self._drop()
                raise GarbledLink(
                    f"{self.name}: the link is garbled ({error}); try another cable or network, or restart the phone"
                ) from error
            except _BROKEN as error:
                self._drop()
                raise PhoneUnreachable(
                    f"{self.name}: the link broke ({error}); check the cable or the network"
                ) from error

    def _connect(self) -> AdbDevice:
        self._prompted = False
        key = host_key()
        device = AdbDevice(self._guard, default_transport_timeout_s=self._deadlines.connect_s)
        self._guard.allowance_bytes = _ALLOWANCE_BYTES
        limits = self._deadlines
        try:
            device.connect(
                rsa_keys=[key],
                transport_timeout_s=limits.connect_s,
                read_timeout_s=limits.connect_s,
                auth_timeout_s=limits.authorize_s,
                auth_callback=self._prompt,
            )
        except TlsWanted as error:
            device.close()
            raise PhoneUnauthorized(
                f"{self.name}: Android's wireless debugging asks for TLS, which cannot be paired from "
                "here; plug the phone in, run adb tcpip 5555, and name its address with port 5555"
            ) from error
        except (DeviceAuthError, *_TIMED_OUT, *_GARBLED, *_BROKEN) as error:
            device.close()
            # adb-shell tells neither a denied nor an ignored prompt from a dead phone; that it was shown does.
            if self._prompted or isinstance(error, DeviceAuthError):
                raise PhoneUnauthorized(
                    f"{self.name}: it has not accepted this host's key; unlock the phone, confirm "
                    '"Allow USB debugging" on its screen, and run the command again'
                ) from error
            raise PhoneUnreachable(
                f"{self.name}: no answer ({error}); check that it is on, that USB debugging is on, and the address"
            ) from error
        return device

    def _prompt(self, _device: Any) -> None:
        self._prompted = True
        if self._on_prompt:
            self._on_prompt()

    def _file_error(self, error: Exception, remote: str) -> DeviceError:
        reason = error.args[0] if error.args else error
        text = bytes(reason).decode("utf-8", "replace") if isinstance(reason, bytes | bytearray) else str(reason)
        if STORAGE_FULL in text:
            return PhoneStorageFull(f"{self.name}: disk full: no space left for {remote}; free some and run again")
        return DeviceError(f"{self.name}: {remote}: {text}; restart the phone and run the command again")

    def _drop(self) -> None:
        if self._device is not None:
            self._device.close()
            self._device = None


def _limits(timeout_s: float) -> dict[str, float]:
    """A silent command needs both of adb-shell's packet deadlines raised, and the whole gets one of its own."""
    return {"transport_timeout_s": timeout_s, "read_timeout_s": timeout_s, "timeout_s": timeout_s}


def _host_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
