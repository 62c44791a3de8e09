"""Calibration on the phone: layers whose split may pay are executed there a few times, and then planned again.

Each measurement is one interleaved comparison: the best split as planned so far, all-CPU and all-GPU. What it says is
put into the layer's curves (`predictors.calibration`), and the layer is planned again; when its best cut has moved, it
is measured there, too. This is part of planning, and its time is counted as such; no figure of the proof comes from it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from splitfleet.kernels import Operator
from splitfleet.predictors.calibration import Calibration
from splitfleet.predictors.models import DeviceModels
from splitfleet.predictors.planner import OperatorPlan, Prospect, plan_operators

from .campaign import Repeat
from .jobs import Job, JobFactory
from .profile import DeviceProfile
from .ways import Traces, Way, all_cpu, all_gpu, valid, variants_of, wall_us

ROUNDS = 9
MOST_MEASUREMENTS = 2
_WORTH_A_LOOK = 0.02
_NEAR = 0.02
_REPEAT = Repeat(warmup=1, max_time_us=2_000_000)


@dataclass
class Calibrating:
    """The layers of one device class while they are calibrated.

    `predicted` are their plans from the predictors alone, `plans` those after what was `measured` so far.
    """

    models: DeviceModels
    profile: DeviceProfile
    predicted: dict[Operator, OperatorPlan]
    measured: dict[Operator, list[Calibration]] = field(default_factory=dict)
    plans: dict[Operator, OperatorPlan] = field(default_factory=dict)
    jobs: dict[Operator, Job] = field(default_factory=dict)
    every_job: list[Job] = field(default_factory=list)

    @classmethod
    def of(cls, operators: Sequence[Operator], models: DeviceModels, profile: DeviceProfile) -> Calibrating:
        predicted = plan_operators(operators, models, profile.device)
        return cls(models, profile, predicted, plans=dict(predicted))

    def next_jobs(self, most_layers: int) -> list[Job]:
        """The jobs of the next round: layers that may gain by a split and whose best cut has not been measured.

        `most_layers` bounds how many layers are measured at all: those with the most microseconds to gain.
        """
        open_layers = {op: plan.prospect for op, plan in self.plans.items() if plan.prospect and self._is_open(op)}
        first = sorted(open_layers, key=lambda op: -_chance_us(self.plans[op]))
        known = [op for op in first if op in self.measured]
        new = [op for op in first if op not in self.measured][: max(0, most_layers - len(self.measured))]
        self.jobs = {op: self._job(op, open_layers[op]) for op in [*known, *new]}
        self.every_job += self.jobs.values()
        return list(self.jobs.values())

    def take(self, traces: Traces) -> None:
        """Plans the layers of the last round again, with what their jobs say."""
        for operator, job in self.jobs.items():
            trace, prospect = valid(job, traces), self.plans[operator].prospect
            if trace is not None and prospect is not None:
                found = _calibration(self.plans[operator], prospect, trace)
                self.measured.setdefault(operator, []).append(found)
        changed = [operator for operator in self.jobs if operator in self.measured]
        self.plans |= plan_operators(changed, self.models, self.profile.device, self.measured)

    def _is_open(self, operator: Operator) -> bool:
        plan, before = self.plans[operator], self.measured.get(operator, [])
        if plan.prospect is None or plan.prospect.gain + 2 * plan.prospect.uncertainty < _WORTH_A_LOOK:
            return False
        if operator in self.jobs and not before:
            return False  # its job gave no times
        cuts = [each.cut for each in before if each.cut is not None]
        return all(abs(cut - plan.prospect.cut) > _NEAR * operator.channels for cut in cuts)

    def _job(self, operator: Operator, prospect: Prospect) -> Job:
        make = JobFactory(self.profile, _REPEAT)
        decision = self.plans[operator].decision
        ways = [_split(prospect), all_cpu(decision), all_gpu(decision)]
        return make.compare({way.name: way.job(make, operator) for way in ways}, ROUNDS)


def _chance_us(plan: OperatorPlan) -> float:
    """What a split of the layer may save."""
    assert plan.prospect is not None
    better_us = min(plan.decision.cpu_us, plan.decision.gpu_us)
    return better_us * (plan.prospect.gain + plan.prospect.uncertainty)


def _split(prospect: Prospect) -> Way:
    return Way(prospect.cut, prospect.threads, prospect.join)


def _calibration(plan: OperatorPlan, prospect: Prospect, trace: Mapping[Hashable, Any]) -> Calibration:
    variants = variants_of(trace)
    joint = variants[_split(prospect).name]
    cpu_ns, wall_ns = np.asarray(joint["cpu_ns"]), np.asarray(joint["wall_ns"])
    gpu_ns = np.asarray(joint["end_ns"]) - np.asarray(joint["queued_ns"])
    return Calibration(
        prospect.cut,
        prospect.threads,
        prospect.join,
        cpu_half_us=float(np.median(cpu_ns)) / 1e3,
        gpu_half_us=float(np.median(gpu_ns)) / 1e3,
        rest_us=float(np.median(wall_ns - np.maximum(cpu_ns, gpu_ns))) / 1e3,
        joint_us=wall_us(joint),
        cpu_us=wall_us(variants[all_cpu(plan.decision).name]),
        cpu_threads=plan.decision.cpu_threads,
        gpu_us=wall_us(variants[all_gpu(plan.decision).name]),
    )
