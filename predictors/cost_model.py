"""The cost model: a sum of launch quantities with non-negative coefficients, one set for each kernel family.

Time is a constant, plus work done, plus bytes moved, plus threads and work-groups started. Fitted on relative error
it is crude but never absurd, and it extrapolates; a booster then learns only log(time / cost model). With the few
hundred shapes that one phone gives, that is worth more than any tuning of the booster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import nnls

Floats = NDArray[np.float64]

POOLED = "*"
"""Coefficients fitted on all families, for a family without its own."""

_SHAPES_PER_TERM = 2
_ENOUGH_SHAPES = 30  # of a family: most of many terms get a coefficient of 0
_LEAST_US = 0.01  # no prediction is below the resolution of any timer used


@dataclass(frozen=True)
class CostModel:
    """`terms` are feature columns; `coefficients_us[family]` holds one non-negative microsecond figure a term."""

    terms: tuple[str, ...]
    families: tuple[str, ...]
    coefficients_us: dict[str, tuple[float, ...]]

    def coefficients(self, frame: pd.DataFrame) -> Floats:
        """The coefficients [n, terms] in us that hold for feature rows [n]: their family's, else the pooled ones.

        The column `family` is the index in `families`, or unknown.
        """
        pooled = np.array(self.coefficients_us[POOLED])
        table = np.array([self.coefficients_us.get(name, pooled) for name in self.families] + [pooled])
        # An unknown family is -1, and the last row is the pooled one.
        return np.asarray(table[frame["family"].to_numpy(np.int64)])

    def predict_us(self, frame: pd.DataFrame) -> Floats:
        """Times [n] in us of feature rows [n]."""
        columns = frame[list(self.terms)].to_numpy(np.float64)
        coefficients = self.coefficients(frame)
        # A plain sum in the order of the terms: the same bits whatever the number of rows, unlike a matrix product.
        total = np.zeros(len(frame))
        for index in range(len(self.terms)):
            total += columns[:, index] * coefficients[:, index]
        return np.maximum(total, _LEAST_US)

    def to_json(self) -> dict[str, Any]:
        return {
            "terms": list(self.terms),
            "families": list(self.families),
            "coefficients_us": {name: list(values) for name, values in self.coefficients_us.items()},
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> CostModel:
        coefficients = {name: tuple(map(float, values)) for name, values in data["coefficients_us"].items()}
        return cls(tuple(data["terms"]), tuple(data["families"]), coefficients)


def fit_cost_model(
    frame: pd.DataFrame,
    time_us: Floats,
    terms: Sequence[str],
    families: Sequence[str],
    weights: Floats | None = None,
) -> CostModel:
    """Least squares on relative error with non-negative coefficients, for each family with enough shapes.

    `frame` holds features [n], `time_us` positive times [n], `weights` [n] what each observation counts.
    """
    weights = np.ones(len(time_us)) if weights is None else weights
    columns = frame[list(terms)].to_numpy(np.float64)
    codes = frame["family"].to_numpy(np.int64)
    coefficients = {POOLED: _fit(columns, time_us, weights)}
    for code, family in enumerate(families):
        rows = codes == code
        # A term that is 0 throughout the family has no coefficient to find.
        used = int(np.count_nonzero(columns[rows].any(axis=0)))
        if rows.any() and int(np.count_nonzero(rows)) >= min(_SHAPES_PER_TERM * used, _ENOUGH_SHAPES):
            coefficients[family] = _fit(columns[rows], time_us[rows], weights[rows])
    return CostModel(tuple(terms), tuple(families), coefficients)


def _fit(columns: Floats, time_us: Floats, weights: Floats) -> tuple[float, ...]:
    root = np.sqrt(weights)
    relative = columns / time_us[:, None] * root[:, None]
    # Terms differ by ten orders of magnitude: scale each to about one, or the solver's tolerance drops the small ones.
    scale = np.sqrt(np.mean(relative**2, axis=0))
    scale[scale == 0] = 1.0
    solution, _ = nnls(relative / scale, root)
    return tuple(float(value) for value in solution / scale)
