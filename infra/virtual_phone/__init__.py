"""A phone without a phone: the device side of ADB on loopback, running real programs on this machine.

    python -m splitfleet.infra.virtual_phone PHONE.toml

See docs/virtual-phone.md for what it does as a phone does, and what it does not.
"""

from .description import Description, load_description

__all__ = ["Description", "load_description"]
