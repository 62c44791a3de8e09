"""The learning curve: a predictor's error on the same held-out shapes after training on ever more of the others."""

from __future__ import annotations

import numpy as np

from .fitting import Rows, fit_predictor, shape_folds
from .metrics import error_metrics
from .observations import LEAST_SHAPES, TrainingSet
from .predictor import Floats

SHARES = (0.125, 0.25, 0.5)
"""Nested parts of the shapes that are not held out. The whole of them is the held-out evaluation itself."""

_FOLDS = 5

LearningCurve = tuple[tuple[int, float], ...]
"""(shapes trained on, MAPE in percent on the held-out fifth), by shapes."""


def learning_curve(data: TrainingSet, held_out_us: Floats, seed: int) -> LearningCurve:
    """Trains on nested parts of four fifths of the shapes, and predicts the last fifth.

    `held_out_us` [n] are the predictions of `predict_held_out` with the same seed, whose first fold is that fifth: they
    are the last point, and cost nothing. The parts together cost about as much as training once. Empty where the least
    part has too few shapes.
    """
    shape_of = data.shape_of
    test = shape_folds(shape_of, _FOLDS, seed)[0]
    others = np.setdiff1d(np.unique(shape_of), shape_of[test])
    order = np.random.default_rng(seed).permutation(others)
    parts = [order[: round(share * len(order))] for share in SHARES]
    points = []
    for part in parts:
        if len(part) >= LEAST_SHAPES:
            predictor = fit_predictor(data, np.flatnonzero(np.isin(shape_of, part)), seed)
            points.append((len(part), _mape(data, test, predictor.predict_us(data.features.iloc[test]))))
    return (*points, (len(order), _mape(data, test, held_out_us[test]))) if points else ()


def _mape(data: TrainingSet, rows: Rows, predicted_us: Floats) -> float:
    return error_metrics(data.time_us[rows], predicted_us)["mape"]
