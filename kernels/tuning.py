"""Tuned work-groups: the winners of trials on one device class, for `lower(..., tuned=...)`.

A tuning is kept as JSON (docs/formats.md). An operator that was tried itself gets its own winner; any other one gets
the winner of its kernel family, where that fits the device's limits and the operator's grid.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .device import Device
from .errors import UserError
from .families import FAMILIES
from .operator_text import operator_from_json
from .operators import Operator
from .programs import Variant
from .tables import Columns

TUNING_SCHEMA = 1
_AXES = "xyz"
_LEAST_OPERATORS = 2  # of a family, before its common winner means anything

WorkGroup = tuple[int, ...]


@dataclass(frozen=True)
class Trial:
    """The median time of an operator's plan with one work-group."""

    operator: Operator
    kernel: str
    local: WorkGroup
    time_us: float


@dataclass(frozen=True)
class TunedChoice:
    """The fastest work-group of an operator's kernel, its time, and the time with the rules' own work-group."""

    operator: Operator
    kernel: str
    local: WorkGroup
    time_us: float
    default_us: float


@dataclass(frozen=True)
class Tuning:
    """Winners of one device class: of each operator tried, and of each kernel family."""

    device_class: str
    choices: tuple[TunedChoice, ...] = ()
    families: Mapping[str, WorkGroup] = field(default_factory=dict)

    @classmethod
    def from_trials(cls, device_class: str, trials: Iterable[Trial]) -> Tuning:
        """The winners of these trials; each operator's first trial is of the rules' own work-group.

        A family's winner has the least mean of log(time / default) among the work-groups that were tried with all
        operators of the family, two at least; it is left out where the rules' own are as good.
        """
        by_operator: dict[Operator, list[Trial]] = defaultdict(list)
        for trial in trials:
            by_operator[trial.operator].append(trial)
        choices = []
        gains: dict[str, list[dict[WorkGroup, float]]] = defaultdict(list)
        for operator, own in by_operator.items():
            best, default = min(own, key=lambda trial: trial.time_us), own[0]
            choices.append(TunedChoice(operator, best.kernel, best.local, best.time_us, default.time_us))
            ratios = {trial.local: math.log(trial.time_us / default.time_us) for trial in own}
            gains[Variant.parse(default.kernel).family].append(ratios)
        return cls(device_class, tuple(choices), {name: local for name in gains if (local := _winner(gains[name]))})

    @classmethod
    def of_one(cls, operator: Operator, kernel: str, local: WorkGroup) -> Tuning:
        """That this operator's kernel has this work-group, for a trial."""
        return cls("", (TunedChoice(operator, kernel, local, math.nan, math.nan),))

    def exact(self, operators: Sequence[Operator]) -> dict[int, TunedChoice]:
        """The operators tried themselves, by their index."""
        known = {choice.operator: choice for choice in self.choices}
        return {index: known[operator] for index, operator in enumerate(operators) if operator in known}

    def exact_channels(self, operator: Operator, channels: NDArray[np.int64]) -> dict[int, TunedChoice]:
        """As `exact` for slices of one operator that have these numbers of output channels."""
        found = {}
        for choice in self.choices:
            if choice.operator.with_channels(operator.channels) == operator:
                found.update(dict.fromkeys(np.flatnonzero(channels == choice.operator.channels).tolist(), choice))
        return found

    def to_json(self) -> dict[str, Any]:
        choices = [
            {
                "operator": choice.operator.to_json(),
                "kernel": choice.kernel,
                "local": list(choice.local),
                "time_us": choice.time_us,
                "default_us": choice.default_us,
            }
            for choice in self.choices
        ]
        families = {family: list(local) for family, local in self.families.items()}
        return {
            "schema": TUNING_SCHEMA,
            "device_class": self.device_class,
            "choices": choices,
            "families": families,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], where: str = "tuning") -> Tuning:
        """What `to_json` wrote. Raises UserError naming `where` for another schema or a damaged file."""
        if data.get("schema") != TUNING_SCHEMA:
            raise UserError(f"{where}: tuning schema {data.get('schema')!r}; this version reads {TUNING_SCHEMA}")
        try:
            choices = tuple(
                TunedChoice(
                    operator_from_json(item["operator"]),
                    str(item["kernel"]),
                    _work_group(item["local"]),
                    float(item["time_us"]),
                    float(item["default_us"]),
                )
                for item in data["choices"]
            )
            families = {str(name): _work_group(local) for name, local in data["families"].items()}
            return cls(str(data["device_class"]), choices, families)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where}: not a tuning: {error!r}; run `splitfleet tune` again") from error


