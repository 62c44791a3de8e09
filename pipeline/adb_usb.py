"""Phones on this host's USB, by adb-shell's UsbTransport. What libusb says is put into words that help."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from adb_shell.adb_device import UsbTransport
from adb_shell.exceptions import TcpTimeoutException, UsbReadFailedError, UsbWriteFailedError
from adb_shell.transport.base_transport import BaseTransport

from splitfleet.kernels.errors import UserError

NO_PERMISSION = (
    "this user may not open it: install the udev rules (docs/rack.md), put the user into group plugdev, and plug it in "
    "again"
)
HELD = "another program holds it, most often an adb server: adb kill-server"


def has_usb() -> bool:
    """Whether phones on USB can be looked for: whether libusb is there."""
    return UsbTransport is not None


def usb_serials() -> list[str]:
    """The serials of phones on this host's USB with debugging on; one that this user may not open has none to show.

    Raises UserError without libusb.
    """
    return sorted(serial for serial, _ in _devices() if serial)


def unreadable_usb_phones() -> int:
    """How many phones are on USB with debugging on that this user may not open. Raises UserError without libusb."""
    return sum(serial is None for serial, _ in _devices())


def _devices() -> Iterator[tuple[str | None, Any]]:
    if UsbTransport is None:
        raise UserError("phones on USB need libusb for Python: pip install 'splitfleet[fleet]', or set usb = false")
    for device in UsbTransport.find_all_adb_devices():
        try:
            yield device.serial_number, device
        except Exception as error:
            # libusb's errors have no common base that is there without libusb. To ask for the serial opens the phone.
            if not _is_usb_error(error):
                raise
            yield None, device


class UsbLink(BaseTransport):  # type: ignore[misc]  # adb-shell has no types
    """The USB link of one phone, found anew at each connect, since a phone that was plugged in again is another device.

    Raises OSError that says what to do where the phone cannot be opened, TcpTimeoutException where it is silent, as
    over TCP.
    """

    def __init__(self, serial: str) -> None:
        self._serial = serial
        self._device: Any = None

    def connect(self, transport_timeout_s: float | None) -> None:
        self._device = next((device for serial, device in _devices() if serial == self._serial), None)
        if self._device is None:
            raise OSError("not on USB; check its cable, and that USB debugging is on")
        try:
            self._device.connect(transport_timeout_s)
        except AssertionError:
            raise OSError("its USB interface has no two endpoints; plug it in again") from None
        except Exception as error:
            if not _is_usb_error(error):
                raise
            raise OSError(_advice(error)) from error

    def close(self) -> None:
        if self._device is not None:
            self._device.close()

    def bulk_read(self, numbytes: int, transport_timeout_s: float | None) -> bytes:
        try:
            return bytes(self._device.bulk_read(numbytes, transport_timeout_s))
        except UsbReadFailedError as error:
            raise _translated(error, error.usb_error) from error

    def bulk_write(self, data: bytes, transport_timeout_s: float | None) -> int:
        try:
            return int(self._device.bulk_write(data, transport_timeout_s))
        except UsbWriteFailedError as error:
            raise _translated(error, error.args[-1]) from error


def _is_usb_error(error: Exception) -> bool:
    return any(base.__name__ == "USBError" for base in type(error).__mro__)


def _translated(error: Exception, cause: object) -> Exception:
    is_silent = type(cause).__name__ == "USBErrorTimeout"
    found: Exception = TcpTimeoutException(str(error)) if is_silent else OSError(str(error))
    return found


def _advice(error: Exception) -> str:
    known = {"USBErrorAccess": NO_PERMISSION, "USBErrorBusy": HELD}
    return known.get(type(error).__name__, str(error))
