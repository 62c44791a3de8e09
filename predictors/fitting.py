"""Fitting one predictor: the cost model, then a booster and a Gaussian process on what it leaves, mixed as it pays.

How many trees, and how much of the process: by cross-validation inside the training rows, which also tells how wide
the intervals are. Rows of one shape are always on the same side. How the rest was chosen is in docs/predictors.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .cost_model import CostModel, fit_cost_model
from .family_processes import FamilySearch, search_families
from .features import CATEGORICAL
from .gaussian_process import Observed
from .intervals import Intervals, Ranges
from .observations import TrainingSet
from .predictor import Floats, Predictor

_FOLDS = 5
_INNER_FOLDS = 5
_ROUNDS = (10, 25, 50, 100, 200, 400)
_SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_SINGLE_NOISE = 1.5  # variance of one measurement over what differs from shape to shape

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class _Choice:
    """What cross-validation inside the training rows chose, and the errors log(measured / predicted) [n] it made."""

    rounds: int
    share: float
    errors: Floats


@dataclass(frozen=True)
class HeldOut:
    """Predicted times [n] of rows held out, in us, with the bounds of their intervals, and whether they lie outside."""

    time_us: Floats
    low_us: Floats
    high_us: Floats
    outside: NDArray[np.bool_]


def fit_predictor(data: TrainingSet, rows: Rows, seed: int) -> Predictor:
    """A predictor trained on these rows of a training set."""
    frame, families = data.features.iloc[rows], data.vocabulary.families
    cost_model, observed = cost_of(data, rows)
    found = _search(data, rows, observed, seed)
    choice = _choose(data, rows, found, seed)
    booster = _boost(data, rows, observed.residual, choice.rounds, seed)
    process = None
    if found is not None and choice.share > 0:
        process = found.fit(frame, observed)
    types = sorted({json.loads(shape)["type"] for shape in data.shapes})
    by_shape = pd.Series(choice.errors).groupby(data.shape_of[rows])
    first = frame.groupby(data.shape_of[rows]).first()
    return Predictor(
        data.target,
        tuple(types),
        data.vocabulary,
        cost_model,
        booster.model_to_string(),
        Intervals.fit(first, np.asarray(by_shape.median(), dtype=np.float64), data.design.range, families),
        Ranges.fit(frame, data.design.range, families),
        process,
        choice.share,
        data.runtime,
    )


def predict_held_out(data: TrainingSet, seed: int) -> HeldOut:
    """Each row predicted by a model that was trained without its shape: five folds over shapes."""
    zeros = np.zeros(len(data.time_us))
    held_out = HeldOut(zeros, zeros.copy(), zeros.copy(), zeros.astype(bool))
    for test in shape_folds(data.shape_of, _FOLDS, seed):
        train = np.setdiff1d(np.arange(len(data.time_us)), test)
        predictor = fit_predictor(data, train, seed)
        frame = data.features.iloc[test]
        held_out.time_us[test] = predictor.predict_us(frame)
        held_out.low_us[test], held_out.high_us[test] = predictor.intervals.bounds(frame, held_out.time_us[test])
        held_out.outside[test] = predictor.outside(frame)
    return held_out


def cost_of(data: TrainingSet, rows: Rows) -> tuple[CostModel, Observed]:
    """The cost model of these rows, and what it leaves of them."""
    frame, time_us = data.features.iloc[rows], data.time_us[rows]
    weights = _weights(data.repeats[rows])
    model = fit_cost_model(frame, time_us, data.design.terms, data.vocabulary.families, weights)
    cost_us = model.predict_us(frame)
    return model, Observed(np.log(time_us / cost_us), data.repeats[rows], cost_us)


def _weights(repeats: Floats) -> Floats:
    """A median of several measurements is worth more, up to what differs from shape to shape anyway."""
    weights = 1 / (1 + _SINGLE_NOISE / repeats)
    return np.asarray(weights / weights.mean())


def _search(data: TrainingSet, rows: Rows, observed: Observed, seed: int) -> FamilySearch | None:
    design, families = data.design, len(data.vocabulary.families)
    return search_families(data.features.iloc[rows], observed, design.smooth, design.plain, families, seed)


def _choose(data: TrainingSet, rows: Rows, found: FamilySearch | None, seed: int) -> _Choice:
    """How many trees and how much of the process have the least absolute error on rows held out."""
    wanted, process = np.zeros(len(rows)), np.zeros(len(rows))
    boosted = np.zeros((len(_ROUNDS), len(rows)))
    for test in shape_folds(data.shape_of[rows], _INNER_FOLDS, seed + 1):
        train = np.setdiff1d(np.arange(len(rows)), test)
        model, observed = cost_of(data, rows[train])
        unseen = data.features.iloc[rows[test]]
        wanted[test] = np.log(data.time_us[rows[test]] / model.predict_us(unseen))
        booster = _boost(data, rows[train], observed.residual, max(_ROUNDS), seed)
        matrix = unseen.to_numpy(np.float64)
        for index, rounds in enumerate(_ROUNDS):
            boosted[index, test] = booster.predict(matrix, raw_score=True, num_iteration=rounds, num_threads=1)
        if found is not None:
            process[test] = found.fit(data.features.iloc[rows[train]], observed).predict(unseen)
    choices = []
    for rounds, score in zip(_ROUNDS, boosted, strict=True):
        for share in _SHARES if found is not None else _SHARES[:1]:
            errors = wanted - (1 - share) * score - share * process
            choices.append(_Choice(rounds, share, errors))
    weights = _weights(data.repeats[rows])
    return min(choices, key=lambda choice: float(np.sum(weights * np.abs(choice.errors))))


def _boost(data: TrainingSet, rows: Rows, residual: Floats, rounds: int, seed: int) -> lightgbm.Booster:
    frame = data.features.iloc[rows]
    parameters: dict[str, Any] = {**data.design.booster, "seed": seed}
    dataset = lightgbm.Dataset(
        frame.to_numpy(np.float64),
        residual,
        weight=_weights(data.repeats[rows]),
        feature_name=list(frame.columns),
        categorical_feature=list(CATEGORICAL),
        params=parameters,
    )
    return lightgbm.train(parameters, dataset, rounds)


def shape_folds(shape_of: Rows, folds: int, seed: int) -> list[Rows]:
    """The rows of each fold: whole shapes, drawn by chance. `shape_of` has the number of each row's shape."""
    shapes = np.unique(shape_of)
    order = np.random.default_rng(seed).permutation(len(shapes))
    return [np.flatnonzero(np.isin(shape_of, shapes[part])) for part in np.array_split(order, folds)]