def apply_tuning(columns: Columns, tuning: Tuning, exact: Mapping[int, TunedChoice], device: Device) -> None:
    """Puts tuned work-groups into the columns `lx`, `ly`, `lz` of a table of plans, where they fit."""
    for family, local in tuning.families.items():
        at = (columns["family"] == family) & _fits(family, columns, local, device)
        for axis, size in zip(_AXES, _padded(local), strict=True):
            columns[f"l{axis}"][at] = size
    for index, choice in exact.items():
        row = {name: values[index : index + 1] for name, values in columns.items()}
        if _same_variant(choice.kernel, row["kernel"][0]) and _fits(row["family"][0], row, choice.local, device)[0]:
            for axis, size in zip(_AXES, _padded(choice.local), strict=True):
                columns[f"l{axis}"][index] = size


def work_groups_for(row: Mapping[str, Any], device: Device) -> list[WorkGroup]:
    """Work-groups worth trying for a plan's row: its own first, then powers of two within limits and grid.

    None is smaller than a sixteenth of the device's largest (of 256 at most): such a one keeps a GPU's lanes idle.
    """
    own = tuple(int(row[f"l{axis}"]) for axis in _AXES)
    most = min(device.max_work_group_size, 256)
    widths = [2**power for power in range(most.bit_length())]
    found = [own]
    for x in widths:
        for y in widths:
            local = (x, y, own[2])
            size = math.prod(local)
            columns = {name: np.array([value]) for name, value in row.items()}
            if most <= 16 * size and size <= most and _fits(row["family"], columns, local, device)[0]:
                found.append(local)
    return [_trimmed(local) for local in dict.fromkeys(found)]


def _fits(family: str, columns: Columns, local: WorkGroup, device: Device) -> NDArray[np.bool_]:
    """Whether device and kernel can run a work-group, and it is no wider than the grid filled up to a power of two."""
    if family not in FAMILIES:
        return np.zeros(len(columns["gx"]), dtype=np.bool_)
    sizes, most = _padded(local), min(device.max_work_group_size, FAMILIES[family].most_items or math.inf)
    limits = zip(sizes, device.max_work_item_sizes, strict=False)
    possible = math.prod(sizes) <= most and all(size <= limit for size, limit in limits)
    fits = np.full(len(columns["gx"]), possible)
    for axis, size in zip(_AXES, sizes, strict=True):
        fits &= (size == 1) | (size < 2 * columns[f"g{axis}"])
        if axis in FAMILIES[family].fixed_axes:
            fits &= columns[f"l{axis}"] == size
    return fits


def _winner(tried: list[dict[WorkGroup, float]]) -> WorkGroup | None:
    common = set.intersection(*(set(ratios) for ratios in tried))
    if len(tried) < _LEAST_OPERATORS or not common:
        return None
    mean = {local: sum(ratios[local] for ratios in tried) for local in common}
    best = min(mean, key=lambda local: (mean[local], local))
    return best if mean[best] < 0 else None


def _same_variant(first: str, second: str) -> bool:
    """Whether two kernels differ in epilogue, output type and signal at most."""
    one, other = Variant.parse(first), Variant.parse(second)
    return (one.family, one.block, one.precision) == (other.family, other.block, other.precision)


def _work_group(sizes: Any) -> WorkGroup:
    local = tuple(int(size) for size in sizes)
    if not 1 <= len(local) <= len(_AXES) or min(local) < 1:
        raise ValueError(f"a work-group of {sizes}")
    return local


def _padded(local: WorkGroup) -> WorkGroup:
    return (*local, 1, 1)[: len(_AXES)]


def _trimmed(local: WorkGroup) -> WorkGroup:
    return local if local[2] > 1 else local[:2]
