"""Calibration: what a few joint executions of one operator on the phone say, put into its predicted curves.

A predictor's error hardly changes from one cut of a layer to the next. So one joint execution near the best cut tells
most of it: predicted times are multiplied with measured / predicted, interpolated along the cut where several were
measured. What stays uncertain is the measurement's own noise, and more of the predictor's error the further a half is
from one that was measured: all of it when it is twice or half as large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np

from .curves import Curves
from .predictor import Floats
from .split_table import Join

Side = Literal["cpu", "gpu"]

NOISE = 0.02
"""Standard deviation of log(time) from one measurement of a median to the next, on a phone that keeps its level."""


@dataclass(frozen=True)
class Calibration:
    """One interleaved measurement in us of an operator: split at `cut`, and whole on each processor.

    `cpu_half_us` and `gpu_half_us` (dispatch and execution) are the halves' own times within the joint execution,
    `rest_us` what it takes beyond the later one. `cpu_us` has `cpu_threads`; `gpu_us` is the wall time. Where `cut` is
    None, the operator was only measured whole, and the halves' times are 0.
    """

    cut: int | None
    threads: int
    join: Join | None
    cpu_half_us: float
    gpu_half_us: float
    rest_us: float
    joint_us: float
    cpu_us: float
    cpu_threads: int
    gpu_us: float


@dataclass(frozen=True)
class Correction:
    """What predicted times [n] are multiplied with, and which part [n] of the predictor's error is left."""

    factors: Floats
    remaining: Floats


def correction(
    curves: Curves, side: Side, predicted_us: Floats, measured: Mapping[int, float], error: float
) -> Correction:
    """From the measured times in us, by cut, of one side's parts, whose predicted times are `predicted_us` [n].

    `error` is the standard deviation of log(measured / predicted) of the predictor. Without measurements nothing is
    corrected and all of the error is left. Raises ValueError for a cut that the curves do not have.
    """
    if not measured:
        return Correction(np.ones(len(curves.cuts)), np.ones(len(curves.cuts)))
    at = sorted(measured)
    places = np.array([curves.cuts.tolist().index(cut) for cut in at])
    logs = np.log([measured[cut] for cut in at]) - np.log(predicted_us[places])
    sizes = np.log2(np.maximum(curves.cuts if side == "cpu" else curves.operator.channels - curves.cuts, 1))
    octaves = np.abs(sizes[:, None] - sizes[places][None, :]).min(axis=1)
    factors = np.exp(np.interp(curves.cuts, at, logs))
    return Correction(factors, remaining_error(error, octaves))


def remaining_error(error: float, octaves: Floats | float = 0.0) -> Floats:
    """Which part of an error of this standard deviation is left so many octaves from what was measured."""
    return np.minimum(1.0, np.hypot(NOISE / max(error, NOISE), octaves))


def joint_medians(calibrations: Sequence[Calibration], side: Side) -> dict[int, float]:
    """The halves' times in us by cut: the median where one was measured more than once; none where none was split.

    A phone's level drifts from one measurement to the next, the ratio of two times within one hardly does. So each
    half counts as a part of the whole operator's time beside it, times the median of that over all measurements.
    """
    if not calibrations:
        return {}
    whole_us = median(_whole_us(found, side) for found in calibrations)
    times: dict[int, list[float]] = {}
    for found in calibrations:
        if found.cut is None:
            continue
        half_us = found.cpu_half_us if side == "cpu" else found.gpu_half_us
        times.setdefault(found.cut, []).append(half_us / _whole_us(found, side) * whole_us)
    return {cut: median(us) for cut, us in times.items()}


def _whole_us(found: Calibration, side: Side) -> float:
    return found.cpu_us if side == "cpu" else found.gpu_us
