"""Fitting one predictor: the cost model, then a booster on what it leaves, with as many trees as pay.

How the booster's settings were chosen is in docs/predictors.md.
"""

from __future__ import annotations

import json
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .cost_model import fit_cost_model
from .features import CATEGORICAL
from .observations import TrainingSet
from .predictor import Floats, Predictor

_FOLDS = 5
_INNER_FOLDS = 4
_ROUNDS = (10, 25, 50, 100, 200, 400)
BOOSTER_PARAMETERS: dict[str, Any] = {
    "objective": "regression_l1",  # a loaded host makes some shapes slower, none faster
    "learning_rate": 0.05,
    "num_leaves": 7,
    "min_data_in_leaf": 5,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 1.0,
    "max_bin": 63,
    "min_data_per_group": 5,
    "cat_smooth": 5.0,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}


def fit_predictor(data: TrainingSet, rows: NDArray[np.int64], seed: int) -> Predictor:
    """A predictor trained on these rows of a training set."""
    frame, time_us = data.features.iloc[rows], data.time_us[rows]
    cost_model = fit_cost_model(frame, time_us, data.terms, data.vocabulary.families)
    rounds = _choose_rounds(data, rows, seed)
    booster = _boost(frame, np.log(time_us / cost_model.predict_us(frame)), rounds, seed)
    types = sorted({json.loads(shape)["type"] for shape in data.shapes})
    return Predictor(data.target, tuple(types), data.vocabulary, cost_model, booster.model_to_string())


def _choose_rounds(data: TrainingSet, rows: NDArray[np.int64], seed: int) -> int:
    """How many trees are worth having, by cross-validation inside the training rows: few where noise rules."""
    errors = np.zeros(len(_ROUNDS))
    for test in _folds(len(rows), _INNER_FOLDS, seed + 1):
        train = np.setdiff1d(np.arange(len(rows)), test)
        frame, time_us = data.features.iloc[rows[train]], data.time_us[rows[train]]
        cost_model = fit_cost_model(frame, time_us, data.terms, data.vocabulary.families)
        booster = _boost(frame, np.log(time_us / cost_model.predict_us(frame)), max(_ROUNDS), seed)
        unseen = data.features.iloc[rows[test]]
        wanted = np.log(data.time_us[rows[test]] / cost_model.predict_us(unseen))
        matrix = unseen.to_numpy(np.float64)
        for index, rounds in enumerate(_ROUNDS):
            score = np.asarray(booster.predict(matrix, raw_score=True, num_iteration=rounds, num_threads=1))
            errors[index] += float(np.sum(np.abs(score - wanted)))
    return _ROUNDS[int(np.argmin(errors))]


def _boost(frame: pd.DataFrame, target: Floats, rounds: int, seed: int) -> lightgbm.Booster:
    parameters = {**BOOSTER_PARAMETERS, "seed": seed}
    data = lightgbm.Dataset(
        frame.to_numpy(np.float64),
        target,
        feature_name=list(frame.columns),
        categorical_feature=list(CATEGORICAL),
        params=parameters,
    )
    return lightgbm.train(parameters, data, rounds)


def _folds(count: int, folds: int, seed: int) -> list[NDArray[np.int64]]:
    order = np.random.default_rng(seed).permutation(count)
    return [np.sort(part) for part in np.array_split(order, folds)]


def predict_held_out(data: TrainingSet, seed: int) -> Floats:
    """Predicted times [n], each by a model that was trained without that shape."""
    predicted = np.zeros(len(data.time_us))
    for test in _folds(len(data.time_us), _FOLDS, seed):
        train = np.setdiff1d(np.arange(len(data.time_us)), test)
        predicted[test] = fit_predictor(data, train, seed).predict_us(data.features.iloc[test])
    return predicted
