"""What state a phone is in, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class PhoneState(Enum):
    """A phone is ready after the agent has answered, not because it was found. docs/phones.md: what to do in each."""

    CONNECTING = "connecting"
    PREPARING = "preparing"
    READY = "ready"
    LEASED = "leased"
    COOLING = "cooling"
    LOW_BATTERY = "low-battery"
    POWER_SAVING = "power-saving"
    ASLEEP = "asleep"
    BUSY = "busy"
    DISK_FULL = "disk-full"
    UNAUTHORIZED = "unauthorized"
    OFFLINE = "offline"
    NO_OPENCL = "no-opencl"
    QUARANTINED = "quarantined"

    @property
    def is_settled(self) -> bool:
        """Whether it is known by now if the phone can work."""
        return self not in (PhoneState.CONNECTING, PhoneState.PREPARING)

    @property
    def is_fit(self) -> bool:
        """Whether a phone that is there may be given work."""
        return self in (PhoneState.READY, PhoneState.LEASED)

    @property
    def is_working(self) -> bool:
        """Whether the phone measures, or will without anybody's help."""
        return self in (PhoneState.READY, PhoneState.LEASED, PhoneState.COOLING, PhoneState.PREPARING)

    @property
    def is_unfit(self) -> bool:
        """Whether the phone is there and prepared, but its condition forbids to measure now (pipeline/health.py)."""
        return self in (
            PhoneState.COOLING,
            PhoneState.LOW_BATTERY,
            PhoneState.POWER_SAVING,
            PhoneState.ASLEEP,
            PhoneState.BUSY,
            PhoneState.DISK_FULL,
        )

    @property
    def needs_help(self) -> bool:
        """Whether the phone stays away until a person does what the reason says."""
        return self in (
            PhoneState.UNAUTHORIZED,
            PhoneState.NO_OPENCL,
            PhoneState.QUARANTINED,
            PhoneState.DISK_FULL,
            PhoneState.POWER_SAVING,
            PhoneState.ASLEEP,
        )


@dataclass(frozen=True)
class PhoneStatus:
    """A phone as seen from the host. `reason` is one sentence that says what to do where something is wrong."""

    address: str
    state: PhoneState
    reason: str = ""
    serial: str = ""
    model: str = ""
    device_class: str = ""
    temperature_c: float | None = None
    battery_percent: int | None = None
