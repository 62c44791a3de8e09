"""Predicted times along an operator's output channels: what a planner chooses a cut by.

Many operators are predicted at once, since a predictor takes a thousand rows hardly longer than ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from splitfleet.kernels import CUT_MULTIPLE, Device, Operator, cuts, describe_channels, lower_channels

from .interference import Interference, intensities
from .models import DeviceModels
from .predictor import GPU_DISPATCH, GPU_EXECUTION, Floats, cpu_target

LINE_CHANNELS = 16
"""fp32 channels in a 64-byte line."""

_FINE_CHANNELS = 256
_ROWS_AT_ONCE = 20_000


@dataclass(frozen=True)
class Curves:
    """Predicted times of one operator in microseconds, at `cuts` [n]: 0 (all-GPU), some inside, all channels (all-CPU).

    `dispatch_us` and `execution_us` [n] are of channels [cut, end) on the GPU, `cpu_us[threads]` [n] of channels
    [0, cut) on the CPU, each alone; an empty half takes 0. `cpu_intensity` and `gpu_intensity` [n] are the halves'
    FLOPs a byte; an empty half has the whole's.
    """

    operator: Operator
    cuts: NDArray[np.int64]
    dispatch_us: Floats
    execution_us: Floats
    cpu_us: dict[int, Floats]
    cpu_intensity: Floats
    gpu_intensity: Floats

    @property
    def gpu_us(self) -> Floats:
        """Dispatch and execution [n]."""
        return self.dispatch_us + self.execution_us

    def joint_us(self, threads: int, interference: Interference) -> tuple[Floats, Floats]:
        """CPU and GPU halves [n] when both run at once."""
        cpu_us, gpu_us = self.cpu_us[threads], self.gpu_us
        on_cpu = interference.cpu.factors(cpu_us, gpu_us, self.cpu_intensity)
        on_gpu = interference.gpu.factors(gpu_us, cpu_us, self.gpu_intensity)
        return cpu_us * on_cpu, gpu_us * on_gpu


def default_step(operator: Operator) -> int:
    """4 channels up to 256, a whole line of 16 above: there, a finer cut changes a half by less than 2 %."""
    return CUT_MULTIPLE if operator.channels <= _FINE_CHANNELS else LINE_CHANNELS


def predict_curves(
    operators: Sequence[Operator], models: DeviceModels, device: Device, step: int | None = None
) -> list[Curves]:
    """The curves of these operators, cut at multiples of `step` channels (`default_step` where None).

    Raises UserError when the predictors do not know a type of operator, or for a step that is no multiple of 4.
    """
    for kind in dict.fromkeys(operator.type for operator in operators):
        models.require(kind)
    at = [np.concatenate([[0], cuts(op, step or default_step(op)), [op.channels]]) for op in operators]
    found: list[Curves] = []
    # In portions, so that a network of a thousand different layers takes no more memory than one of fifty.
    sizes = list(accumulate(map(len, at)))
    starts = [0, *(index for index, pair in enumerate(pairwise(sizes), 1) if _portion(pair[0]) != _portion(pair[1]))]
    for first, last in pairwise([*starts, len(at)]):
        found += _predict(operators[first:last], at[first:last], models, device)
    return found


def _portion(rows: int) -> int:
    return rows // _ROWS_AT_ONCE


def _predict(
    operators: Sequence[Operator], at: list[NDArray[np.int64]], models: DeviceModels, device: Device
) -> list[Curves]:
    if not operators:
        return []
    launches = pd.concat(
        [
            lower_channels(op, op.channels - cut[:-1], device, precision=models.precision, tuned=models.tuning)
            for op, cut in zip(operators, at, strict=True)
        ],
        ignore_index=True,
    )
    shapes = pd.concat(
        [describe_channels(op, cut[1:]) for op, cut in zip(operators, at, strict=True)], ignore_index=True
    )
    ends = list(accumulate((len(cut) - 1 for cut in at), initial=0))

    def parts(times_us: Floats) -> list[Floats]:
        return [times_us[start:end] for start, end in pairwise(ends)]

    of_gpu = models.predict_targets(launches, (GPU_DISPATCH, GPU_EXECUTION))
    of_cpu = models.predict_targets(shapes, [cpu_target(threads) for threads in models.thread_counts])
    dispatch, execution = parts(of_gpu[GPU_DISPATCH]), parts(of_gpu[GPU_EXECUTION])
    on_cpu = {threads: parts(of_cpu[cpu_target(threads)]) for threads in models.thread_counts}
    return [
        Curves(
            operator,
            cut,
            np.append(dispatch[index], 0.0),
            np.append(execution[index], 0.0),
            {threads: np.append(0.0, times[index]) for threads, times in on_cpu.items()},
            intensities(operator, np.where(cut == 0, operator.channels, cut)),
            intensities(operator, np.where(cut == operator.channels, cut, operator.channels - cut)),
        )
        for index, (operator, cut) in enumerate(zip(operators, at, strict=True))
    ]
