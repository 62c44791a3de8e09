"""A launch plan: all that is needed to execute an operator on a GPU, as plain JSON (docs/formats.md)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .errors import UserError
from .precision import FP32_TOLERANCE, Precision
from .programs import Program, program_for

PLAN_SCHEMA = 2
_OLD_SCHEMA = 1  # without precision, tolerance, setup, residual and image; still read


@dataclass(frozen=True)
class Buffer:
    """One allocation. `panel` is the width of packed weights; stride and offset (elements) place an output half.

    `type` is f32 or f16. `image` makes a scratch buffer an image of [width, height] RGBA texels of that type.
    """

    name: str
    role: str
    bytes: int
    panel: int | None = None
    row_stride: int | None = None
    column_offset: int | None = None
    type: str = "f32"
    image: tuple[int, int] | None = None

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"name": self.name, "role": self.role, "bytes": self.bytes}
        for key in ("panel", "row_stride", "column_offset"):
            if getattr(self, key) is not None:
                data[key] = getattr(self, key)
        if self.type != "f32":
            data["type"] = self.type
        if self.image is not None:
            data["image"] = list(self.image)
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Buffer:
        buffer = cls(**data)
        return buffer if buffer.image is None else replace(buffer, image=(buffer.image[0], buffer.image[1]))


@dataclass(frozen=True)
class Launch:
    """One kernel launch: arguments in order, global and local work sizes."""

    kernel: str
    args: tuple[dict[str, Any], ...]
    global_size: tuple[int, ...]
    local_size: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "kernel": self.kernel,
            "global": list(self.global_size),
            "local": list(self.local_size),
            "args": list(self.args),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Launch:
        return cls(data["kernel"], tuple(data["args"]), tuple(data["global"]), tuple(data["local"]))


@dataclass(frozen=True)
class LaunchPlan:
    """Buffers and launches of one operator on one device; `quantities` are the numbers that predictors read.

    `signals` is by how much one execution raises the signal counter. `setup` is launched once, before the first
    execution. `tolerance` is the largest acceptable max |output - reference| / max |reference|.
    """

    kernel: str
    buffers: tuple[Buffer, ...]
    launches: tuple[Launch, ...]
    signals: int
    quantities: dict[str, float]
    precision: Precision = "fp32"
    tolerance: float = FP32_TOLERANCE
    setup: tuple[Launch, ...] = ()

    @property
    def program(self) -> Program:
        return program_for(self.kernel)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": PLAN_SCHEMA,
            "kernel": self.kernel,
            "program": self.program.id,
            "precision": self.precision,
            "tolerance": self.tolerance,
            "buffers": [buffer.to_json() for buffer in self.buffers],
            "setup": [launch.to_json() for launch in self.setup],
            "launches": [launch.to_json() for launch in self.launches],
            "signals": self.signals,
            "quantities": self.quantities,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LaunchPlan:
        """Reads what `to_json` wrote. Raises UserError for another schema or another version's kernel source."""
        if data.get("schema") not in (_OLD_SCHEMA, PLAN_SCHEMA):
            raise UserError(
                f"launch plan has schema {data.get('schema')!r}; this version reads {_OLD_SCHEMA} and {PLAN_SCHEMA}"
            )
        plan = cls(
            kernel=data["kernel"],
            buffers=tuple(Buffer.from_json(buffer) for buffer in data["buffers"]),
            launches=tuple(Launch.from_json(launch) for launch in data["launches"]),
            signals=data["signals"],
            quantities=data["quantities"],
            precision=data.get("precision", "fp32"),
            tolerance=data.get("tolerance", FP32_TOLERANCE),
            setup=tuple(Launch.from_json(launch) for launch in data.get("setup", ())),
        )
        if plan.program.id != data["program"]:
            raise UserError(f"launch plan for {plan.kernel}: the kernel's source has changed since; lower it again")
        return plan
