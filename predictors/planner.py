"""The split planner: for one operator, the cut, thread count and join with the least expected time, or no split.

A joint execution takes max(CPU half, GPU half) + join. Each half's time is its predicted time alone, multiplied with
what the other half beside it costs (`interference`), and where the operator was measured on the phone, corrected by
that (`calibration`). It is uncertain: nine equally likely ratios of measured to predicted time, from shapes held out of
training, stand for each processor. The *expected* time of a split is the mean over their 81 pairs. It is larger than
the time at the predicted values, most of all where the halves are balanced, since the later one counts.

A processor's error is the same for a half and for the whole operator, so each pair also gives a gain over the better
single processor. A split is chosen only when its expected gain exceeds the standard deviation of that gain. Among cuts
within 1 % of the best, one at a whole 64-byte line of output channels is preferred: halves that share a line write to
the same cache line. All-CPU and all-GPU are always in the running.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from splitfleet.kernels import Device, Operator

from .calibration import Calibration, Side, correction, joint_medians, remaining_error
from .curves import LINE_CHANNELS, Curves, predict_curves
from .models import GPU, DeviceModels
from .predictor import Floats, cpu_target
from .split_table import SVM_POLL, Join, Processor, SplitDecision, SplitEntry, SplitTable

LINE_TOLERANCE = 0.01
_LOW, _HIGH = 0.1, 0.9

Calibrations = Mapping[Operator, Sequence[Calibration]]


@dataclass(frozen=True)
class Single:
    """The whole operator on one processor: `samples_us` [q] are its equally likely times."""

    samples_us: Floats
    threads: int
    join: Join | None

    @property
    def expected_us(self) -> float:
        return float(self.samples_us.mean())


@dataclass(frozen=True)
class Splits:
    """All splits [n] of an operator with one thread count: `samples_us` [n, q, q] by CPU error and GPU error.

    `rest_us`, what they take beyond the later half, is in the samples.
    """

    cuts: NDArray[np.int64]
    threads: int
    join: Join
    rest_us: float
    samples_us: Floats

    @property
    def expected_us(self) -> Floats:
        """[n]."""
        return np.asarray(self.samples_us.mean(axis=(1, 2)))


@dataclass(frozen=True)
class Prospect:
    """A split of an operator, whether it is worth taking or not, in us.

    `gain` is the expected part of the better single processor's time that it saves, `uncertainty` the gain's standard
    deviation. `rest_us`, the join, is in `expected_us`.
    """

    cut: int
    threads: int
    join: Join
    expected_us: float
    gain: float
    uncertainty: float
    low_us: float
    high_us: float
    rest_us: float

    @property
    def pays(self) -> bool:
        return self.gain > self.uncertainty


@dataclass(frozen=True)
class OperatorPlan:
    """One operator whole on each processor, and its best split; None where it cannot be cut or nothing can join."""

    operator: Operator
    cpu: Single
    gpu: Single
    prospect: Prospect | None

    @property
    def decision(self) -> SplitDecision:
        """The split where it pays, else the better single processor."""
        single_us = min(self.cpu.expected_us, self.gpu.expected_us)
        if self.prospect is not None and self.prospect.pays and self.prospect.expected_us < single_us:
            return self.split(self.prospect)
        return self.whole("cpu" if self.cpu.expected_us == single_us else "gpu")

    def whole(self, processor: Literal["cpu", "gpu"]) -> SplitDecision:
        """All on one processor."""
        single = self.cpu if processor == "cpu" else self.gpu
        low, high = np.quantile(single.samples_us, [_LOW, _HIGH])
        cut = self.operator.channels if processor == "cpu" else 0
        return self._decision(
            processor, cut, single.threads, single.join, (single.expected_us, float(low), float(high))
        )

    def split(self, way: Prospect) -> SplitDecision:
        """That split, whether it pays or not."""
        return self._decision("split", way.cut, way.threads, way.join, (way.expected_us, way.low_us, way.high_us))

    def _decision(
        self, processor: Processor, cut: int, threads: int, join: Join | None, times_us: tuple[float, float, float]
    ) -> SplitDecision:
        assert self.gpu.join is not None
        expected_us, low_us, high_us = times_us
        return SplitDecision(
            self.operator,
            processor,
            cut,
            threads,
            join,
            expected_us,
            low_us,
            high_us,
            cpu_us=self.cpu.expected_us,
            cpu_threads=self.cpu.threads,
            gpu_us=self.gpu.expected_us,
            gpu_join=self.gpu.join,
        )


def plan_operator(operator: Operator, models: DeviceModels, device: Device, step: int | None = None) -> SplitDecision:
    """The decision with the least expected time over all cuts at multiples of `step` channels (`default_step` where
    None).

    Raises UserError when the predictors do not know this type of operator, or for a step that is no multiple of 4.
    """
    [curves] = predict_curves([operator], models, device, step)
    return plan_curves(curves, models, device).decision


def plan_operators(
    operators: Iterable[Operator],
    models: DeviceModels,
    device: Device,
    calibrations: Calibrations | None = None,
) -> dict[Operator, OperatorPlan]:
    """The plans of these operators, each planned once, with what was measured of them."""
    curves = predict_curves(list(dict.fromkeys(operators)), models, device)
    known = calibrations or {}
    return {each.operator: plan_curves(each, models, device, known.get(each.operator, ())) for each in curves}


def plan_layers(operators: Iterable[Operator], models: DeviceModels, device: Device) -> SplitTable:
    """The split table of these operators, each taken once, as the predictors alone plan them."""
    plans = plan_operators(operators, models, device).values()
    entries = [SplitEntry(plan.decision) for plan in plans]
    return SplitTable.of(models.device_class, models.backend, entries, models.precision)


def plan_curves(
    curves: Curves, models: DeviceModels, device: Device, calibrations: Sequence[Calibration] = ()
) -> OperatorPlan:
    """The plan of one operator from its predicted curves and what was measured of it."""
    cpu, gpu = all_cpu(curves, models, calibrations), all_gpu(curves, models, calibrations)
    ways = splits(curves, models, device, calibrations)
    found = [prospect(each, _prefer_lines(each), cpu, gpu) for each in ways]
    return OperatorPlan(curves.operator, cpu, gpu, min(found, key=lambda each: each.expected_us, default=None))


def all_cpu(curves: Curves, models: DeviceModels, calibrations: Sequence[Calibration] = ()) -> Single:
    """The whole operator on the CPU, with its best number of threads."""
    options = []
    for threads, times_us in curves.cpu_us.items():
        measured = [found.cpu_us for found in calibrations if found.cpu_threads == threads]
        ratios = models.ratios(cpu_target(threads))
        options.append(Single(_whole(times_us[-1], ratios, measured), threads, None))
    return min(options, key=lambda option: option.expected_us)


def all_gpu(curves: Curves, models: DeviceModels, calibrations: Sequence[Calibration] = ()) -> Single:
    """The whole operator on the GPU, waited for in the cheapest way."""
    join, wait_us = models.costs.gpu_wait()
    measured = [found.gpu_us - wait_us for found in calibrations]
    return Single(_whole(curves.gpu_us[0], models.ratios(GPU), measured) + wait_us, 0, join)


def splits(
    curves: Curves, models: DeviceModels, device: Device, calibrations: Sequence[Calibration] = ()
) -> list[Splits]:
    """The splits at every cut inside the curves, for each thread count with the cheapest join that is allowed."""
    inner = slice(1, -1)
    if len(curves.cuts) <= 2:
        return []
    found = []
    for threads, (join, join_us) in sorted(_cheapest_joins(models, device).items()):
        same = [each for each in calibrations if each.threads == threads]
        cpu_us, gpu_us = curves.joint_us(threads, models.interference)
        cpu = _halves(curves, "cpu", cpu_us, models.ratios(cpu_target(threads)), _parts(curves, "cpu", same, 0.0))
        gpu_parts = _parts(curves, "gpu", same, models.costs.gpu_wait()[1])
        gpu = _halves(curves, "gpu", gpu_us, models.ratios(GPU), gpu_parts)
        cpu, gpu = cpu[inner], gpu[inner]
        rests_us = [each.rest_us for each in same if each.cut is not None]
        rest_us = max(median(rests_us) if rests_us else join_us + models.interference.join_us, 0.0)
        later = np.maximum(cpu[:, :, None], gpu[:, None, :]) + rest_us
        found.append(Splits(curves.cuts[inner], threads, join, rest_us, later))
    return found


def _parts(curves: Curves, side: Side, calibrations: Sequence[Calibration], wait_us: float) -> dict[int, float]:
    """Measured times in us by cut of one processor's part: of halves or, where none was measured, of the whole."""
    if halves := joint_medians(calibrations, side):
        return halves
    if not calibrations:
        return {}
    if side == "cpu":
        return {curves.operator.channels: median(each.cpu_us for each in calibrations)}
    return {0: median(each.gpu_us for each in calibrations) - wait_us}


