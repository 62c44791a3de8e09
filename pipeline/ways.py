"""Ways to run an operator, and the jobs that time them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from splitfleet.kernels import Operator
from splitfleet.predictors.split_table import Join, SplitDecision

from .jobs import Job, JobFactory

Traces = Mapping[str, Mapping[Hashable, Any]]
"""Accepted traces by job id, a row of the trace table each."""


@dataclass(frozen=True)
class Way:
    """One way to run an operator: the CPU computes channels [0, cut)."""

    cut: int
    threads: int
    join: Join | None

    @property
    def name(self) -> str:
        return f"cut={self.cut} threads={self.threads} join={self.join or 'none'}"

    def job(self, make: JobFactory, operator: Operator) -> Job:
        if self.join is None:
            return make.cpu(operator, self.threads)
        if self.cut == 0:
            return make.gpu(operator, self.join)
        return make.coexec(operator, self.cut, self.threads, self.join)


def planned(decision: SplitDecision) -> Way:
    return Way(decision.cut, decision.threads, decision.join)


def all_cpu(decision: SplitDecision) -> Way:
    return Way(decision.operator.channels, decision.cpu_threads, None)


def all_gpu(decision: SplitDecision) -> Way:
    return Way(0, 0, decision.gpu_join)


def valid(job: Job | None, traces: Traces) -> Mapping[Hashable, Any] | None:
    """The job's trace where it gave times."""
    trace = traces.get(job.id) if job else None
    return trace if trace is not None and trace["status"] == "ok" else None


def variants_of(trace: Mapping[Hashable, Any]) -> dict[str, Mapping[str, Any]]:
    """What a comparison measured, by the name of the variant."""
    return {variant["name"]: variant for variant in trace["variants"]}


def wall_us(times: Mapping[Any, Any]) -> float:
    """The median in us until the result was visible, of a trace or a variant."""
    return float(np.median(np.asarray(times["wall_ns"]))) / 1e3
