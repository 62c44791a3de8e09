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
from scipy.linalg import cho_solve, cholesky
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

Floats = NDArray[np.float64]
Pairs = tuple[NDArray[np.int64], ...]

_LEAST = 1e-6  # a feature below it counts as it, before the logarithm
_JITTER = 1e-8
_SEARCHED_ON = 600  # observations that hyper-parameters are searched on
_SEARCH_STEPS = 40
_BLOCK = 128  # rows at once: always as many, so that a row's bits do not depend on its neighbours
_DIGITS = 7
# Prior of the logarithms: length scales in standard deviations of a feature, then signal and three noises.
_LENGTH_PRIOR = (1.5, 1.0)
_OTHER_PRIORS = ((-1.5, 1.0), (-3.5, 1.0), (-3.5, 1.0), (-3.5, 1.0))
_FARTHEST_LOG = 50.0
_IMPOSSIBLE = 1e12  # the value where a covariance cannot be inverted
_MOST_SHORTNESS = 4.0


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
    """Length scales [d] in standard deviations; variances of the signal and of three noises (`Observed.noises`)."""

    lengths: Floats
    signal: float
    noises: Floats


@dataclass(frozen=True)
class Observed:
    """What the cost model leaves of n observations: log(time / cost model), how often each was measured, and the cost
    model's time in us."""

    residual: Floats
    repeats: Floats
    cost_us: Floats

    def of(self, rows: NDArray[np.int64]) -> Observed:
        """These rows alone."""
        return Observed(self.residual[rows], self.repeats[rows], self.cost_us[rows])

    @property
    def noises(self) -> Floats:
        """What the variance of each noise is multiplied with [3, n]: the floor, one measurement, the timer's jitter."""
        short = np.minimum((np.median(self.cost_us) / self.cost_us) ** 2, _MOST_SHORTNESS)
        return np.stack([np.ones_like(self.repeats), 1 / self.repeats, short])


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """The mean of the process after its measurements: offset + covariance(point, points) . weights."""

    scaling: Scaling
    points: Floats
    weights: Floats
    offset: float

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GaussianProcess) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((self.scaling, self.offset))

    def predict(self, frame: pd.DataFrame) -> Floats:
        """log(time / cost model) [n] of a feature frame [n]."""
        wanted = self.scaling.points(frame)
        result = np.empty(len(wanted))
        columns = _right(self.points).T.copy()
        block, squared = np.zeros((_BLOCK, wanted.shape[1])), np.empty((_BLOCK, len(self.points)))
        for start in range(0, len(wanted), _BLOCK):
            part = wanted[start : start + _BLOCK]
            block[: len(part)] = part
            np.matmul(_left(block), columns, out=squared)
            result[start : start + len(part)] = (_matern(squared) @ self.weights)[: len(part)]
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

    def fit(self, frame: pd.DataFrame, observed: Observed) -> GaussianProcess:
        """The process given what was observed at the rows [n] of a feature frame."""
        scaling = self._scaling
        points = np.round(scaling.points(frame), _DIGITS)
        offset = float(np.median(observed.residual))
        covariance = self.found.signal * _matern(_squared_distances(points, points))
        covariance[np.diag_indices(len(points))] += self.found.noises @ observed.noises + _JITTER
        weights = cho_solve((cholesky(covariance, lower=True), True), observed.residual - offset)
        return GaussianProcess(scaling, points, self.found.signal * weights, offset)

    def covariance(self, first: pd.DataFrame, second: pd.DataFrame) -> Floats:
        """Covariances [n, m] of log(time / cost model) between rows of two feature frames, before any measurement."""
        points = [self._scaling.points(frame) for frame in (first, second)]
        return np.asarray(self.found.signal * _matern(_squared_distances(*points)))

    @property
    def _scaling(self) -> Scaling:
        scale = self.deviation * self.found.lengths
        return Scaling(self.columns, self.plain, self.families, tuple(self.centre), tuple(scale))


def search(
    frame: pd.DataFrame,
    observed: Observed,
    columns: Sequence[str],
    plain: Sequence[str],
    families: int,
    seed: int,
) -> Search:
    """Searches hyper-parameters for what was observed at the rows [n] of a feature frame.

    Columns that do not vary are left out. `seed` draws the observations that the search sees, where there are many.
    """
    varying = [name for name in columns if frame[name].nunique() > 1]
    values = _values(frame, varying, plain, families)
    deviation = values.std(axis=0)
    deviation[deviation < 1e-9] = 1.0
    centre = values.mean(axis=0)
    seen = np.sort(np.random.default_rng(seed).permutation(len(frame))[:_SEARCHED_ON])
    scaled = ((values - centre) / deviation)[seen]
    target = observed.residual[seen] - np.median(observed.residual)
    found = _maximise(scaled, target, observed.noises[:, seen])
    return Search(tuple(varying), tuple(plain), families, centre, deviation, found)


