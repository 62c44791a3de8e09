"""The device profile: what a phone is, without its serial; and the device class that it belongs to."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from splitfleet.kernels.device import Device
from splitfleet.kernels.errors import UserError
from splitfleet.kernels.tuning import Tuning

from .conditions import Conditions
from .host_files import write_json

PROFILE_SCHEMA = 1

_MASK_BITS = 63  # the agent and the traces take a mask for a signed number of 64 bits


@dataclass(frozen=True)
class DeviceProfile:
    """A phone as measurements depend on it. Phones with the same `device_class` share jobs.

    `capabilities` is the JSON of `splitfleet-agent info`; `core_mask` has a bit for each CPU that jobs may use.
    `conditions` are the campaign's. `tuning` replaces lowering's own work-groups: then it is another class.
    """

    model: str
    soc: str
    abi: str
    android: dict[str, str]
    capabilities: dict[str, Any]
    core_mask: int
    conditions: Conditions = field(default_factory=Conditions)
    tuning: Tuning | None = None

    @property
    def operating_point(self) -> dict[str, Any]:
        """The conditions under which times were taken; traces of two of them are never mixed."""
        agent = self.capabilities["agent"]
        return {
            "agent_build": agent["build"],
            "backend": agent["backends"][self.conditions.backend],
            "compiler": agent["compiler"],
            "core_mask": self.core_mask,
            "fixed_performance": False,
            "isa": agent["isa"],
            "precision": self.conditions.precision,
            "runtime": "shell",
            "tuning": None if self.tuning is None else _digest(self.tuning.to_json(), 16),
        }

    @property
    def device_class(self) -> str:
        """`<model-slug>-<hash8>` over model, SoC, GPU with its driver, and operating point."""
        opencl = self.capabilities["opencl"] or {}
        gpu = {key: opencl.get(key) for key in ("device", "driver_version", "platform", "platform_version")}
        gpu["device_version"] = opencl.get("device_version")
        identity = {"model": self.model, "soc": self.soc, "gpu": gpu, "operating_point": self.operating_point}
        return f"{slug(self.model)}-{_digest(identity, 8)}"

    @property
    def device(self) -> Device:
        """What lowering needs. Raises DeviceError where the phone has no OpenCL."""
        return Device.from_capabilities(self.capabilities)

    @property
    def max_threads(self) -> int:
        return self.core_mask.bit_count()

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": PROFILE_SCHEMA,
            "device_class": self.device_class,
            "model": self.model,
            "soc": self.soc,
            "abi": self.abi,
            "android": self.android,
            "core_mask": self.core_mask,
            "conditions": {"backend": self.conditions.backend, "precision": self.conditions.precision},
            "tuning": None if self.tuning is None else self.tuning.to_json(),
            "operating_point": self.operating_point,
            "capabilities": self.capabilities,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> DeviceProfile:
        if data.get("schema") != PROFILE_SCHEMA:
            raise UserError(f"device profile has schema {data.get('schema')!r}; this version reads {PROFILE_SCHEMA}")
        given = {name: data[name] for name in ("model", "soc", "abi", "android", "capabilities", "core_mask")}
        tuning = Tuning.from_json(data["tuning"], "device profile") if data.get("tuning") else None
        return cls(**given, conditions=Conditions(**data.get("conditions", {})), tuning=tuning)

    def save(self, folder: Path) -> Path:
        """Writes `<folder>/<device class>.json`."""
        path = folder / f"{self.device_class}.json"
        write_json(path, self.to_json())
        return path


def _digest(content: dict[str, Any], length: int) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:length]


def slug(text: str) -> str:
    """A name of small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "phone"


def load_profiles(folder: Path) -> dict[str, DeviceProfile]:
    """The profiles that a campaign folder holds, by device class."""
    profiles = {}
    for path in sorted(folder.glob("*.json")):
        profile = DeviceProfile.from_json(json.loads(path.read_text("utf-8")))
        profiles[profile.device_class] = profile
    return profiles


def big_core_mask(cores: list[dict[str, Any]]) -> int:
    """The CPUs whose maximum frequency is not the lowest; all of them where frequencies are equal or unknown. Of a
    host's many, those that a mask of the agent's can name."""
    cores = [core for core in cores if core["id"] < _MASK_BITS]
    known = [core["max_khz"] for core in cores if core["max_khz"] is not None]
    slowest = min(known) if len(known) == len(cores) and len(set(known)) > 1 else None
    return sum(1 << core["id"] for core in cores if core["max_khz"] is None or core["max_khz"] != slowest)
