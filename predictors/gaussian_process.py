"""A Gaussian process on what the cost model leaves: log(time / cost model), smooth in the logarithms of the features.

Kernel: Matern 5/2 with a length scale for each feature (Rasmussen and Williams, Gaussian Processes for Machine
Learning, 2006, eq. 4.17 and section 5.1). Noise: a floor, and a part that falls with the number of times that an
observation was measured. Length scales, signal and noise maximise the marginal likelihood times a weak prior.

What is kept is text: scaled features of the shapes that were measured, and a weight for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

Floats = NDArray[np.float64]

_LEAST = 1e-6  # a feature below it counts as it, before the logarithm
_JITTER = 1e-8
_SEARCHED_ON = 400  # observations that hyper-parameters are searched on
_SEARCH_STEPS = 35
_BLOCK = 128  # rows at once: always as many, so that a row's bits do not depend on its neighbours
_DIGITS = 7
# Prior of the logarithms: length scales in standard deviations of a feature, then signal and both noises.
_LENGTH_PRIOR = (1.5, 1.0)
_OTHER_PRIORS = ((-1.5, 1.0), (-3.5, 1.0), (-3.5, 1.0))


@dataclass(frozen=True)
class Scaling:
    """From a feature frame to points: logarithms (of all but `plain` columns), and an indicator for each family.

    A point's coordinate is (value - centre) / scale; the length scale is part of `scale`.
    """

    columns: tuple[str, ...]
    plain: tuple[str, ...]
    families: int
    centre: tuple[float, ...]
    scale: tuple[float, ...]

    def points(self, frame: pd.DataFrame) -> Floats:
        """[n, d] of a feature frame [n]."""
        values = _values(frame, self.columns, self.plain, self.families)
        return np.asarray((values - np.array(self.centre)) / np.array(self.scale))


@dataclass(frozen=True)
class Hyperparameters:
    """Length scales [d] in standard deviations; variances of the signal, the noise floor, and one measurement."""

    lengths: Floats
    signal: float
    floor: float
    single: float

    def noise(self, repeats: Floats) -> Floats:
        return np.asarray(self.floor + self.single / repeats + _JITTER)


@dataclass(frozen=True)
class GaussianProcess:
    """The mean of the process after its measurements: offset + covariance(point, points) . weights."""

    scaling: Scaling
    points: Floats
    weights: Floats
    offset: float

    def predict(self, frame: pd.DataFrame) -> Floats:
        """log(time / cost model) [n] of a feature frame [n]."""
        wanted = self.scaling.points(frame)
        result = np.empty(len(wanted))
        for start in range(0, len(wanted), _BLOCK):
            part = wanted[start : start + _BLOCK]
            block = np.zeros((_BLOCK, wanted.shape[1]))
            block[: len(part)] = part
            covariance = _matern(_squared_distances(block, self.points))
            result[start : start + len(part)] = (covariance * self.weights).sum(axis=1)[: len(part)]
        return result + self.offset

    def to_json(self) -> dict[str, Any]:
        return {
            "columns": list(self.scaling.columns),
            "plain": list(self.scaling.plain),
            "families": self.scaling.families,
            "centre": list(self.scaling.centre),
            "scale": list(self.scaling.scale),
            "points": self.points.tolist(),
            "weights": self.weights.tolist(),
            "offset": self.offset,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> GaussianProcess:
        """What `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        columns, plain = tuple(map(str, data["columns"])), tuple(map(str, data["plain"]))
        centre, scale = tuple(map(float, data["centre"])), tuple(map(float, data["scale"]))
        points, weights = np.array(data["points"], np.float64), np.array(data["weights"], np.float64)
        if points.shape != (len(weights), len(centre)) or len(scale) != len(centre):
            raise ValueError("a Gaussian process whose sizes do not agree")
        scaling = Scaling(columns, plain, int(data["families"]), centre, scale)
        return cls(scaling, points, weights, float(data["offset"]))


@dataclass(frozen=True)
class Search:
    """What the search for hyper-parameters found, to fit processes on other rows with."""

    columns: tuple[str, ...]
    plain: tuple[str, ...]
    families: int
    centre: Floats
    deviation: Floats
    found: Hyperparameters

    def fit(self, frame: pd.DataFrame, residual: Floats, repeats: Floats) -> GaussianProcess:
        """The process given residuals [n] at the rows [n] of a feature frame, each measured `repeats` [n] times."""
        scale = self.deviation * self.found.lengths
        scaling = Scaling(self.columns, self.plain, self.families, tuple(self.centre), tuple(scale))
        points = np.round(scaling.points(frame), _DIGITS)
        offset = float(np.median(residual))
        covariance = self.found.signal * _matern(_squared_distances(points, points))
        covariance[np.diag_indices(len(points))] += self.found.noise(repeats)
        weights = cho_solve((cholesky(covariance, lower=True), True), residual - offset)
        return GaussianProcess(scaling, points, self.found.signal * weights, offset)


def search(
    frame: pd.DataFrame,
    residual: Floats,
    repeats: Floats,
    columns: Sequence[str],
    plain: Sequence[str],
    families: int,
    seed: int,
) -> Search:
    """Searches hyper-parameters for residuals [n] at the rows [n] of a feature frame.

    Columns that do not vary are left out. `seed` draws the observations that the search sees, where there are many.
    """
    varying = [name for name in columns if frame[name].nunique() > 1]
    values = _values(frame, varying, plain, families)
    deviation = values.std(axis=0)
    deviation[deviation < 1e-9] = 1.0
    centre = values.mean(axis=0)
    seen = np.sort(np.random.default_rng(seed).permutation(len(frame))[:_SEARCHED_ON])
    scaled = ((values - centre) / deviation)[seen]
    target = residual[seen] - np.median(residual)
    found = _maximise(scaled, target, repeats[seen])
    return Search(tuple(varying), tuple(plain), families, centre, deviation, found)


def _values(frame: pd.DataFrame, columns: Sequence[str], plain: Sequence[str], families: int) -> Floats:
    values = frame[list(columns)].to_numpy(np.float64, copy=True)
    logged = np.array([name not in plain for name in columns], dtype=bool)
    values[:, logged] = np.log(np.maximum(values[:, logged], _LEAST))
    indicators = frame["family"].to_numpy(np.float64)[:, None] == np.arange(families)
    return np.hstack([values, indicators])


def _squared_distances(first: Floats, second: Floats) -> Floats:
    squares = (first * first).sum(axis=1)[:, None] + (second * second).sum(axis=1)[None, :]
    return np.asarray(np.maximum(squares - 2 * (first @ second.T), 0.0))


def _matern(squared: Floats) -> Floats:
    r = np.sqrt(5 * squared)
    return np.asarray((1 + r + r * r / 3) * np.exp(-r))


def _maximise(scaled: Floats, target: Floats, repeats: Floats) -> Hyperparameters:
    """The most likely hyper-parameters, from the prior's centre by L-BFGS."""
    dimensions = scaled.shape[1]
    apart = np.ascontiguousarray((scaled.T[:, :, None] - scaled.T[:, None, :]) ** 2).reshape(dimensions, -1)
    priors = np.array([_LENGTH_PRIOR] * dimensions + list(_OTHER_PRIORS))
    result = minimize(
        _negative_log_posterior,
        priors[:, 0],
        args=(apart, target, repeats, priors),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _SEARCH_STEPS},
    )
    signal, floor, single = np.exp(2 * result.x[dimensions:])
    return Hyperparameters(np.exp(result.x[:dimensions]), float(signal), float(floor), float(single))


def _negative_log_posterior(
    logs: Floats, apart: Floats, target: Floats, repeats: Floats, priors: Floats
) -> tuple[float, Floats]:
    """Value and gradient in the logarithms of length scales and standard deviations (book, eq. 5.8 and 5.9)."""
    count = len(target)
    inverse_squares = np.exp(-2 * logs[:-3])
    signal, floor, single = np.exp(2 * logs[-3:])
    r = np.sqrt(5 * (inverse_squares @ apart)).reshape(count, count)
    decay = np.exp(-r)
    covariance = signal * (1 + r + r * r / 3) * decay
    noisy = covariance + np.diag(floor + single / repeats + _JITTER)
    lower = cholesky(noisy, lower=True)
    inverse_lower = solve_triangular(lower, np.eye(count), lower=True)
    inverse = inverse_lower.T @ inverse_lower
    weights = inverse @ target
    slope = inverse - np.outer(weights, weights)
    by_distance = (slope * (signal * (-5 / 6) * (1 + r) * decay)).reshape(-1)
    on_diagonal = np.diag(slope)
    gradient = np.concatenate(
        [
            -(apart @ by_distance) * inverse_squares,
            [float((slope * covariance).sum()), on_diagonal.sum() * floor, (on_diagonal / repeats).sum() * single],
        ]
    )
    off = (logs - priors[:, 0]) / priors[:, 1]
    value = 0.5 * float(target @ weights) + float(np.log(np.diag(lower)).sum()) + 0.5 * float(off @ off)
    return value, gradient + off / priors[:, 1]
