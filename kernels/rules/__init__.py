"""Rules by vendor and generation: which family, block and work-group an operator gets on a GPU."""

from ..device import Device
from ..precision import Precision
from .base import Block, Rules
from .desktop import DesktopRules
from .pocl import PoclRules

_BY_VENDOR: dict[str, type[Rules]] = {
    "pocl": PoclRules,
    "nvidia": DesktopRules,
    "amd": DesktopRules,
    "intel": DesktopRules,
}


def rules_for(device: Device, precision: Precision) -> Rules:
    """The rules of the device's vendor."""
    return _rules_of(device.vendor_family)(device, precision)


def _rules_of(vendor: str) -> type[Rules]:
    if vendor in ("adreno", "mali", "powervr"):
        # The delegate's rules are tables of pandas, which takes a second to import.
        from .delegate import AdrenoRules, DelegateRules

        return AdrenoRules if vendor == "adreno" else DelegateRules
    return _BY_VENDOR.get(vendor, Rules)


__all__ = ["Block", "Rules", "rules_for"]
