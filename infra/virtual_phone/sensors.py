"""What the phone shows of itself: temperatures, battery, screen, load; from its description, and changed by faults."""

from __future__ import annotations

from pathlib import Path

from .description import Description
from .faults import Battery, Load, Screen, Showing, Temperature, ThermalStatus
from .state_files import STATE_FOLDER, write_all, write_value

_BATTERY = "sys/class/power_supply/battery"
_THERMAL_STATUS = f"{STATE_FOLDER}/thermal-status"


def furnish_sensors(root: Path, description: Description) -> None:
    """Writes what the description says."""
    battery = description.battery
    write_all(
        root / _BATTERY,
        {
            "capacity": str(battery.level),
            "status": battery.status.capitalize(),
            "temp": str(battery.temperature_millidegrees // 100),
            "voltage_now": "4300000",
            "health": "Good",
            "present": "1",
            "type": "Battery",
            "source": battery.powered_by,
        },
    )
    for number, zone in enumerate(description.thermal.zones):
        values = {"type": zone.type, "temp": str(zone.millidegrees)}
        write_all(root / f"sys/class/thermal/thermal_zone{number}", values)
    state = {"throttling-millidegrees": str(description.thermal.throttling_millidegrees), "screen": description.screen}
    write_all(root / STATE_FOLDER, state)
    forget_thermal_status(root)


def show(root: Path, fault: Showing) -> None:
    """Shows it from now on."""
    match fault:
        case Temperature():
            for folder in _zones(root, fault.zone):
                write_value(folder / "temp", str(fault.millidegrees))
        case Battery():
            _show_battery(root, fault)
        case ThermalStatus():
            write_value(root / _THERMAL_STATUS, str(fault.status))
        case Screen():
            write_value(root / STATE_FOLDER / "screen", "on" if fault.on else "off")
        case Load():
            write_value(root / "proc/loadavg", f"{fault.load:.2f} {fault.load:.2f} {fault.load:.2f} 3/200 1000")


def forget_thermal_status(root: Path) -> None:
    """The thermal status follows the zones again."""
    (root / _THERMAL_STATUS).unlink(missing_ok=True)


def has_zone(root: Path, zone: str | None) -> bool:
    """Whether the phone has a thermal zone of this type; None stands for any."""
    return bool(_zones(root, zone))


def _show_battery(root: Path, fault: Battery) -> None:
    values = {
        "capacity": fault.level,
        "status": fault.status and fault.status.capitalize(),
        "source": fault.powered_by,
        "temp": None if fault.millidegrees is None else fault.millidegrees // 100,
    }
    write_all(root / _BATTERY, {name: str(value) for name, value in values.items() if value is not None})


def _zones(root: Path, zone: str | None) -> list[Path]:
    folders = (root / "sys/class/thermal").glob("thermal_zone*")
    return [folder for folder in folders if zone in (None, (folder / "type").read_text().strip())]