def _halves(
    curves: Curves, side: Side, predicted_us: Floats, ratios: Floats, measured_us: Mapping[int, float]
) -> Floats:
    """Equally likely times [n, q] of one processor's halves beside the other's."""
    logs = np.log(ratios)
    if not measured_us:
        return np.asarray(predicted_us[:, None] * np.exp(logs)[None, :])
    found = correction(curves, side, predicted_us, measured_us, float(logs.std()))
    spread = (logs - logs.mean())[None, :] * found.remaining[:, None]
    return np.asarray((predicted_us * found.factors)[:, None] * np.exp(spread))


def _whole(predicted_us: float, ratios: Floats, measured_us: Sequence[float]) -> Floats:
    """Equally likely times [q] of a whole operator: as predicted, or as measured with a measurement's noise."""
    if not measured_us:
        return np.asarray(predicted_us * ratios)
    logs = np.log(ratios)
    return np.asarray(median(measured_us) * np.exp((logs - logs.mean()) * remaining_error(float(logs.std()))))


def prospect(ways: Splits, index: int, cpu: Single, gpu: Single) -> Prospect:
    """The split at this place among `ways`, against the better single processor."""
    samples = ways.samples_us[index]
    gains = 1.0 - samples / np.minimum(cpu.samples_us[:, None], gpu.samples_us[None, :])
    low, high = np.quantile(samples, [_LOW, _HIGH])
    return Prospect(
        int(ways.cuts[index]),
        ways.threads,
        ways.join,
        expected_us=float(samples.mean()),
        gain=float(gains.mean()),
        uncertainty=float(gains.std()),
        low_us=float(low),
        high_us=float(high),
        rest_us=ways.rest_us,
    )


def _cheapest_joins(models: DeviceModels, device: Device) -> dict[int, tuple[Join, float]]:
    """For each thread count the join of the least measured cost that the device and the predictors allow."""
    best: dict[int, tuple[Join, float]] = {}
    for join, by_threads in sorted(models.costs.join_us.items()):
        for threads, cost_us in by_threads.items():
            allowed = threads in models.thread_counts and (join != SVM_POLL or device.svm_polling)
            if allowed and (threads not in best or cost_us < best[threads][1]):
                best[threads] = join, cost_us
    return best


def _prefer_lines(ways: Splits) -> int:
    """The index of the best cut at whole lines where one is nearly as good as the best of all."""
    expected_us = ways.expected_us
    best = int(np.argmin(expected_us))
    at_lines = np.flatnonzero(ways.cuts % LINE_CHANNELS == 0)
    if len(at_lines):
        line = int(at_lines[np.argmin(expected_us[at_lines])])
        if expected_us[line] <= expected_us[best] * (1 + LINE_TOLERANCE):
            return line
    return best
