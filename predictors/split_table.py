"""Split tables: for each operator of a device class, who computes which output channels, and what that takes.

The JSON form is for people; the binary form (`split_table_binary`) has the same content for a runtime. Both are
described in docs/split-table.md.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, cast, get_args

from splitfleet.kernels import CUT_MULTIPLE, EPILOGUES, PRECISIONS, Operator, Precision, operator_from_json
from splitfleet.kernels.errors import UserError
from splitfleet.kernels.operators import POOL_MODES

SCHEMA_VERSION = 2
MAX_THREADS = 255
Processor = Literal["cpu", "gpu", "split"]
Join = Literal["svm_poll", "event_wait", "finish"]
SVM_POLL: Join = "svm_poll"
PROCESSORS: tuple[Processor, ...] = get_args(Processor)
JOINS: tuple[Join, ...] = get_args(Join)
OPERATOR_TYPES = ("linear", "conv2d", "depthwise_conv2d", "pool2d")


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
class SplitEntry:
    """A decision and, where it was proved on the phone, what was measured."""

    decision: SplitDecision
    measured: Measured | None = None


@dataclass(frozen=True)
class SplitTable:
    """All decisions of a device class, in the order of `operator_key`. Build it with `SplitTable.of`.

    They hold for one CPU backend and one precision of the GPU.
    """

    device_class: str
    backend: str
    entries: tuple[SplitEntry, ...]
    precision: Precision = "fp32"

    @classmethod
    def of(
        cls, device_class: str, backend: str, entries: Iterable[SplitEntry], precision: Precision = "fp32"
    ) -> SplitTable:
        """Sorts the entries. Raises UserError when an operator appears twice."""
        ordered = tuple(sorted(entries, key=lambda entry: operator_key(entry.decision.operator)))
        for first, second in itertools.pairwise(ordered):
            if first.decision.operator == second.decision.operator:
                raise UserError(f"{device_class}: two split decisions for {first.decision.operator.label}")
        return cls(device_class, backend, ordered, precision)

    def find(self, operator: Operator) -> SplitEntry | None:
        """The entry of exactly this operator."""
        return next((entry for entry in self.entries if entry.decision.operator == operator), None)

    def with_measured(self, measured: dict[Operator, Measured]) -> SplitTable:
        """The same table with these measurements filled in."""
        entries = (replace(e, measured=measured.get(e.decision.operator, e.measured)) for e in self.entries)
        return replace(self, entries=tuple(entries))

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA_VERSION,
            "device_class": self.device_class,
            "backend": self.backend,
            "precision": self.precision,
            "entries": [_entry_json(entry) for entry in self.entries],
        }

    @classmethod
    def from_json(cls, data: Any, where: str = "split table") -> SplitTable:
        """What `to_json` wrote. Raises UserError naming `where` for another schema or damaged content."""
        if not isinstance(data, dict) or data.get("schema") != SCHEMA_VERSION:
            found = data.get("schema") if isinstance(data, dict) else None
            raise UserError(
                f"{where}: split table schema {found!r} is not known here; this version reads {SCHEMA_VERSION}"
            )
        try:
            entries = [_entry_of(item) for item in data["entries"]]
            return cls.of(data["device_class"], data["backend"], entries, as_precision(data["precision"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{where}: damaged split table: {error!r}; get the package again") from error


def as_precision(name: str) -> Precision:
    """The precision of this name. Raises ValueError for an unknown one."""
    if name not in PRECISIONS:
        raise ValueError(f"unknown precision {name!r}; known: {', '.join(PRECISIONS)}")
    return PRECISIONS[PRECISIONS.index(name)]


def operator_key(operator: Operator) -> tuple[int, ...]:
    """The order of a table: by type as in OPERATOR_TYPES, then by the numbers in the operator's JSON, in its order (a
    pool's mode as its place in POOL_MODES), then by the place of the epilogue in EPILOGUES."""
    data = operator.to_json()
    kind, epilogue = data.pop("type"), data.pop("epilogue", EPILOGUES[0])
    numbers = (POOL_MODES.index(value) if name == "mode" else value for name, value in data.items())
    return OPERATOR_TYPES.index(kind), *numbers, EPILOGUES.index(epilogue)


def split_table_text(table: SplitTable) -> str:
    """The JSON form as text: sorted keys, so that the same table gives the same bytes."""
    return json.dumps(table.to_json(), indent=1, sort_keys=True, allow_nan=False) + "\n"


def _entry_json(entry: SplitEntry) -> dict[str, Any]:
    measured = None if entry.measured is None else asdict(entry.measured)
    return {**entry.decision.to_json(), "measured": measured}


def _entry_of(data: dict[str, Any]) -> SplitEntry:
    given = {key: value for key, value in data.items() if key not in ("operator", "label", "measured")}
    operator = operator_from_json(data["operator"])
    if data["label"] != operator.label:
        raise ValueError(f"label {data['label']} does not belong to {operator.label}")
    decision = SplitDecision(operator=operator, **given)
    measured = data["measured"]
    return SplitEntry(decision, None if measured is None else Measured(**cast(dict[str, Any], measured)))
