"""The TOML file that describes a virtual phone."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from splitfleet.kernels.errors import UserError

from .faults import Fault

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=92)]
Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f;]+$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Android(_Table):
    """What the phone says of its system."""

    release: Line = "14"
    sdk: int = Field(default=34, ge=21, le=99)
    build: Line = "SPLITFLEET.1"


class Cpu(_Table):
    """The cores of this machine that are the phone's CPU, their frequency, and the instruction set they offer."""

    cores: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(1,), min_length=1)
    max_khz: int = Field(default=2_000_000, gt=0)
    isa: Literal["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4", "native"] = "native"


class Gpu(_Table):
    """PoCL as the GPU: on which core, and how large a work-group it takes."""

    opencl: bool = True
    max_work_group_size: int | None = Field(default=None, ge=1, le=4096)
    core: int = Field(default=0, ge=0, le=0)


class Battery(_Table):
    """What `dumpsys battery` and /sys/class/power_supply answer."""

    level: int = Field(default=100, ge=0, le=100)
    status: Literal["charging", "discharging", "not charging", "full"] = "full"
    powered_by: Literal["ac", "usb", "none"] = "usb"
    temperature_millidegrees: int = Field(default=27_000, ge=-30_000, le=120_000)


class ThermalZone(_Table):
    """One /sys/class/thermal/thermal_zoneN."""

    type: Name
    millidegrees: int = Field(default=31_000, ge=-30_000, le=150_000)


class Thermal(_Table):
    """Temperatures, and from which one on the phone reports that it throttles."""

    zones: tuple[ThermalZone, ...] = (
        ThermalZone(type="cpu-0-0"),
        ThermalZone(type="gpu"),
        ThermalZone(type="battery"),
    )
    throttling_millidegrees: int = 45_000


class Storage(_Table):
    """`free_bytes`: how much may be written below /data and /sdcard; without it, as much as the machine holds."""

    free_bytes: int | None = Field(default=None, ge=0)


class Description(_Table):
    """A whole phone. Every table has defaults; `serial` and `model` must be given."""

    serial: Name
    model: Line
    manufacturer: Line = "Splitfleet"
    soc: Line = "Virtual SoC"
    abi: Literal["x86_64", "arm64-v8a"] = "x86_64"
    authorize: Literal["ask", "always", "never"] | tuple[str, ...] = "ask"
    properties: dict[Name, Line] = {}
    environment: dict[Name, Line] = {}
    android: Android = Android()
    cpu: Cpu = Cpu()
    gpu: Gpu = Gpu()
    battery: Battery = Battery()
    thermal: Thermal = Thermal()
    storage: Storage = Storage()
    adjustable_clock: bool = False
    screen: Literal["on", "off"] = "on"
    faults: tuple[Fault, ...] = ()


def load_description(file: Path) -> Description:
    """Reads and checks a phone's description. Raises UserError that names the file, the key and what is wrong."""
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not valid TOML: {error}") from None
    try:
        return Description.model_validate(table)
    except ValidationError as error:
        lines = [_explain(table, problem["loc"], problem["type"], problem["msg"]) for problem in error.errors()]
        raise UserError("\n".join(f"{file}: {line}" for line in dict.fromkeys(lines))) from None


def _explain(table: dict[str, Any], where: tuple[int | str, ...], kind: str, message: str) -> str:
    """One line for one of pydantic's findings; an unknown key gets the nearest known one."""
    path = ".".join(str(step) for step in where)
    if kind == "extra_forbidden":
        known = _known_keys(where[:-1])
        near = difflib.get_close_matches(str(where[-1]), known, n=1)
        advice = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return f"unknown key {path!r}; {advice}"
    if kind == "missing":
        return f"{path!r} is missing"
    value: Any = table
    for step in where:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return f"{path!r}: {message}"
    return f"{path!r} is {value!r}: {message}"


def _known_keys(where: tuple[int | str, ...]) -> list[str]:
    """The keys that the table at this place may have; empty where the place itself is unknown."""
    model: Any = Description
    for step in where:
        if isinstance(step, int):  # an array of tables
            model = get_args(model)[0]
        elif hasattr(model, "model_fields"):
            model = model.model_fields[step].annotation
        else:  # a fault, by its kind
            kinds = get_args(get_args(model)[0])
            model = next(kind for kind in kinds if step in get_args(kind.model_fields["kind"].annotation))
    return list(getattr(model, "model_fields", ()))
