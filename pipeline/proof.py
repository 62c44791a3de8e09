"""The proof on the phone: which layers are measured again as planned, with which jobs, and what the times say.

Two rounds. First, for a few layers, every cut is measured (the search). A search's winner is flattered by having been
picked, so it counts no further: in the second round the plan, the winner, all-CPU and all-GPU are measured again,
interleaved, and only these times are reported. So is the cut that the predictors alone would have taken, where
calibration changed it. With them run the two halves of the split, each alone: how much longer they take together is
what CPU and GPU, which share their memory, cost each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np

from splitfleet.kernels import CUT_MULTIPLE, Operator, cuts, slice_output
from splitfleet.predictors.split_table import Join, Measured, SplitDecision

from .campaign import Publish, Repeat
from .jobs import Job, JobFactory
from .profile import DeviceProfile
from .ways import Traces, Way, all_cpu, all_gpu, planned, valid, variants_of, wall_us

_CPU_HALF, _GPU_HALF = "cpu_half", "gpu_half"


@dataclass(frozen=True)
class LayerProof:
    """The jobs that prove one layer: `search` by the way each job runs, `comparison` once the winner is known.

    `first` is the decision from the predictors alone; None where the plan was not calibrated.
    """

    decision: SplitDecision
    search: dict[Way, Job]
    comparison: Job | None = None
    winner: Way | None = None
    first: SplitDecision | None = None

    @property
    def joint(self) -> Way | None:
        """The split whose halves are also run alone: the plan's, else the winner's; None where neither is a split."""
        ways = (planned(self.decision), self.winner)
        return next((way for way in ways if way and 0 < way.cut < self.decision.operator.channels), None)


@dataclass(frozen=True)
class HalvesTogether:
    """Median times in us of the halves of one split, each alone and both at once (the GPU's on the device's clock)."""

    operator: Operator
    cut: int
    threads: int
    cpu_alone_us: float
    cpu_joint_us: float
    gpu_alone_us: float
    gpu_joint_us: float

    @property
    def cpu_slowdown(self) -> float:
        return self.cpu_joint_us / self.cpu_alone_us

    @property
    def gpu_slowdown(self) -> float:
        return self.gpu_joint_us / self.gpu_alone_us


def choose_layers(
    decisions: Iterable[SplitDecision], publish: Publish, seed: int
) -> tuple[list[Operator], set[Operator]]:
    """The layers to measure and, among them, those to search; drawn from the layers that can be cut.

    The searched ones are drawn from all of them, so that the figures of the search also cover layers that were planned
    whole; the rest are layers planned as split first.
    """
    random = Random(f"{seed} proof")
    layers = [decision for decision in decisions if cuts(decision.operator).size]
    random.shuffle(layers)
    searched = layers[: min(publish.search_layers, publish.validate_layers)]
    rest = sorted(layers[len(searched) :], key=lambda decision: decision.processor != "split")
    chosen = [*searched, *rest[: publish.validate_layers - len(searched)]]
    return [decision.operator for decision in chosen], {decision.operator for decision in searched}


def search_jobs(
    decision: SplitDecision,
    publish: Publish,
    profile: DeviceProfile,
    join: Join,
    first: SplitDecision | None = None,
) -> LayerProof:
    """Every cut, as far as the campaign's number of cuts goes, the planned ones and the single processors among them.

    The threads are the planned ones, the join is the class's cheapest.
    """
    operator, threads = decision.operator, decision.threads or decision.cpu_threads
    repetitions = publish.search_repetitions
    repeat = Repeat(warmup=2, min_count=repetitions, max_count=repetitions, min_time_us=0, max_time_us=400_000)
    make = JobFactory(profile, repeat)
    step = CUT_MULTIPLE * -(-cuts(operator).size // publish.search_cuts)
    asked = {decision.cut} | ({first.cut} if first else set())
    inside = {*cuts(operator, step).tolist(), *asked} - {0, operator.channels}
    ways = [Way(0, 0, join), all_cpu(decision), *(Way(cut, threads, join) for cut in sorted(inside))]
    return LayerProof(decision, {way: way.job(make, operator) for way in ways}, first=first)


def comparison_job(proof: LayerProof, publish: Publish, profile: DeviceProfile, traces: Traces) -> LayerProof:
    """Adds the interleaved comparison; the search's winner takes part where a search was made and gave times."""
    decision = proof.decision
    operator = decision.operator
    winner = _winner(proof.search, traces)
    ways = [planned(decision), all_cpu(decision), all_gpu(decision)]
    ways += [planned(proof.first)] if proof.first else []
    ways += [winner] if winner else []
    make = JobFactory(profile, Repeat(warmup=2, max_time_us=10_000_000))
    proof = replace(proof, comparison=None, winner=winner)
    # A way that comes twice, as a plan that is all-GPU, is executed once.
    jobs = {way.name: way.job(make, operator) for way in ways}
    joint = proof.joint
    # In other precisions the joint run's kernel is another one: it converts what it shares with the CPU.
    if joint and profile.conditions.precision == "fp32":
        jobs[_CPU_HALF] = make.cpu(slice_output(operator, 0, joint.cut), joint.threads)
        jobs[_GPU_HALF] = make.gpu(slice_output(operator, joint.cut, operator.channels), decision.gpu_join)
    return replace(proof, comparison=make.compare(jobs, publish.rounds))


