"""Plans for a linear layer whose number of rows varies at run time, as in a decoder: ranges with one way each.

The decision is followed by bisection: where one way of running is good at both ends of a range and in its middle, it
holds for the range, else both halves of the range are looked at. A range of more than two doublings is always halved,
since much may change in between; neighbours for all of whose planned rows one way is good become one again. Good is
what takes at most 2 % longer than the best. All ranges of one length are predicted together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from splitfleet.kernels import Device, Linear
from splitfleet.kernels.errors import UserError

from .curves import Curves, predict_curves
from .models import DeviceModels
from .planner import OperatorPlan, plan_curves, splits
from .split_table import RowRange, SplitDecision, SplitEntry

TOLERANCE = 0.02
_WIDEST = 4


def plan_rows(layer: Linear, rows: RowRange, models: DeviceModels, device: Device) -> list[SplitEntry]:
    """Entries that cover these rows of a linear layer, in order, each with the way that holds for its range.

    An entry's figures are those of the middle of its range. Raises UserError for a layer that is not linear.
    """
    if not isinstance(layer, Linear):
        raise UserError(f"{layer.label}: only linear layers have rows; give the operator by itself")
    search = _RowSearch(layer, models, device)
    done: list[RowRange] = []
    open_ranges = [rows]
    while open_ranges:
        search.plan(row for each in open_ranges for row in _looked_at(each))
        halved = []
        for each in open_ranges:
            if search.holds(each):
                done.append(each)
            else:
                halved += _halves(each)
        open_ranges = halved
    return [SplitEntry(search.decision(_middle(each)), rows=each) for each in search.merged(sorted(done, key=_low))]


@dataclass
class _RowSearch:
    """The plans of one layer by rows, as far as they were asked for."""

    layer: Linear
    models: DeviceModels
    device: Device

    def __post_init__(self) -> None:
        self._plans: dict[int, tuple[Curves, OperatorPlan]] = {}

    def plan(self, rows: Iterable[int]) -> None:
        """Plans the layer with these rows."""
        new = [row for row in dict.fromkeys(rows) if row not in self._plans]
        curves = predict_curves([replace(self.layer, rows=row) for row in new], self.models, self.device)
        for row, each in zip(new, curves, strict=True):
            self._plans[row] = each, plan_curves(each, self.models, self.device)

    def decision(self, rows: int) -> SplitDecision:
        self.plan([rows])
        return self._plans[rows][1].decision

    def holds(self, rows: RowRange) -> bool:
        """Whether the middle's way is good enough where the range is looked at."""
        if rows.high > _WIDEST * rows.low:
            return False
        return self._is_good(self.decision(_middle(rows)), rows)

    def merged(self, ranges: Sequence[RowRange]) -> list[RowRange]:
        """Neighbours that one way is good enough for become one."""
        found: list[RowRange] = []
        for each in ranges:
            both = RowRange(found[-1].low, each.high) if found else each
            if found and self._is_good(self.decision(_middle(both)), both):
                found[-1] = both
            else:
                found.append(each)
        return found

    def _is_good(self, way: SplitDecision, rows: RowRange) -> bool:
        """At every row of the range that was planned."""
        return all(self._excess(way, row) <= TOLERANCE for row in list(self._plans) if row in rows)

    def _excess(self, way: SplitDecision, rows: int) -> float:
        """By which part running in this way is expected to take longer than the best at these rows."""
        self.plan([rows])
        curves, plan = self._plans[rows]
        if way.processor != "split":
            us = (plan.cpu if way.processor == "cpu" else plan.gpu).expected_us
        else:
            ways = next(each for each in splits(curves, self.models, self.device) if each.threads == way.threads)
            us = float(np.interp(way.cut, ways.cuts, ways.expected_us))
        return us / plan.decision.predicted_us - 1.0


def _low(rows: RowRange) -> int:
    return rows.low


def _middle(rows: RowRange) -> int:
    """On a logarithmic scale: times grow in proportion."""
    return min(max(math.isqrt(rows.low * rows.high), rows.low), rows.high)


def _looked_at(rows: RowRange) -> tuple[int, int, int]:
    return rows.low, _middle(rows), rows.high


def _halves(rows: RowRange) -> list[RowRange]:
    middle = min(_middle(rows), rows.high - 1)
    return [RowRange(rows.low, middle), RowRange(middle + 1, rows.high)]
