"""How far a prediction may be off: intervals that hold 90 % of measurements, and the range of what was measured.

The intervals are conformal by cross-fitting (Vovk, Cross-conformal predictors, 2015), with errors over what is typical
nearby (Lei and others, Distribution-free predictive inference for regression, 2018, section 5.2): near shapes that were
predicted well they are narrow. If a new shape comes from where the measured ones came from, they hold it with that
probability, whatever the model and the typical errors are worth. Families with enough shapes have their own factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

LEVEL = 0.9
POOLED = "*"
_LEAST = 9  # shapes of a family: the fewest that have a quantile of this level
_REACH = 0.5  # standard deviations within which a shape tells of another
_PRIOR = 2.0  # shapes that the family's mean error counts for
_TINY = 1e-6  # a size below it counts as it, before the logarithm
_SMALLEST = 1e-4  # no typical error is below it
_DIGITS = 7


@dataclass(frozen=True)
class Intervals:
    """Measured / predicted lies within exp(-width) and exp(width) with probability LEVEL.

    The width is `factors[family]` times the typical error, a mean over shapes of the same family, weighted by
    exp(-distance / reach), and the family's mean. `points` are their logarithms of `columns` in standard deviations,
    `codes` their families, `errors` their |log(measured / predicted)| where they were held out.
    """

    families: tuple[str, ...]
    columns: tuple[str, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    points: tuple[tuple[float, ...], ...]
    codes: tuple[int, ...]
    errors: tuple[float, ...]
    factors: dict[str, float]

    def widths(self, frame: pd.DataFrame) -> Floats:
        """The widths [n] of feature rows [n]; `frame` has `columns` and `family`."""
        codes = frame["family"].to_numpy(np.int64)
        points = (_logarithms(frame, self.columns) - self.centre) / self.scale
        typical = _typical(points, codes, self._known, leave_out=False)
        return typical * _by_family(self.factors, self.families, codes)

    def bounds(self, frame: pd.DataFrame, predicted_us: Floats) -> tuple[Floats, Floats]:
        """Lower and upper bounds [n] in us of predictions [n] of feature rows [n]."""
        factor = np.exp(self.widths(frame))
        return predicted_us / factor, predicted_us * factor

    @property
    def _known(self) -> tuple[Floats, Codes, Floats]:
        points = np.array(self.points).reshape(len(self.codes), len(self.columns))
        return points, np.array(self.codes, dtype=np.int64), np.array(self.errors)

    @classmethod
    def fit(cls, frame: pd.DataFrame, errors: Floats, columns: Sequence[str], families: Sequence[str]) -> Intervals:
        """From log(measured / predicted) [n] of shapes held out, and their feature rows [n]."""
        logs = _logarithms(frame, columns)
        centre, scale = logs.mean(axis=0), logs.std(axis=0)
        scale[scale < _SMALLEST] = 1.0
        points = np.round((logs - centre) / scale, _DIGITS)
        codes = frame["family"].to_numpy(np.int64)
        # Rounded up: an interval must not be narrower for having been written down.
        sizes: Floats = np.ceil(np.abs(errors) * 10.0**_DIGITS) / 10.0**_DIGITS
        normal = sizes / _typical(points, codes, (points, codes, sizes), leave_out=True)
        factors = {POOLED: _quantile(normal)}
        for code, name in enumerate(families):
            of_family = normal[codes == code]
            if len(of_family) >= _LEAST:
                factors[name] = _quantile(of_family)
        return cls(
            tuple(families), tuple(columns), tuple(centre.tolist()), tuple(scale.tolist()),
            tuple(map(tuple, points.tolist())), tuple(codes.tolist()), tuple(sizes.tolist()), factors,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        return {
            "columns": list(self.columns),
            "centre": list(self.centre),
            "scale": list(self.scale),
            "points": [list(point) for point in self.points],
            "families": list(self.codes),
            "errors": list(self.errors),
            "factors": self.factors,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], families: Sequence[str]) -> Intervals:
        """What `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        columns = tuple(map(str, data["columns"]))
        centre, scale, errors = (tuple(map(float, data[name])) for name in ("centre", "scale", "errors"))
        points = tuple(tuple(map(float, point)) for point in data["points"])
        factors = {str(name): float(factor) for name, factor in data["factors"].items()}
        codes = tuple(map(int, data["families"]))
        widths = {len(centre), len(scale), *map(len, points)}
        if widths != {len(columns)} or not len(points) == len(codes) == len(errors) or POOLED not in factors:
            raise ValueError("intervals whose sizes do not agree")
        return cls(tuple(families), columns, centre, scale, points, codes, errors, factors)


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


def uncertainty_to_json(intervals: Intervals, ranges: Ranges) -> dict[str, Any]:
    """Both as JSON."""
    limits = {name: [list(pair) for pair in pairs] for name, pairs in ranges.limits.items()}
    return {
        "level": LEVEL,
        "intervals": intervals.to_json(),
        "range_columns": list(ranges.columns),
        "ranges": limits,
    }


def uncertainty_from_json(data: dict[str, Any], families: Sequence[str]) -> tuple[Intervals, Ranges]:
    """What `uncertainty_to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
    if data["level"] != LEVEL:
        raise ValueError(f"intervals of level {data['level']}")
    intervals = Intervals.from_json(data["intervals"], families)
    columns = tuple(map(str, data["range_columns"]))
    limits = {
        str(name): tuple((float(low), float(high)) for low, high in pairs) for name, pairs in data["ranges"].items()
    }
    if any(len(pairs) != len(columns) for pairs in limits.values()):
        raise ValueError("ranges are incomplete")
    return intervals, Ranges(columns, tuple(families), limits)


def _logarithms(frame: pd.DataFrame, columns: Sequence[str]) -> Floats:
    return np.asarray(np.log(np.maximum(frame[list(columns)].to_numpy(np.float64), _TINY)))


def _typical(points: Floats, codes: Codes, known: tuple[Floats, Codes, Floats], leave_out: bool) -> Floats:
    """The typical error [n] at points [n] of these families; with `leave_out` they are the known ones themselves, and
    none counts for itself."""
    its_points, its_codes, errors = known
    weights = np.exp(-cdist(points, its_points) / _REACH) * (codes[:, None] == its_codes)
    family = (codes[:, None] == its_codes).astype(np.float64)
    if leave_out:
        weights[np.diag_indices(len(points))] = family[np.diag_indices(len(points))] = 0.0
    counts = family.sum(axis=1)
    # Row by row: sums of products whose bits do not depend on how many rows there are.
    mean = (family * errors).sum(axis=1) / np.maximum(counts, 1)
    mean = np.where(counts + leave_out >= _LEAST, mean, errors.mean())
    typical = ((weights * errors).sum(axis=1) + _PRIOR * mean) / (weights.sum(axis=1) + _PRIOR)
    return np.asarray(np.maximum(typical, _SMALLEST))


def _by_family(values: dict[str, float], families: Sequence[str], codes: Codes) -> Floats:
    """Per code [n] the value of its family, or the pooled one."""
    # An unknown family is -1, and the last entry is the pooled one.
    table = np.array([values.get(name, values[POOLED]) for name in families] + [values[POOLED]])
    return np.asarray(table[codes])


def _quantile(errors: Floats) -> float:
    """The conformal quantile: of n errors the ceil((n + 1) * LEVEL)-th smallest, the largest where there is none."""
    rank = min(int(np.ceil((len(errors) + 1) * LEVEL)), len(errors))
    return float(np.sort(errors)[rank - 1])
