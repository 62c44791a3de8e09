"""How far predictions are from measurements. Everything is in percent of the measured time."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

WITHIN = (5, 10, 15)


def error_metrics(measured: ArrayLike, predicted: ArrayLike) -> dict[str, float]:
    """n, MAPE, median absolute percentage error, shares within 5, 10, 15 %, and RMSPE of ``predicted``.

    Both arguments have shape [n] and the same unit; measured values are positive. All results but ``n`` are percent.

    Raises:
        ValueError: nothing to compare, different lengths, or a measured value that is not positive.
    """
    truth, guess = np.asarray(measured, np.float64), np.asarray(predicted, np.float64)
    if truth.ndim != 1 or truth.shape != guess.shape or truth.size == 0:
        raise ValueError(f"cannot compare shapes {truth.shape} and {guess.shape}")
    if not (np.all(truth > 0) and np.all(np.isfinite(truth))):
        raise ValueError("measured times must be positive and finite")
    error = 100.0 * np.abs(guess - truth) / truth
    shares = {f"within_{limit}": float(100.0 * np.mean(error <= limit)) for limit in WITHIN}
    return {
        "n": int(truth.size),
        "mape": float(np.mean(error)),
        "median_ape": float(np.median(error)),
        **shares,
        "rmspe": float(np.sqrt(np.mean(error**2))),
    }
