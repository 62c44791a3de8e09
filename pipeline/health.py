"""Whether a phone may measure now, when it has cooled, and whether a batch is worth anything. No I/O, no clock.

Every limit stands in `Limits`. docs/phones.md tells users what each state asks of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .phone_state import PhoneState
from .readings import Readings

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Beyond these a phone does not measure.

    `max_celsius`: the hottest thermal zone; None leaves heat to Android's thermal status and the battery, since chips
    differ. `max_battery_c`: FAI-PEP and react-native-executorch begin at 37 C at most; a phone that charges in a rack
    needs some room above. `min_battery_percent`: FAI-PEP's. `max_load_per_core`: Android's own idle load is up to one
    a core, since sleeping kernel threads count. `min_free_bytes`: agent, program cache and results of a batch.

    A phone that was too hot has cooled when each of its temperatures has come within `resting_margin_k` of the lowest
    at which it ever was fit, or has fallen by less than `steady_fall_k` in `steady_s`. Projects that wait a fixed time
    take 180 s (FAI-PEP, executorch); with that time constant, a fall of less than 1 K in a minute leaves at most
    1 / (exp(60 / 180) - 1) = 2.5 K to go, which is the margin.
    """

    max_celsius: float | None = None
    max_battery_c: float = 40.0
    min_battery_percent: int = 30
    max_load_per_core: float = 2.0
    min_free_bytes: int = 32 * MIB
    resting_margin_k: float = 2.5
    steady_fall_k: float = 1.0
    steady_s: float = 60.0


@dataclass(frozen=True)
class Obstacle:
    """Why a phone may not measure, as a state and a sentence that says what would end it."""

    state: PhoneState
    reason: str


def obstacle(readings: Readings, limits: Limits) -> Obstacle | None:
    """What stands against measuring now, the worst first; None when nothing does. What is not told stands not."""
    return _heat(readings, limits) or _power(readings, limits) or _room(readings, limits)


def _heat(readings: Readings, limits: Limits) -> Obstacle | None:
    # Any status above NONE is throttling (androidx benchmark's ThrottleDetector).
    if readings.thermal_status:
        text = f"Android holds its clocks back (thermal status {readings.thermal_status}); waits until it is 0"
        return Obstacle(PhoneState.COOLING, text)
    hottest, bound = readings.hottest_c, limits.max_celsius
    if hottest is not None and bound is not None and hottest > bound:
        return Obstacle(PhoneState.COOLING, f"at {hottest:.1f} C, waits until {bound:g} C")
    if readings.battery_c is not None and readings.battery_c > limits.max_battery_c:
        text = f"battery at {readings.battery_c:.1f} C, waits until {limits.max_battery_c:.0f} C"
        return Obstacle(PhoneState.COOLING, text)
    return None


def _power(readings: Readings, limits: Limits) -> Obstacle | None:
    percent, least = readings.battery_percent, limits.min_battery_percent
    if percent is not None and percent < least and not _is_fed(readings):
        how = "its charger gives less than it takes" if readings.powered else "nothing charges it"
        return Obstacle(PhoneState.LOW_BATTERY, f"battery at {percent} % and {how}; charge it to {least} %")
    if readings.is_power_saving:
        return Obstacle(PhoneState.POWER_SAVING, "battery saver is on and holds its clocks back; turn it off")
    if readings.is_awake is False and not readings.powered:
        return Obstacle(
            PhoneState.ASLEEP,
            "its screen is off and nothing powers it, so it may fall asleep in the middle of a batch; plug it in, or "
            "wake it and let it stay awake (adb shell svc power stayon true)",
        )
    return None


def _room(readings: Readings, limits: Limits) -> Obstacle | None:
    free = readings.free_bytes
    if free is not None and free < limits.min_free_bytes:
        text = f"disk full: {free / MIB:.0f} MiB are free in /data; free some, {limits.min_free_bytes // MIB} MiB do"
        return Obstacle(PhoneState.DISK_FULL, text)
    load, cores = readings.load_1min, readings.core_count
    if load is not None and cores is not None and load > limits.max_load_per_core * cores:
        text = f"other programs load it ({load:.1f} on {cores} cores); waits until {limits.max_load_per_core * cores:g}"
        return Obstacle(PhoneState.BUSY, text)
    return None


def _is_fed(readings: Readings) -> bool:
    """Whether the battery fills or keeps its level; by the plug where the phone tells no status."""
    if readings.battery_status is None:
        return readings.powered
    return readings.powered and readings.battery_status != "discharging"


