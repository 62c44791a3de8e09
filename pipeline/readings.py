"""Temperature, battery and heat warnings of a phone, in one shell call; and whether it may measure now."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .phone_state import PhoneState
from .transport import Transport

MIN_BATTERY_PERCENT = 30
MAX_BATTERY_C = 40.0
_COMMAND = (
    "dumpsys battery 2>/dev/null; dumpsys thermalservice 2>/dev/null | head -n 5; "
    "cat /sys/class/thermal/thermal_zone*/temp 2>/dev/null | sed 's/^/zone: /'; true"
)
_TIMEOUT_S = 10.0
_PLAUSIBLE_C = (-30.0, 150.0)


@dataclass(frozen=True)
class Readings:
    """None where the device does not tell. `hottest_c` is the hottest thermal zone, else the battery.

    `thermal_status` is Android's: 0 none, 1 light, ... 6 shutdown; above 0 clocks are held back.
    """

    hottest_c: float | None = None
    battery_c: float | None = None
    battery_percent: int | None = None
    powered: bool = False
    thermal_status: int | None = None

    def obstacle(self) -> tuple[PhoneState, str] | None:
        """Why the phone should not measure now, or None."""
        if self.thermal_status:
            return PhoneState.COOLING, f"Android holds its clocks back (thermal status {self.thermal_status})"
        if self.battery_c is not None and self.battery_c > MAX_BATTERY_C:
            return PhoneState.COOLING, f"battery at {self.battery_c:.1f} C, waits until {MAX_BATTERY_C:.0f} C"
        if self.battery_percent is not None and self.battery_percent < MIN_BATTERY_PERCENT and not self.powered:
            return PhoneState.LOW_BATTERY, f"battery at {self.battery_percent} %; charge it to {MIN_BATTERY_PERCENT} %"
        return None


def read_readings(transport: Transport) -> Readings:
    """Asks the device. Raises the transport's errors; what the device does not know stays None."""
    return parse_readings(transport.run(_COMMAND, _TIMEOUT_S).stdout)


def parse_readings(text: str) -> Readings:
    """Reads the output of `dumpsys battery`, `dumpsys thermalservice` and lines `zone: <millidegrees>`."""
    zones = [int(value) / 1000 for value in re.findall(r"^zone: (-?\d{1,9})$", text, re.MULTILINE)]
    plausible = [value for value in zones if _PLAUSIBLE_C[0] < value < _PLAUSIBLE_C[1]]
    tenths = _number(r"^\s*temperature: (-?\d{1,6})\s*$", text)
    battery_c = None if tenths is None else tenths / 10
    level = _number(r"^\s*level: (\d{1,3})\s*$", text)
    return Readings(
        hottest_c=max(plausible, default=battery_c),
        battery_c=battery_c,
        battery_percent=level,
        powered=re.search(r"powered: true", text) is not None,
        thermal_status=_number(r"^\s*Thermal Status: (\d)\s*$", text),
    )


def _number(pattern: str, text: str) -> int | None:
    match = re.search(pattern, text, re.MULTILINE)
    return int(match.group(1)) if match else None
