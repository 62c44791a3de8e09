"""How the host talks to a device: run, push, pull, read on. Two ways: ADB and this host itself.

    DeviceError
        PhoneUnreachable     no answer, or the link broke: try again later
            GarbledLink      what came over the link is no ADB: its checksum or its packets are wrong
        PhoneUnauthorized    the phone has not accepted this host's key
        PhoneStorageFull     no space left for what was to be written
        CommandTimeout       a command did not end within its deadline

Whatever goes wrong, the next call starts from a fresh connection. Calls from several threads are served one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from splitfleet.kernels.errors import DeviceError


class PhoneUnreachable(DeviceError):
    """The phone does not answer, or the link to it broke."""


class GarbledLink(PhoneUnreachable):
    """What the phone sends is no ADB, or was damaged on its way."""


class PhoneUnauthorized(DeviceError):
    """The phone has not accepted this host's ADB key."""


class PhoneStorageFull(DeviceError):
    """The phone has no space left."""


class CommandTimeout(DeviceError):
    """A command on the phone did not end within its deadline."""


@dataclass(frozen=True)
class CommandResult:
    """What a shell command wrote (both streams together) and its exit code."""

    stdout: str
    exit_code: int


@dataclass(frozen=True)
class Deadlines:
    """How long each step may take, in seconds: opening a connection, the person's consent, moving one file."""

    connect_s: float = 5.0
    authorize_s: float = 10.0
    transfer_s: float = 120.0


READ_LIMIT_BYTES = 1 << 20
STORAGE_FULL = "No space left on device"


class Transport(Protocol):
    """The contract that every way of reaching a device keeps; tests/pipeline has one suite for all of them.

    Each method raises the errors above, with the device's name and what to do in the message.
    """

    name: str
    folder: str
    """Where Splitfleet keeps its files on the device, as an absolute path there."""

    def run(self, command: str, timeout_s: float) -> CommandResult:
        """Runs a command in the device's shell. A failing command is no error: see the exit code."""

    def push(self, content: bytes, remote: str, mode: int = 0o644) -> None:
        """Writes a file whole; its folder must be there."""

    def pull(self, remote: str, local: Path) -> None:
        """Copies a file from the device. Raises DeviceError when it is not there."""

    def read_from(self, remote: str, offset: int) -> bytes:
        """The bytes of a file from `offset` on, at most READ_LIMIT_BYTES; empty where the file ends or is not there."""

    def close(self) -> None:
        """Ends the connection; a later call opens it again."""
