"""Watches ADB's packets as adb-shell reads them, over TCP and USB alike: a phone may send anything.

adb-shell waits out its whole time-out for a service that the phone has refused, takes packets of any length, and keeps
all that a command prints. Source of the packets' form: protocol.txt of AOSP (packages/modules/adb).
"""

from __future__ import annotations

import struct
from typing import Any

from adb_shell.transport.base_transport import BaseTransport

_HEADER = struct.Struct("<6I")
_OPEN, _OKAY, _CLSE, _STLS = (int.from_bytes(name, "little") for name in (b"OPEN", b"OKAY", b"CLSE", b"STLS"))
_MAX_PAYLOAD_BYTES = 1 << 20


class ServiceRefused(Exception):
    """The phone does not open the service that was asked for."""


class TlsWanted(Exception):
    """The phone speaks TLS only, as Android's wireless debugging does."""


class BadPacket(Exception):
    """What came is no packet of ADB, or more than was asked for."""


class GuardedLink(BaseTransport):  # type: ignore[misc]  # adb-shell has no types
    """A transport of adb-shell, looked at from outside. `allowance_bytes`: how much the phone may still send."""

    def __init__(self, link: Any) -> None:
        self._link = link
        self._header = bytearray()
        self._payload_left = 0
        self._opening = 0  # the stream that the phone has neither opened nor refused yet
        self.allowance_bytes = _MAX_PAYLOAD_BYTES

    def connect(self, transport_timeout_s: float | None) -> None:
        self._header.clear()
        self._payload_left = self._opening = 0
        self._link.connect(transport_timeout_s)

    def close(self) -> None:
        self._link.close()

    def bulk_read(self, numbytes: int, transport_timeout_s: float | None) -> bytes:
        data: bytes = self._link.bulk_read(numbytes, transport_timeout_s)
        self._watch(data)
        return data

    def bulk_write(self, data: bytes, transport_timeout_s: float | None) -> int:
        if len(data) == _HEADER.size:
            command, local_id, _, _, _, magic = _HEADER.unpack(data)
            if command == _OPEN and magic == command ^ 0xFFFFFFFF:
                self._opening = local_id
        # USB sends less than asked for when it is interrupted; adb-shell does not look.
        rest = memoryview(data)
        while rest:
            rest = rest[self._link.bulk_write(bytes(rest), transport_timeout_s) :]
        return len(data)

    def _watch(self, data: bytes) -> None:
        while data:
            step = min(self._payload_left or _HEADER.size - len(self._header), len(data))
            if self._payload_left:
                self._payload_left -= step
            else:
                self._header += data[:step]
                if len(self._header) == _HEADER.size:
                    self._payload_left = self._payload_of(_HEADER.unpack(self._header))
                    self._header.clear()
            data = data[step:]

    def _payload_of(self, header: tuple[int, ...]) -> int:
        command, _, local_id, length, _, magic = header
        if magic != command ^ 0xFFFFFFFF:
            raise BadPacket("what it sends is no ADB, or was damaged on the way")
        if command == _STLS:
            raise TlsWanted
        if length > _MAX_PAYLOAD_BYTES:
            raise BadPacket(f"it announces a packet of {length} bytes; ADB's longest has {_MAX_PAYLOAD_BYTES}")
        self.allowance_bytes -= length
        if self.allowance_bytes < 0:
            raise BadPacket("it sends much more than was asked for")
        if local_id == self._opening != 0:
            if command == _CLSE:
                raise ServiceRefused
            if command == _OKAY:
                self._opening = 0
        return length
