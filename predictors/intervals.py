"""How far a prediction may be off: intervals that hold 90 % of measurements, and the range of what was measured.

The intervals are conformal by cross-fitting (Vovk, Cross-conformal predictors, 2015; Lei and others, Distribution-free
predictive inference for regression, 2018): their width is a quantile of the errors that models made on shapes they had
not seen. If a new shape comes from where the measured ones came from, they hold it with that probability, whatever the
model is worth. Families with enough shapes have a width of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.9
POOLED = "*"
_LEAST = 40  # shapes that a family needs for a width of its own: its quantile is then known to about 5 %


@dataclass(frozen=True)
class Intervals:
    """`widths[family]`: measured / predicted lies within exp(-width) and exp(width) with probability LEVEL."""

    families: tuple[str, ...]
    widths: dict[str, float]

    def bounds(self, frame: pd.DataFrame, predicted_us: Floats) -> tuple[Floats, Floats]:
        """Lower and upper bounds [n] in us of predictions [n]; `frame` has the column `family`."""
        factor = np.exp(by_family(self.widths, self.families, frame))
        return predicted_us / factor, predicted_us * factor

    @classmethod
    def fit(cls, errors: Floats, family: NDArray[np.int64], families: Sequence[str]) -> Intervals:
        """From log(measured / predicted) [n] of shapes held out, and their families' codes [n]."""
        widths = {POOLED: _quantile(np.abs(errors))}
        for code, name in enumerate(families):
            of_family = np.abs(errors[family == code])
            if len(of_family) >= _LEAST:
                widths[name] = _quantile(of_family)
        return cls(tuple(families), widths)


@dataclass(frozen=True)
class Ranges:
    """The least and the largest value of each column of `columns` in each family that was measured."""

    columns: tuple[str, ...]
    families: tuple[str, ...]
    limits: dict[str, tuple[tuple[float, float], ...]]

    def outside(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Per row [n] whether a feature lies outside what its family was measured at, or the family is unknown."""
        result = np.ones(len(frame), dtype=bool)
        codes = frame["family"].to_numpy(np.int64)
        values = frame[list(self.columns)].to_numpy(np.float64)
        for code, name in enumerate(self.families):
            rows = codes == code
            if rows.any() and name in self.limits:
                low, high = np.array(self.limits[name]).T
                result[rows] = ((values[rows] < low) | (values[rows] > high)).any(axis=1)
        return result

    @classmethod
    def fit(cls, frame: pd.DataFrame, columns: Sequence[str], families: Sequence[str]) -> Ranges:
        """From the features [n] of what was measured."""
        limits = {}
        for code, name in enumerate(families):
            rows = frame.loc[frame["family"] == code, list(columns)]
            if len(rows):
                limits[name] = tuple((float(rows[column].min()), float(rows[column].max())) for column in columns)
        return cls(tuple(columns), tuple(families), limits)


def by_family(values: dict[str, float], families: Sequence[str], frame: pd.DataFrame) -> Floats:
    """Per row of `frame` [n] the value of its family, or the pooled one."""
    # An unknown family is -1, and the last entry is the pooled one.
    table = np.array([values.get(name, values[POOLED]) for name in families] + [values[POOLED]])
    return np.asarray(table[frame["family"].to_numpy(np.int64)])


def uncertainty_to_json(intervals: Intervals, ranges: Ranges) -> dict[str, Any]:
    """Both as JSON."""
    limits = {name: [list(pair) for pair in pairs] for name, pairs in ranges.limits.items()}
    return {
        "level": LEVEL,
        "log_widths": intervals.widths,
        "range_columns": list(ranges.columns),
        "ranges": limits,
    }


def uncertainty_from_json(data: dict[str, Any], families: Sequence[str]) -> tuple[Intervals, Ranges]:
    """What `uncertainty_to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
    if data["level"] != LEVEL:
        raise ValueError(f"intervals of level {data['level']}")
    widths = {str(name): float(width) for name, width in data["log_widths"].items()}
    columns = tuple(map(str, data["range_columns"]))
    limits = {
        str(name): tuple((float(low), float(high)) for low, high in pairs) for name, pairs in data["ranges"].items()
    }
    if POOLED not in widths or any(len(pairs) != len(columns) for pairs in limits.values()):
        raise ValueError("intervals or ranges are incomplete")
    return Intervals(tuple(families), widths), Ranges(columns, tuple(families), limits)


def _quantile(errors: Floats) -> float:
    """The conformal quantile: of n errors the ceil((n + 1) * LEVEL)-th smallest, the largest where there is none."""
    rank = min(int(np.ceil((len(errors) + 1) * LEVEL)), len(errors))
    return float(np.sort(errors)[rank - 1])
