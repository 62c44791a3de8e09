"""The split planner: for one operator, the cut, thread count and join with the least expected time, or no split.

A joint execution takes max(CPU half, GPU half) + join, a lone GPU kernel dispatch + execution + wait, where each
half's time is uncertain. The errors of held-out shapes stand for that uncertainty: nine equally likely ratios of
measured to predicted time for each processor. The *expected* time of a split is the mean over their 81 pairs. It is
larger than the time at the predicted values, most of all where the halves are balanced, since the later one counts.

A split is chosen only when its expected gain over the better single processor exceeds the typical (median) relative
error of that processor's predictor: a smaller one cannot be told from no gain. Among cuts within 1 % of the best, one
at a whole 64-byte line of output channels is preferred: halves that share a line write to the same cache line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from splitfleet.kernels import CUT_MULTIPLE, Device, Operator, cuts, describe_channels, lower_channels

from .models import GPU, DeviceModels
from .predictor import GPU_DISPATCH, GPU_EXECUTION, Floats, cpu_target
from .split_table import SVM_POLL, Join, Processor, SplitDecision, SplitEntry, SplitTable

LINE_CHANNELS = 16
LINE_TOLERANCE = 0.01
_LOW, _HIGH = 0.1, 0.9


@dataclass(frozen=True)
class _Option:
    """One way to run the operator: `samples_us` are its equally likely times."""

    processor: Processor
    cut: int
    threads: int
    join: Join | None
    samples_us: Floats

    @property
    def expected_us(self) -> float:
        return float(self.samples_us.mean())


def plan_operator(operator: Operator, models: DeviceModels, device: Device, step: int | None = None) -> SplitDecision:
    """The decision with the least expected time over all cuts at multiples of `step` channels (4 where None).

    All-CPU and all-GPU are always in the running. Raises UserError when the predictors do not know this type of
    operator, or for a step that is no multiple of 4.
    """
    curves = predict_curves(operator, models, device, step)
    cpu = _best_cpu(curves, models)
    gpu = _all_gpu(curves, models)
    single = min((cpu, gpu), key=lambda option: option.expected_us)
    split = _best_split(curves, models, device)
    chosen = single
    if split is not None:
        margin = models.typical_error(GPU if single is gpu else cpu_target(cpu.threads))
        if split.expected_us < single.expected_us * (1 - margin):
            chosen = split
    low, high = np.quantile(chosen.samples_us, [_LOW, _HIGH])
    assert gpu.join is not None
    return SplitDecision(
        operator=operator,
        processor=chosen.processor,
        cut=chosen.cut,
        threads=chosen.threads,
        join=chosen.join,
        predicted_us=chosen.expected_us,
        low_us=float(low),
        high_us=float(high),
        cpu_us=cpu.expected_us,
        cpu_threads=cpu.threads,
        gpu_us=gpu.expected_us,
        gpu_join=gpu.join,
    )


def plan_layers(operators: Iterable[Operator], models: DeviceModels, device: Device) -> SplitTable:
    """The split table of these operators, each taken once."""
    decisions = (plan_operator(operator, models, device) for operator in dict.fromkeys(operators))
    return SplitTable.of(models.device_class, models.backend, map(SplitEntry, decisions), models.precision)


def predict_curves(operator: Operator, models: DeviceModels, device: Device, step: int | None = None) -> pd.DataFrame:
    """Predicted times along output channels, in microseconds.

    One row a cut, 0 (all-GPU) and the number of channels (all-CPU) included: `cut`, `gpu_dispatch`, `gpu_execution` of
    channels [cut, end), and `cpu_t<threads>` of channels [0, cut). An empty half takes 0.
    """
    models.require(operator.type)
    inner = cuts(operator, CUT_MULTIPLE if step is None else step)
    all_cuts = np.concatenate([[0], inner, [operator.channels]]).astype(np.int64)
    frame = pd.DataFrame({"cut": all_cuts})
    gpu_channels = operator.channels - all_cuts[:-1]
    launches = lower_channels(operator, gpu_channels, device, precision=models.precision, tuned=models.tuning)
    for target in (GPU_DISPATCH, GPU_EXECUTION):
        frame[target] = np.append(models.predictors[target].predict_table_us(launches), 0.0)
    shapes = describe_channels(operator, all_cuts[1:])
    for threads in models.thread_counts:
        target = cpu_target(threads)
        frame[target] = np.append(0.0, models.predictors[target].predict_table_us(shapes))
    return frame


def expected_split_us(curves: pd.DataFrame, models: DeviceModels, threads: int, join: Join) -> Floats:
    """Expected time [n] in us of each split [n] of `predict_curves` but all-GPU and all-CPU, joined by `join`."""
    expected: Floats = _split_samples_us(curves, models, threads, join).mean(axis=1)
    return expected


def _split_samples_us(curves: pd.DataFrame, models: DeviceModels, threads: int, join: Join) -> Floats:
    """Equally likely times [n, q * q] of each split [n]."""
    inner = curves.iloc[1:-1]
    target = cpu_target(threads)
    gpu_us = (inner[GPU_DISPATCH] + inner[GPU_EXECUTION]).to_numpy(np.float64)
    cpu_samples = np.outer(inner[target].to_numpy(np.float64), models.ratios(target))
    gpu_samples = np.outer(gpu_us, models.ratios(GPU))
    later: Floats = np.maximum(cpu_samples[:, :, None], gpu_samples[:, None, :])
    return later.reshape(len(inner), -1) + models.costs.join_us[join][threads]


def _best_cpu(curves: pd.DataFrame, models: DeviceModels) -> _Option:
    whole = curves.iloc[-1]
    options = [
        _Option("cpu", int(whole["cut"]), n, None, whole[cpu_target(n)] * models.ratios(cpu_target(n)))
        for n in models.thread_counts
    ]
    return min(options, key=lambda option: option.expected_us)


def _all_gpu(curves: pd.DataFrame, models: DeviceModels) -> _Option:
    join, wait_us = models.costs.gpu_wait()
    whole = curves.iloc[0]
    samples = (whole[GPU_DISPATCH] + whole[GPU_EXECUTION]) * models.ratios(GPU) + wait_us
    return _Option("gpu", 0, 0, join, samples)


def _best_split(curves: pd.DataFrame, models: DeviceModels, device: Device) -> _Option | None:
    all_cuts = curves["cut"].to_numpy(np.int64)[1:-1]
    best: _Option | None = None
    for join, threads in _ways(models, device) if len(all_cuts) else ():
        samples = _split_samples_us(curves, models, threads, join)
        index = _prefer_lines(samples.mean(axis=1), all_cuts)
        option = _Option("split", int(all_cuts[index]), threads, join, samples[index])
        if best is None or option.expected_us < best.expected_us:
            best = option
    return best


def _ways(models: DeviceModels, device: Device) -> list[tuple[Join, int]]:
    """The joins and thread counts whose cost was measured and that the device and the predictors allow."""
    return [
        (join, threads)
        for join, by_threads in sorted(models.costs.join_us.items())
        for threads in sorted(by_threads)
        if threads in models.thread_counts and (join != SVM_POLL or device.svm_polling)
    ]


def _prefer_lines(expected_us: Floats, all_cuts: NDArray[np.int64]) -> int:
    """The index of the best cut at whole lines where one is nearly as good as the best of all."""
    best = int(np.argmin(expected_us))
    at_lines = np.flatnonzero(all_cuts % LINE_CHANNELS == 0)
    if len(at_lines):
        line = int(at_lines[np.argmin(expected_us[at_lines])])
        if expected_us[line] <= expected_us[best] * (1 + LINE_TOLERANCE):
            return line
    return best
