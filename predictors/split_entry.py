"""A split table's rows: the decision for one operator, what was measured of it, and for which rows it holds."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, cast, get_args

from splitfleet.kernels import CUT_MULTIPLE, Linear, Operator, operator_from_json
from splitfleet.kernels.errors import UserError

from .split_key import operator_key

MAX_THREADS = 255
Processor = Literal["cpu", "gpu", "split"]
Join = Literal["svm_poll", "event_wait", "finish"]
SVM_POLL: Join = "svm_poll"
PROCESSORS: tuple[Processor, ...] = get_args(Processor)
JOINS: tuple[Join, ...] = get_args(Join)


@dataclass(frozen=True)
class SplitDecision:
    """How to run one operator, and the predicted times in microseconds.

    The CPU computes output channels [0, cut), the GPU the rest: `cut` is 0 for all-GPU and the number of channels for
    all-CPU. `threads` is 0 for all-GPU, `join` None for all-CPU. `predicted_us` is the expected time of the decision,
    `low_us` and `high_us` bound its 80 % interval. `cpu_us` and `gpu_us` are the expected times of the whole operator
    on the CPU, with its best number of threads `cpu_threads`, and on the GPU, waited for by `gpu_join`.

    Raises UserError when the figures contradict each other.
    """

    operator: Operator
    processor: Processor
    cut: int
    threads: int
    join: Join | None
    predicted_us: float
    low_us: float
    high_us: float
    cpu_us: float
    cpu_threads: int
    gpu_us: float
    gpu_join: Join

    def __post_init__(self) -> None:
        channels = self.operator.channels
        expected = {
            "cpu": self.cut == channels and self.join is None and self.threads == self.cpu_threads,
            "gpu": self.cut == 0 and self.join == self.gpu_join and self.threads == 0,
            "split": 0 < self.cut < channels
            and self.cut % CUT_MULTIPLE == 0
            and self.join in JOINS
            and 1 <= self.threads <= MAX_THREADS,
        }
        times = (self.predicted_us, self.low_us, self.high_us, self.cpu_us, self.gpu_us)
        sound = all(math.isfinite(time) and time > 0 for time in times)
        if not (expected.get(self.processor) and sound and self.gpu_join in JOINS):
            raise UserError(f"{self.operator.label}: the split decision contradicts itself: {self}")
        if not 1 <= self.cpu_threads <= MAX_THREADS:
            raise UserError(
                f"{self.operator.label}: {self.cpu_threads} CPU threads; the table holds 1 to {MAX_THREADS}"
            )

    @property
    def summary(self) -> str:
        """The decision in words."""
        on_cpu = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        if self.processor == "split":
            channels = self.operator.channels
            return f"split: {self.cut} of {channels} channels on the CPU ({on_cpu}), joined by {self.join}"
        return f"all-CPU ({on_cpu})" if self.processor == "cpu" else f"all-GPU ({self.join})"

    def to_json(self) -> dict[str, Any]:
        data = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**data, "operator": self.operator.to_json(), "label": self.operator.label}

    @property
    def predicted_speedup(self) -> float:
        """Over the better single processor."""
        return min(self.cpu_us, self.gpu_us) / self.predicted_us


@dataclass(frozen=True)
class Measured:
    """Medians in microseconds of one interleaved comparison on the phone, `repetitions` each.

    `search_cut` and `search_us` are the winner of an exhaustive search, measured again; None where none was made.
    """

    plan_us: float
    cpu_us: float
    gpu_us: float
    repetitions: int
    search_cut: int | None = None
    search_us: float | None = None

    def __post_init__(self) -> None:
        times = [self.plan_us, self.cpu_us, self.gpu_us, *([] if self.search_us is None else [self.search_us])]
        if not all(math.isfinite(time) and time > 0 for time in times) or self.repetitions < 1:
            raise UserError(f"measured times must be positive: {self}")
        if (self.search_cut is None) != (self.search_us is None):
            raise UserError(f"a search has a winner and its time, or neither: {self}")

    @property
    def speedup(self) -> float:
        """Of the plan over the better single processor."""
        return min(self.cpu_us, self.gpu_us) / self.plan_us


@dataclass(frozen=True)
class RowRange:
    """Rows of a linear layer, `low` to `high`, both included."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high:
            raise UserError(f"a range of rows goes from at least 1 up, not from {self.low} to {self.high}")

    def __contains__(self, rows: int) -> bool:
        return self.low <= rows <= self.high


@dataclass(frozen=True)
class SplitEntry:
    """A decision and, where it was proved on the phone, what was measured.

    With `rows` the way of running (processor, cut, threads, join) holds for a linear layer of any of these rows; its
    figures are those of the decision's own operator, whose rows lie in the range.
    """

    decision: SplitDecision
    measured: Measured | None = None
    rows: RowRange | None = None

    def __post_init__(self) -> None:
        operator = self.decision.operator
        if self.rows is None:
            return
        if not isinstance(operator, Linear) or operator.rows not in self.rows:
            raise UserError(f"{operator.label}: does not lie in {self.rows}; only linear layers have rows")
        replace(operator, rows=self.rows.high)  # refuses a layer that would be too large

    @property
    def key(self) -> tuple[int, ...]:
        """Its place in a table."""
        return operator_key(self.decision.operator, 0 if self.rows is None else self.rows.low)

    def to_json(self) -> dict[str, Any]:
        measured = None if self.measured is None else asdict(self.measured)
        rows = None if self.rows is None else asdict(self.rows)
        return {**self.decision.to_json(), "measured": measured, "rows": rows}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SplitEntry:
        """What `to_json` wrote. Raises KeyError, TypeError, ValueError or UserError where it is damaged."""
        given = {key: value for key, value in data.items() if key not in ("operator", "label", "measured", "rows")}
        operator = operator_from_json(data["operator"])
        if data["label"] != operator.label:
            raise ValueError(f"label {data['label']} does not belong to {operator.label}")
        measured, rows = data["measured"], data["rows"]
        return cls(
            SplitDecision(operator=operator, **given),
            None if measured is None else Measured(**cast(dict[str, Any], measured)),
            None if rows is None else RowRange(**cast(dict[str, Any], rows)),
        )