@dataclass(frozen=True)
class Resting:
    """The lowest temperatures at which a phone was ever fit: its own resting place, whatever the room and the model."""

    hottest_c: float | None = None
    battery_c: float | None = None

    def lowered_by(self, readings: Readings) -> Resting:
        """With the temperatures of a phone that is fit taken in."""
        return Resting(_least(self.hottest_c, readings.hottest_c), _least(self.battery_c, readings.battery_c))


def _least(known: float | None, new: float | None) -> float | None:
    return new if known is None else known if new is None else min(known, new)


class Cooling:
    """Follows one phone's readings: once too hot, it stays unfit until it has cooled (see Limits)."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self.resting = Resting()
        self._track: list[tuple[float, Readings]] = []  # since it was found too hot

    def obstacle(self, readings: Readings, at_s: float) -> Obstacle | None:
        """What stands against measuring now. `at_s`: the host's monotonic time of the readings."""
        found = obstacle(readings, self._limits)
        if (found and found.state is PhoneState.COOLING) or self._track:
            self._track.append((at_s, readings))
            while len(self._track) > 1 and at_s - self._track[1][0] >= self._limits.steady_s:
                del self._track[0]
        if found:
            return found
        if self._track and not self._has_settled():
            return Obstacle(PhoneState.COOLING, self._waiting_text(readings))
        self._track.clear()
        self.resting = self.resting.lowered_by(readings)
        return None

    def _has_settled(self) -> bool:
        zones = [(at_s, readings.hottest_c) for at_s, readings in self._track]
        battery = [(at_s, readings.battery_c) for at_s, readings in self._track]
        return self._is_steady(zones, self.resting.hottest_c) and self._is_steady(battery, self.resting.battery_c)

    def _is_steady(self, track: list[tuple[float, float | None]], resting_c: float | None) -> bool:
        at_s, now_c = track[-1]
        if now_c is None or (resting_c is not None and now_c <= resting_c + self._limits.resting_margin_k):
            return True
        then_s, then_c = track[0]
        fell_k = 0.0 if then_c is None else then_c - now_c
        return at_s - then_s >= self._limits.steady_s and fell_k < self._limits.steady_fall_k

    def _waiting_text(self, readings: Readings) -> str:
        resting = self.resting.hottest_c
        near = "" if resting is None else f"is near its resting {resting:.0f} C or "
        return f"at {readings.hottest_c or 0.0:.1f} C, waits until it {near}falls no more"


def spoiled(before: Readings, after: Readings, telemetry: Iterable[Mapping[str, Any]], limits: Limits) -> str:
    """Why what a batch measured is worth nothing, or "". `telemetry`: the agent's lines (docs/agent.md), checked.

    Heat, throttling, battery, load: the phone would not have been let begin so. Power, screen, cores, governors and a
    restart: it ended at another operating point than it began at.
    """
    for line in telemetry:
        if line["when"] in ("hot", "still_hot"):
            return "the phone got hot in the middle of the batch, and its agent waited"
        if line.get("thermal_status"):
            status, when = line["thermal_status"], line["when"]
            return f"Android held the phone's clocks back (thermal status {status}) at the batch's {when}"
    # A disk that fills up spoils no timing, and sleep cannot be told from a screen that went off at the end.
    found = obstacle(replace(after, free_bytes=None, is_awake=None), limits)
    if found:
        return f"the phone was unfit when the batch ended: {found.reason.partition(';')[0]}"
    return _change(before, after)


def _change(before: Readings, after: Readings) -> str:
    if before.boot_id and after.boot_id and before.boot_id != after.boot_id:
        return "the phone was restarted in the middle of the batch"
    if before.powered and not after.powered:
        return "the phone lost its power supply in the middle of the batch"
    if None not in (before.is_awake, after.is_awake) and before.is_awake != after.is_awake:
        return f"the phone's screen went {'on' if after.is_awake else 'off'} in the middle of the batch"
    if before.cores_online and after.cores_online and before.cores_online != after.cores_online:
        change = f"from {before.cores_online} to {after.cores_online}"
        return f"the phone's cores changed {change} in the middle of the batch"
    if before.governors and after.governors and before.governors != after.governors:
        names = [" ".join(readings.governors) for readings in (before, after)]
        return f"the phone's governor changed from {names[0]} to {names[1]} in the middle of the batch"
    return ""