def _values(frame: pd.DataFrame, columns: Sequence[str], plain: Sequence[str], families: int) -> Floats:
    values = frame[list(columns)].to_numpy(np.float64, copy=True)
    logged = np.array([name not in plain for name in columns], dtype=bool)
    values[:, logged] = np.log(np.maximum(values[:, logged], _LEAST))
    indicators = frame["family"].to_numpy(np.float64)[:, None] == np.arange(families)
    return np.hstack([values, indicators])


def _squared_distances(first: Floats, second: Floats) -> Floats:
    return np.asarray(_left(first) @ _right(second).T)


def _left(points: Floats) -> Floats:
    """With `_right`, one matrix product gives |a - b|^2 = |a|^2 + |b|^2 - 2 a.b for all pairs."""
    squares = (points * points).sum(axis=1)[:, None]
    return np.hstack([-2 * points, squares, np.ones_like(squares)])


def _right(points: Floats) -> Floats:
    squares = (points * points).sum(axis=1)[:, None]
    return np.hstack([points, np.ones_like(squares), squares])


def _matern(squared: Floats) -> Floats:
    """(1 + r + r^2 / 3) exp(-r) with r^2 = 5 x squared; overwrites its argument, since this is where the time goes."""
    r = np.maximum(squared, 0.0, out=squared)
    r *= 5
    np.sqrt(r, out=r)
    decay = np.exp(-r)
    factor = r / 3
    factor += 1
    factor *= r
    factor += 1
    factor *= decay
    return np.asarray(factor)


def _maximise(scaled: Floats, target: Floats, noises: Floats) -> Hyperparameters:
    """The most likely hyper-parameters, from the prior's centre by L-BFGS."""
    dimensions = scaled.shape[1]
    pairs = np.triu_indices(len(scaled), 1)
    apart = np.ascontiguousarray(((scaled[pairs[0]] - scaled[pairs[1]]) ** 2).T)
    priors = np.array([_LENGTH_PRIOR] * dimensions + list(_OTHER_PRIORS))
    result = minimize(
        _negative_log_posterior,
        priors[:, 0],
        args=(apart, pairs, target, noises, priors),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _SEARCH_STEPS},
    )
    signal, *variances = np.exp(2 * result.x[dimensions:])
    return Hyperparameters(np.exp(result.x[:dimensions]), float(signal), np.array(variances))


def _negative_log_posterior(
    logs: Floats, apart: Floats, pairs: Pairs, target: Floats, noises: Floats, priors: Floats
) -> tuple[float, Floats]:
    """Value and gradient in the logarithms of length scales and standard deviations (book, eq. 5.8 and 5.9).

    `apart` [d, p] are squared distances of the `pairs` of observations, each pair once: all matrices are symmetric.
    """
    dimensions = len(apart)
    # A line search may try a step that goes absurdly far: the likelihood is held still there, so that nothing overflows
    # and the prior, which goes on growing, sends it back.
    near = np.clip(logs, -_FARTHEST_LOG, _FARTHEST_LOG)
    inverse_squares = np.exp(-2 * near[:dimensions])
    signal, variances = np.exp(2 * near[dimensions]), np.exp(2 * near[dimensions + 1 :])
    r = np.sqrt(5 * (inverse_squares @ apart))
    decay = np.exp(-r)
    covariance = signal * (1 + r + r * r / 3) * decay
    off = (logs - priors[:, 0]) / priors[:, 1]
    try:
        upper, inverse, inverse_diagonal = _inverted(covariance, pairs, signal + variances @ noises + _JITTER)
    except np.linalg.LinAlgError:
        return _IMPOSSIBLE, off / priors[:, 1]
    weights = cho_solve((upper, False), target)
    slope = inverse - weights[pairs[0]] * weights[pairs[1]]
    slope_diagonal = inverse_diagonal - weights * weights
    by_distance = slope * (signal * (-5 / 6) * (1 + r) * decay)
    gradient = np.concatenate(
        [
            -2 * (apart @ by_distance) * inverse_squares,
            [2 * float(slope @ covariance) + signal * float(slope_diagonal.sum())],
            (noises @ slope_diagonal) * variances,
        ]
    )
    value = 0.5 * float(target @ weights) + float(np.log(np.diag(upper)).sum()) + 0.5 * float(off @ off)
    return value, gradient * (near == logs) + off / priors[:, 1]


def _inverted(covariance: Floats, pairs: Pairs, diagonal: Floats) -> tuple[Floats, Floats, Floats]:
    """Of the symmetric matrix with this diagonal and, for each pair, this covariance: its upper Cholesky factor, and
    its inverse's values for the pairs and on the diagonal. Raises LinAlgError where it is not positive definite."""
    matrix = np.zeros((len(diagonal), len(diagonal)), order="F")
    matrix[pairs] = covariance
    matrix[np.diag_indices(len(diagonal))] = diagonal
    upper = cholesky(matrix, overwrite_a=True)
    inverse, failed = dpotri(upper)
    if failed:
        raise np.linalg.LinAlgError(f"no inverse of a covariance: dpotri gives {failed}")
    return upper, inverse[pairs], np.diag(inverse)
