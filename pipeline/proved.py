"""What the comparison on the phone says of a planned layer: its speed-up, its regret, and whether it is corrected."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from splitfleet.kernels import operator_from_json
from splitfleet.predictors.split_table import Measured, SplitDecision, SplitEntry, SplitTable

FAULT_TOLERANCE = 1.05
"""Sharing the work can at best add the two processors' rates; a measured time that beats this by more is a fault."""


@dataclass(frozen=True)
class Proved:
    """A layer as it was planned, before any correction, and what was measured of it.

    `calibrations`: on so many measurements of this layer the plan rests beside the predictors. `first_us` is what the
    plan from the predictors alone took in the same comparison; None where the layer was not calibrated.
    """

    decision: SplitDecision
    measured: Measured
    calibrations: int = 0
    first_us: float | None = None

    @property
    def single_us(self) -> float:
        """The better single processor's time."""
        return min(self.measured.cpu_us, self.measured.gpu_us)

    @property
    def is_split(self) -> bool:
        return self.decision.processor == "split"

    @property
    def is_fault(self) -> bool:
        """Whether the measured speed-up is more than the processors' rates allow."""
        cpu_us, gpu_us = self.measured.cpu_us, self.measured.gpu_us
        return self.measured.plan_us * FAULT_TOLERANCE < cpu_us * gpu_us / (cpu_us + gpu_us)

    @property
    def regret(self) -> float | None:
        """The plan's time over that of the search's winner, both measured again; below 1 the plan was better."""
        search_us = self.measured.search_us
        return None if search_us is None else self.measured.plan_us / search_us

    @property
    def best_speedup(self) -> float | None:
        """What the search's winner gains over the better single processor; at least 1, since that is in the running."""
        search_us = self.measured.search_us
        return None if search_us is None else max(1.0, self.single_us / search_us)

    @property
    def correction(self) -> str | None:
        """Why the plan does not stand: a single processor was faster; None where it stands."""
        if self.measured.plan_us <= self.single_us:
            return None
        better = "all-CPU" if self.measured.cpu_us <= self.measured.gpu_us else "all-GPU"
        return f"measured slower than {better}: {self.measured.plan_us:.1f} µs against {self.single_us:.1f} µs"

    def to_json(self) -> dict[str, Any]:
        return {
            "decision": self.decision.to_json(),
            "measured": asdict(self.measured),
            "calibrations": self.calibrations,
            "first_us": self.first_us,
            "regret": self.regret,
            "fault": self.is_fault,
            "correction": self.correction,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Proved:
        """What `to_json` wrote. Raises KeyError, TypeError or UserError for anything else."""
        given = {key: value for key, value in data["decision"].items() if key not in ("operator", "label")}
        decision = SplitDecision(operator=operator_from_json(data["decision"]["operator"]), **given)
        return cls(decision, Measured(**data["measured"]), int(data["calibrations"]), data["first_us"])


def corrected(table: SplitTable, proved: Iterable[Proved]) -> SplitTable:
    """The table with what was measured, and the better single processor where a plan was slower than that.

    A corrected row's `measured.plan_us` is that processor's time, which the row now stands for.
    """
    found = {each.decision.operator: each for each in proved}
    entries = []
    for entry in table.entries:
        result = found.get(entry.decision.operator)
        entries.append(entry if result is None else _entry(entry, result))
    return replace(table, entries=tuple(entries))


def _entry(entry: SplitEntry, result: Proved) -> SplitEntry:
    if result.correction is None:
        return replace(entry, measured=result.measured)
    decision = result.decision
    on_cpu = result.measured.cpu_us <= result.measured.gpu_us
    expected_us = decision.cpu_us if on_cpu else decision.gpu_us
    scale = expected_us / decision.predicted_us
    single = replace(
        decision,
        processor="cpu" if on_cpu else "gpu",
        cut=decision.operator.channels if on_cpu else 0,
        threads=decision.cpu_threads if on_cpu else 0,
        join=None if on_cpu else decision.gpu_join,
        predicted_us=expected_us,
        low_us=decision.low_us * scale,
        high_us=decision.high_us * scale,
    )
    return replace(entry, decision=single, measured=replace(result.measured, plan_us=result.single_us))
