"""Rules by vendor and generation: which family, block and work-group an operator gets on a GPU."""

from ..device import Device
from ..precision import Precision
from .base import Block, Rules
from .delegate import AdrenoRules, DelegateRules
from .desktop import DesktopRules
from .pocl import PoclRules

_BY_VENDOR: dict[str, type[Rules]] = {
    "adreno": AdrenoRules,
    "mali": DelegateRules,
    "powervr": DelegateRules,
    "pocl": PoclRules,
    "nvidia": DesktopRules,
    "amd": DesktopRules,
    "intel": DesktopRules,
}


def rules_for(device: Device, precision: Precision) -> Rules:
    """The rules of the device's vendor."""
    return _BY_VENDOR.get(device.vendor_family, Rules)(device, precision)


__all__ = ["Block", "Rules", "rules_for"]
