"""The proof on the phone: which layers are measured again as planned, with which jobs, and what the times say.

Two rounds. First, for a few layers, every cut is measured (the search). A search's winner is flattered by having been
picked, so it counts no further: in the second round the plan, the winner, all-CPU and all-GPU are measured again,
interleaved, and only these times are reported. With them run the two halves of the split, each alone: how much longer
they take together is what CPU and GPU, which share their memory, cost each other.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np

from splitfleet.kernels import CUT_MULTIPLE, Operator, cuts, slice_output
from splitfleet.predictors.split_table import Join, Measured, SplitDecision

from .campaign import Publish, Repeat
from .jobs import Job, JobFactory
from .profile import DeviceProfile

_CPU_HALF, _GPU_HALF = "cpu_half", "gpu_half"

Traces = Mapping[str, Mapping[Hashable, Any]]
"""Accepted traces by job id, a row of the trace table each."""


@dataclass(frozen=True)
class Way:
    """One way to run an operator: the CPU computes channels [0, cut)."""

    cut: int
    threads: int
    join: Join | None


@dataclass(frozen=True)
class LayerProof:
    """The jobs that prove one layer: `search` by the way each job runs, `comparison` once the winner is known."""

    decision: SplitDecision
    search: dict[Way, Job]
    comparison: Job | None = None
    winner: Way | None = None

    @property
    def joint(self) -> Way | None:
        """The split whose halves are also run alone: the plan's, else the winner's; None where neither is a split."""
        ways = (_plan(self.decision), self.winner)
        return next((way for way in ways if way and 0 < way.cut < self.decision.operator.channels), None)


@dataclass(frozen=True)
class Interference:
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


def search_jobs(decision: SplitDecision, publish: Publish, profile: DeviceProfile, join: Join) -> LayerProof:
    """Every cut, as far as the campaign's number of cuts goes, the planned one and the single processors among them.

    The threads are the planned ones, the join is the class's cheapest.
    """
    operator, threads = decision.operator, decision.threads or decision.cpu_threads
    repetitions = publish.search_repetitions
    repeat = Repeat(warmup=2, min_count=repetitions, max_count=repetitions, min_time_us=0, max_time_us=400_000)
    make = JobFactory(profile, repeat)
    step = CUT_MULTIPLE * -(-cuts(operator).size // publish.search_cuts)
    inside = {*cuts(operator, step).tolist(), decision.cut} - {0, operator.channels}
    ways = [Way(0, 0, join), Way(operator.channels, decision.cpu_threads, None)]
    ways += [Way(cut, threads, join) for cut in sorted(inside)]
    return LayerProof(decision, {way: _job(make, operator, way) for way in ways})


def comparison_job(proof: LayerProof, publish: Publish, profile: DeviceProfile, traces: Traces) -> LayerProof:
    """Adds the interleaved comparison; the search's winner takes part where a search was made and gave times."""
    decision = proof.decision
    operator = decision.operator
    winner = _winner(proof.search, traces)
    ways = [_plan(decision), Way(operator.channels, decision.cpu_threads, None), Way(0, 0, decision.gpu_join)]
    if winner is not None:
        ways.append(winner)
    make = JobFactory(profile, Repeat(warmup=2, max_time_us=10_000_000))
    proof = LayerProof(decision, proof.search, None, winner)
    # A way that comes twice, as a plan that is all-GPU, is executed once.
    jobs = {_name(way): _job(make, operator, way) for way in ways}
    joint = proof.joint
    # In other precisions the joint run's kernel is another one: it converts what it shares with the CPU.
    if joint and profile.conditions.precision == "fp32":
        jobs[_CPU_HALF] = make.cpu(slice_output(operator, 0, joint.cut), joint.threads)
        jobs[_GPU_HALF] = make.gpu(slice_output(operator, joint.cut, operator.channels), decision.gpu_join)
    return replace(proof, comparison=make.compare(jobs, publish.rounds))


def measured(proof: LayerProof, traces: Traces) -> Measured | None:
    """What the comparison says; None where the phone gave no valid result."""
    trace = traces.get(proof.comparison.id) if proof.comparison else None
    if trace is None or trace["status"] != "ok":
        return None
    decision = proof.decision
    times = {variant["name"]: np.asarray(variant["wall_ns"]) / 1e3 for variant in trace["variants"]}
    medians = {name: float(np.median(values)) for name, values in times.items()}
    winner = proof.winner
    return Measured(
        plan_us=medians[_name(_plan(decision))],
        cpu_us=medians[_name(Way(decision.operator.channels, decision.cpu_threads, None))],
        gpu_us=medians[_name(Way(0, 0, decision.gpu_join))],
        repetitions=min(len(values) for values in times.values()),
        search_cut=None if winner is None else winner.cut,
        search_us=None if winner is None else medians[_name(winner)],
    )


def interference(proof: LayerProof, traces: Traces) -> Interference | None:
    """How much the halves slow each other down; None without a split whose halves ran alone, or a valid result."""
    trace = traces.get(proof.comparison.id) if proof.comparison else None
    joint = proof.joint
    if joint is None or trace is None or trace["status"] != "ok":
        return None
    variants = {variant["name"]: variant for variant in trace["variants"]}
    if _CPU_HALF not in variants:
        return None
    both, cpu, gpu = variants[_name(joint)], variants[_CPU_HALF], variants[_GPU_HALF]
    return Interference(
        proof.decision.operator,
        joint.cut,
        joint.threads,
        cpu_alone_us=float(np.median(cpu["wall_ns"])) / 1e3,
        cpu_joint_us=float(np.median(both["cpu_ns"])) / 1e3,
        gpu_alone_us=_execution_us(gpu),
        gpu_joint_us=_execution_us(both),
    )


def _execution_us(variant: Mapping[str, Any]) -> float:
    return float(np.median(np.asarray(variant["end_ns"]) - np.asarray(variant["start_ns"]))) / 1e3


def search_curve(proof: LayerProof, traces: Traces) -> dict[int, float]:
    """The search's median times in us by cut, for plots."""
    return {way.cut: time for way, time in _times(proof.search, traces).items()}


def _plan(decision: SplitDecision) -> Way:
    return Way(decision.cut, decision.threads, decision.join)


def _winner(search: Mapping[Way, Job], traces: Traces) -> Way | None:
    times = _times(search, traces)
    return min(times, key=lambda way: times[way], default=None)


def _times(search: Mapping[Way, Job], traces: Traces) -> dict[Way, float]:
    rows = {way: traces.get(job.id) for way, job in search.items()}
    return {
        way: float(np.median(np.asarray(row["wall_ns"]))) / 1e3
        for way, row in rows.items()
        if row is not None and row["status"] == "ok"
    }


def _job(make: JobFactory, operator: Operator, way: Way) -> Job:
    if way.join is None:
        return make.cpu(operator, way.threads)
    if way.cut == 0:
        return make.gpu(operator, way.join)
    return make.coexec(operator, way.cut, way.threads, way.join)


def _name(way: Way) -> str:
    return f"cut={way.cut} threads={way.threads} join={way.join or 'none'}"
