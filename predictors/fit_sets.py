"""Fitting the predictors of one device class side by side: each with its held-out predictions and learning curve."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from .fitting import HeldOut, fit_predictor, predict_held_out
from .learning import LearningCurve, learning_curve
from .observations import TrainingSet
from .predictor import Predictor

WORKERS = 2
"""Threads that train a device class where it has the machine for itself."""


@dataclass(frozen=True)
class Fitted:
    """A predictor trained on all rows, and what models said that had not seen them."""

    predictor: Predictor
    held_out: HeldOut
    learning: LearningCurve


def fit_sets(sets: Mapping[str, TrainingSet], seed: int, workers: int = WORKERS) -> dict[str, Fitted]:
    """Fits each training set, `workers` at a time. The same sets and seed give the same predictors.

    Each runs on one core: LightGBM and BLAS let go of the interpreter.
    """
    with threadpool_limits(1), ThreadPoolExecutor(workers) as pool:
        held = {name: pool.submit(_held_out, data, seed) for name, data in sets.items()}
        whole = {
            name: pool.submit(fit_predictor, data, np.arange(len(data.time_us)), seed) for name, data in sets.items()
        }
        return {name: Fitted(whole[name].result(), *held[name].result()) for name in sets}


def _held_out(data: TrainingSet, seed: int) -> tuple[HeldOut, LearningCurve]:
    predicted = predict_held_out(data, seed)
    return predicted, learning_curve(data, predicted.time_us, seed)
