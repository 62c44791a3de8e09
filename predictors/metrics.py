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


def interval_metrics(measured: ArrayLike, low: ArrayLike, high: ArrayLike, level: float = 0.9) -> dict[str, float]:
    """How well intervals [low, high] of this level hold measured values; all [n], in one unit. In percent:

    `coverage`, the share of measured values inside; `width`, the median of (high - low) / measured; `score`, the mean
    interval score over measured: width, and 2 / (1 - level) times what a value lies outside (Gneiting and Raftery,
    Strictly proper scoring rules, 2007, eq. 43). Less is better of the latter two.
    """
    truth, lower, upper = (np.asarray(values, np.float64) for values in (measured, low, high))
    width = upper - lower
    missed = np.maximum(lower - truth, 0) + np.maximum(truth - upper, 0)
    return {
        f"coverage_{100 * level:.0f}": float(100 * np.mean(missed == 0)),
        "width": float(100 * np.median(width / truth)),
        "score": float(100 * np.mean((width + 2 / (1 - level) * missed) / truth)),
    }
