"""A launch plan: all that is needed to execute an operator on a GPU, as plain JSON (docs/formats.md)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .errors import UserError
from .programs import Program, program_for

PLAN_SCHEMA = 1


@dataclass(frozen=True)
class Buffer:
    """One allocation. `panel` is the width of packed weights; stride and offset (floats) place an output half."""

    name: str
    role: str
    bytes: int
    panel: int | None = None
    row_stride: int | None = None
    column_offset: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}


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


@dataclass(frozen=True)
class LaunchPlan:
    """Buffers and launches of one operator on one device; `quantities` are the numbers that predictors read.

    `signals` is by how much one execution raises the signal counter.
    """

    kernel: str
    buffers: tuple[Buffer, ...]
    launches: tuple[Launch, ...]
    signals: int
    quantities: dict[str, float]

    @property
    def program(self) -> Program:
        return program_for(self.kernel)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": PLAN_SCHEMA,
            "kernel": self.kernel,
            "program": self.program.id,
            "buffers": [buffer.to_json() for buffer in self.buffers],
            "launches": [launch.to_json() for launch in self.launches],
            "signals": self.signals,
            "quantities": self.quantities,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LaunchPlan:
        """Reads what `to_json` wrote. Raises UserError for another schema or another version's kernel source."""
        if data.get("schema") != PLAN_SCHEMA:
            raise UserError(f"launch plan has schema {data.get('schema')!r}; this version reads {PLAN_SCHEMA}")
        plan = cls(
            kernel=data["kernel"],
            buffers=tuple(Buffer(**buffer) for buffer in data["buffers"]),
            launches=tuple(
                Launch(item["kernel"], tuple(item["args"]), tuple(item["global"]), tuple(item["local"]))
                for item in data["launches"]
            ),
            signals=data["signals"],
            quantities=data["quantities"],
        )
        if plan.program.id != data["program"]:
            raise UserError(f"launch plan for {plan.kernel}: the kernel's source has changed since; lower it again")
        return plan
