"""What makes a folder look like an Android phone: properties, /sys, /proc, and the commands that read them."""

from __future__ import annotations

import platform
import re
import shutil
import uuid
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from .description import Description
from .sensors import furnish_sensors
from .state_files import STATE_FOLDER, write_all

_ISA_LEVELS = {
    # x86-64 psABI, "micro-architecture levels", in the names of /proc/cpuinfo
    "x86-64": "",
    "x86-64-v2": "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3",
    "x86-64-v3": "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave",
    "x86-64-v4": "avx512f avx512bw avx512cd avx512dq avx512vl",
}


def furnish(root: Path, description: Description, isa: str) -> None:
    """Writes everything that the description says below `root`; data of an earlier run stays."""
    for folder in ("data/local/tmp", "data/misc/adb", "sdcard", STATE_FOLDER):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for folder in ("sys", "proc", "system", f"{STATE_FOLDER}/properties"):
        shutil.rmtree(root / folder, ignore_errors=True)
    write_all(root / STATE_FOLDER / "properties", properties(description, isa))
    _install_commands(root / "system/bin")
    _write_cpu(root, description, isa)
    furnish_sensors(root, description)
    boot(root)
    capacity = root / STATE_FOLDER / "capacity-bytes"
    if description.storage.free_bytes is None:
        capacity.unlink(missing_ok=True)
    else:
        capacity.write_text(f"{description.storage.free_bytes}\n")


def properties(description: Description, isa: str) -> dict[str, str]:
    """All system properties; those of the description's own table come last and win."""
    slug = re.sub(r"\W+", "_", description.model).strip("_").lower()
    android = description.android
    return {
        "ro.product.model": description.model,
        "ro.product.manufacturer": description.manufacturer,
        "ro.product.brand": description.manufacturer,
        "ro.product.name": slug,
        "ro.product.device": slug,
        "ro.product.board": slug,
        "ro.product.cpu.abi": description.abi,
        "ro.product.cpu.abilist": description.abi,
        "ro.soc.manufacturer": description.manufacturer,
        "ro.soc.model": description.soc,
        "ro.board.platform": slug,
        "ro.hardware": slug,
        "ro.build.version.release": android.release,
        "ro.build.version.sdk": str(android.sdk),
        "ro.build.id": android.build,
        "ro.build.type": "user",
        "ro.build.fingerprint": (
            f"{description.manufacturer}/{slug}/{slug}:{android.release}/{android.build}/1:user/release-keys"
        ),
        "ro.serialno": description.serial,
        "ro.boot.serialno": description.serial,
        "ro.debuggable": "0",
        "ro.secure": "1",
        "sys.boot_completed": "1",
        "ro.splitfleet.isa": isa,
        **description.properties,
    }


def banner(properties: Mapping[str, str]) -> str:
    """How the phone presents itself in its CNXN packet."""
    shown = ("ro.product.name", "ro.product.model", "ro.product.device")
    fields = [f"{name}={properties[name]};" for name in shown]
    return f"device::{''.join(fields)}features=shell_v2,cmd,fixed_push_mkdir"


def offered_isa(wanted: str) -> str:
    """The instruction set that the phone can offer here: what was wanted, or the best below it that this CPU has."""
    if wanted not in _ISA_LEVELS or platform.machine() != "x86_64":
        return "native"
    flags = set(re.findall(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)[0].split())
    offered = "x86-64"
    for level, needed in _ISA_LEVELS.items():
        if not flags.issuperset(needed.split()):
            break
        offered = level
        if level == wanted:
            break
    return offered


def boot(root: Path) -> None:
    """What is new each time that the phone starts: its boot id; and the mode that a restart ends."""
    write_all(root / "proc/sys/kernel/random", {"boot_id": str(uuid.uuid4())})
    (root / STATE_FOLDER / "fixed-performance-mode").unlink(missing_ok=True)


def wipe(root: Path) -> None:
    """Empties what the phone's owner has: files and settings."""
    for folder in ("data/local/tmp", "sdcard", f"{STATE_FOLDER}/settings"):
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir(parents=True)


def show_disk_full(root: Path, full: bool) -> None:
    """What `df` shows."""
    marker = root / STATE_FOLDER / "disk-full"
    if full:
        marker.touch()
    else:
        marker.unlink(missing_ok=True)


def _install_commands(folder: Path) -> None:
    folder.mkdir(parents=True)
    for command in resources.files(__package__).joinpath("commands").iterdir():
        script = folder / command.name
        script.write_bytes(command.read_bytes())
        script.chmod(0o755)
    (folder / "sh").symlink_to("/bin/sh")


def _write_cpu(root: Path, description: Description, isa: str) -> None:
    cpu = description.cpu
    frequency = {
        "cpuinfo_max_freq": str(cpu.max_khz),
        "cpuinfo_min_freq": str(cpu.max_khz),
        "scaling_max_freq": str(cpu.max_khz),
        "scaling_min_freq": str(cpu.max_khz),
        "scaling_cur_freq": str(cpu.max_khz),
        "scaling_governor": "performance",
        "scaling_available_governors": "performance",
    }
    folder = root / "sys/devices/system/cpu"
    for core in cpu.cores:
        write_all(folder / f"cpu{core}/cpufreq", frequency)
    cores = ",".join(str(core) for core in sorted(cpu.cores))
    write_all(folder, {"online": cores, "possible": cores, "present": cores})
    entries = [f"processor\t: {core}\nmodel name\t: {description.soc} ({isa})\n" for core in cpu.cores]
    write_all(
        root / "proc",
        {
            "cpuinfo": "\n".join([*entries, f"Hardware\t: {description.soc}"]),
            "loadavg": "0.10 0.10 0.10 1/200 1000",
            "version": f"Linux version {platform.release()} (virtual phone, Android {description.android.release})",
        },
    )
