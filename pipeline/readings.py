"""What a phone tells of its condition, in one shell call: heat, battery, screen, load, clocks, disk, wall clock."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from .transport import Transport

_TIMEOUT_S = 20.0
_PLAUSIBLE_C = (-30.0, 150.0)
_MAX_CHARACTERS = 20_000
_BATTERY_STATUS = {2: "charging", 3: "discharging", 4: "not charging", 5: "full"}  # Android's BatteryManager

# Load is asked of Android only: on a host that is its own device everybody's work is in it. `cmd settings` goes to the
# service at once, where `settings` starts a virtual machine first.
_COMMAND = """
dumpsys battery 2>/dev/null
dumpsys thermalservice 2>/dev/null | head -n 5
dumpsys power 2>/dev/null | grep -E '^ *mWakefulness=|^ *Display Power: state='
cat /sys/class/thermal/thermal_zone*/temp 2>/dev/null | sed 's/^/zone: /'
command -v dumpsys >/dev/null && echo "load: $(cat /proc/loadavg 2>/dev/null)"
command -v dumpsys >/dev/null && echo "low_power: $(cmd settings get global low_power 2>/dev/null)"
echo "online: $(cat /sys/devices/system/cpu/online 2>/dev/null)"
cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor 2>/dev/null | sort -u | sed 's/^/governor: /'
echo "free: $(df -k %s 2>/dev/null | tail -n 1)"
echo "clock: $(date +%%s)"
echo "boot: $(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
true
"""


@dataclass(frozen=True)
class Readings:
    """None or empty where the device does not tell.

    `hottest_c`: the hottest thermal zone, else the battery. `thermal_status`: Android's own, 0 none, 1 light, ... 6
    shutdown; above 0 clocks are held back. `battery_status`: charging, discharging, not charging, full. `load_1min`:
    programs that ran or waited, a minute's average. `cores_online` and `governors`: as the kernel writes them.
    `clock_unix_s`: the device's wall clock. `boot_id`: new after each restart.
    """

    hottest_c: float | None = None
    battery_c: float | None = None
    battery_percent: int | None = None
    battery_status: str | None = None
    powered: bool = False
    thermal_status: int | None = None
    is_awake: bool | None = None
    is_power_saving: bool | None = None
    load_1min: float | None = None
    cores_online: str = ""
    governors: tuple[str, ...] = ()
    free_bytes: int | None = None
    clock_unix_s: int | None = None
    boot_id: str = ""

    @property
    def core_count(self) -> int | None:
        """How many cores are online; None where the device does not tell."""
        count = 0
        for part in self.cores_online.split(","):
            first, dash, last = part.partition("-")
            if not first.isdecimal() or (dash and not last.isdecimal()):
                return None
            count += int(last) - int(first) + 1 if dash else 1
        return count if count > 0 else None


def read_readings(transport: Transport) -> Readings:
    """Asks the device. Raises the transport's errors; what the device does not know stays None."""
    return parse_readings(transport.run(_COMMAND % posixpath.dirname(transport.folder), _TIMEOUT_S).stdout)


def parse_readings(text: str) -> Readings:
    """Reads what the command above prints; a device may print anything, and what makes no sense counts as not told."""
    text = text[:_MAX_CHARACTERS].replace("\r\n", "\n")
    zones = [int(value) / 1000 for value in re.findall(r"^zone: (-?\d{1,9})$", text, re.MULTILINE)]
    plausible = [value for value in zones if _PLAUSIBLE_C[0] < value < _PLAUSIBLE_C[1]]
    tenths = _number(r"^\s*temperature: (-?\d{1,6})\s*$", text)
    battery_c = tenths / 10 if tenths is not None and _PLAUSIBLE_C[0] < tenths / 10 < _PLAUSIBLE_C[1] else None
    level = _number(r"^\s*level: (\d{1,3})\s*$", text)
    awake = _word(r"^\s*mWakefulness=(\w{1,20})$", text) or _word(r"^\s*Display Power: state=(\w{1,20})$", text)
    load = _word(r"^load: (\d{1,5}\.\d{1,3}) ", text)
    low_power = _number(r"^low_power: ([01])$", text)
    free_kib = _number(r"^free: \S+ +\d{1,15} +\d{1,15} +(\d{1,15}) ", text)
    return Readings(
        hottest_c=max(plausible, default=battery_c),
        battery_c=battery_c,
        battery_percent=level if level is not None and level <= 100 else None,
        battery_status=_BATTERY_STATUS.get(_number(r"^\s*status: (\d)\s*$", text) or 0),
        powered=re.search(r"^\s*\w+ powered: true\s*$", text, re.MULTILINE) is not None,
        thermal_status=_number(r"^\s*Thermal Status: ([0-6])\s*$", text),
        is_awake=None if awake is None else awake in ("Awake", "Dreaming", "ON"),
        is_power_saving=None if low_power is None else low_power == 1,
        load_1min=None if load is None else float(load),
        cores_online=_word(r"^online: ([\d,-]{1,200})$", text) or "",
        governors=tuple(sorted(set(re.findall(r"^governor: ([\w-]{1,40})$", text, re.MULTILINE)))),
        free_bytes=None if free_kib is None else free_kib * 1024,
        clock_unix_s=_number(r"^clock: (\d{1,11})$", text),
        boot_id=_word(r"^boot: ([0-9a-f-]{1,40})$", text) or "",
    )


def _number(pattern: str, text: str) -> int | None:
    word = _word(pattern, text)
    return None if word is None else int(word)


def _word(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text, re.MULTILINE | re.ASCII)
    return match.group(1) if match else None