def measured(proof: LayerProof, traces: Traces) -> Measured | None:
    """What the comparison says; None where the phone gave no valid result."""
    trace = valid(proof.comparison, traces)
    if trace is None:
        return None
    decision, winner = proof.decision, proof.winner
    variants = variants_of(trace)
    medians = {name: wall_us(variant) for name, variant in variants.items()}
    return Measured(
        plan_us=medians[planned(decision).name],
        cpu_us=medians[all_cpu(decision).name],
        gpu_us=medians[all_gpu(decision).name],
        repetitions=min(len(variant["wall_ns"]) for variant in variants.values()),
        search_cut=None if winner is None else winner.cut,
        search_us=None if winner is None else medians[winner.name],
    )


def first_us(proof: LayerProof, traces: Traces) -> float | None:
    """What the plan from the predictors alone took in the comparison; None where it was not calibrated, or failed."""
    trace = valid(proof.comparison, traces)
    if trace is None or proof.first is None:
        return None
    return wall_us(variants_of(trace)[planned(proof.first).name])


def halves_together(proof: LayerProof, traces: Traces) -> HalvesTogether | None:
    """How much the halves slow each other down; None without a split whose halves ran alone, or a valid result."""
    trace, joint = valid(proof.comparison, traces), proof.joint
    if joint is None or trace is None:
        return None
    variants = variants_of(trace)
    if _CPU_HALF not in variants:
        return None
    both, cpu, gpu = variants[joint.name], variants[_CPU_HALF], variants[_GPU_HALF]
    return HalvesTogether(
        proof.decision.operator,
        joint.cut,
        joint.threads,
        cpu_alone_us=wall_us(cpu),
        cpu_joint_us=float(np.median(both["cpu_ns"])) / 1e3,
        gpu_alone_us=_execution_us(gpu),
        gpu_joint_us=_execution_us(both),
    )


def search_curve(proof: LayerProof, traces: Traces) -> dict[int, float]:
    """The search's median times in us by cut, for plots."""
    return {way.cut: time for way, time in _times(proof.search, traces).items()}


def _execution_us(variant: Mapping[str, Any]) -> float:
    return float(np.median(np.asarray(variant["end_ns"]) - np.asarray(variant["start_ns"]))) / 1e3


def _winner(search: Mapping[Way, Job], traces: Traces) -> Way | None:
    times = _times(search, traces)
    return min(times, key=lambda way: times[way], default=None)


def _times(search: Mapping[Way, Job], traces: Traces) -> dict[Way, float]:
    found = {way: valid(job, traces) for way, job in search.items()}
    return {way: wall_us(trace) for way, trace in found.items() if trace is not None}
