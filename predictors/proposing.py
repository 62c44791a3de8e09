"""Which shapes to measure next: those that leave the least unknown of all that a campaign may ask for.

A Gaussian process knows how sure it is of each candidate before anything more is measured. Of each target a process is
fitted on what the cost model leaves of the traces so far; then shapes are taken one by one, each the one whose
measurement takes away the most variance from all candidates together (active learning, Cohn 1996; Gramacy and Apley,
Local Gaussian process approximation, 2015, call it ALC). Candidates that a decision rests on may count more. The same
traces give the same shapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky

from .cost_model import CostModel
from .fitting import cost_of
from .gaussian_process import GaussianProcess, Observed, Search, search
from .observations import TrainingSet
from .predictor import Floats

_JITTER = 1e-8


@dataclass(frozen=True)
class Known:
    """What the traces so far say of one target."""

    data: TrainingSet
    cost_model: CostModel
    observed: Observed
    found: Search
    process: GaussianProcess

    @classmethod
    def of(cls, data: TrainingSet, seed: int) -> Known:
        design, families = data.design, data.vocabulary.families
        cost_model, observed = cost_of(data, np.arange(len(data.time_us)))
        found = search(data.features, observed, design.smooth, design.plain, len(families), seed)
        return cls(data, cost_model, observed, found, found.fit(data.features, observed))

    def frame(self, table: pd.DataFrame) -> pd.DataFrame:
        """The target's features [n] of lowered or described operators [n]."""
        return self.data.design.make(table, self.data.vocabulary)

    def predict_us(self, frame: pd.DataFrame) -> Floats:
        """Times [n] in us of a feature frame [n]."""
        return np.asarray(self.cost_model.predict_us(frame) * np.exp(self.process.predict(frame)))

    def unknown(self, frame: pd.DataFrame) -> Unknown:
        """What is not known of these candidates [m]."""
        measured = self.data.features
        inside = self.found.covariance(measured, measured)
        inside[np.diag_indices(len(inside))] += self.found.found.noises @ self.observed.noises + _JITTER
        across = self.found.covariance(measured, frame)
        explained = across.T @ cho_solve((cholesky(inside, lower=True), True), across)
        noise = float(self.found.found.noises.sum()) + _JITTER
        return Unknown(self.found.covariance(frame, frame) - explained, noise)


@dataclass(frozen=True)
class Unknown:
    """The covariance [m, m] of candidates given what was measured, and the noise of one more measurement."""

    covariance: Floats
    noise: float

    def gains(self, weights: Floats) -> Floats:
        """By candidate [m], the share of all variance, by these weights [m], that its measurement would take away."""
        variances = np.diag(self.covariance)
        taken = (weights @ self.covariance**2) / (variances + self.noise)
        return np.asarray(taken / max(float(weights @ variances), _JITTER))

    def without(self, candidate: int) -> Unknown:
        """What is not known once this one is measured."""
        column = self.covariance[:, candidate]
        return Unknown(
            self.covariance - np.outer(column, column) / (column[candidate] + self.noise),
            self.noise,
        )


def propose(
    unknown: Sequence[Unknown], kinds: Sequence[str], counts: Mapping[str, int], weights: Floats | None = None
) -> NDArray[np.int64]:
    """The candidates, by number and in the order of their worth, to measure next: `counts[kind]` of each kind.

    `unknown` has what is not known of each target, all of the same candidates; `kinds` [m] says of which kind each is,
    `weights` [m] how much it counts that it becomes known. What was measured may be among the candidates: it has little
    left to tell. What several targets gain is added up, each as a share of its own unknown.
    """
    left, open_ = list(unknown), dict(counts)
    counted = np.ones(len(kinds)) if weights is None else weights
    chosen: list[int] = []
    while any(open_.values()):
        gain = np.sum([each.gains(counted) for each in left], axis=0)
        gain[[open_.get(kind, 0) == 0 for kind in kinds]] = -1.0
        gain[chosen] = -1.0
        best = int(np.argmax(gain))
        if gain[best] < 0:
            break
        chosen.append(best)
        open_[kinds[best]] -= 1
        left = [each.without(best) for each in left]
    return np.array(chosen, dtype=np.int64)
