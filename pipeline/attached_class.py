"""The device class of one attached phone, for verbs that take a phone instead of a name."""

from __future__ import annotations

from splitfleet.kernels.errors import DeviceError

from .campaign import Phones, phones_at
from .devices import find_devices

USB = "usb"


def class_of_phone(address: str) -> str:
    """The device class of the phone at HOST:PORT, or of the only one on USB (`usb`), under a campaign's defaults.

    Raises UserError for what is no address, DeviceError where the phone has no answer, or several are on USB.
    """
    phones = Phones(usb=True) if address == USB else phones_at([address])
    found = find_devices(phones)
    working = [status for status in found if status.device_class]
    if len(working) == 1:
        return working[0].device_class
    if not working:
        reasons = "; ".join(f"{status.address}: {status.reason or status.state.value}" for status in found)
        raise DeviceError(f"no phone told its device class: {reasons}. splitfleet devices shows more")
    classes = ", ".join(f"{status.address} is {status.device_class}" for status in working)
    raise DeviceError(f"{len(working)} phones are attached ({classes}); name the device class instead of --phone")
