"""Jobs: what a phone is asked to measure, as lines of a job file (docs/agent.md)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from splitfleet.kernels.lowering import lower, lower_half, lower_sync
from splitfleet.kernels.operators import Operator
from splitfleet.kernels.plan import LaunchPlan
from splitfleet.kernels.programs import Program
from splitfleet.kernels.tuning import Tuning

from .campaign import Repeat
from .network_lowering import LoweredNetwork
from .profile import DeviceProfile

JOB_SCHEMA = 2
_CHECKED_JOIN_US = 50
_NETWORK_ROUND_US = 5_000_000
# How the agent bounds a job (docs/agent.md), beside its grace.
_BOUND_FACTOR = 10
_BOUND_CHECKED_JOIN_US = 2_000
_BOUND_VARIANT_US = 500_000
_BOUND_NETWORK_VARIANTS = 8
_BOUND_NETWORK_US = 120_000_000


@dataclass(frozen=True)
class Job:
    """One measurement. `body` is the job's line without its id; `programs` are those its plans name."""

    id: str
    body: dict[str, Any]
    programs: tuple[Program, ...]

    @property
    def kind(self) -> str:
        return str(self.body["kind"])

    @property
    def max_time_us(self) -> int:
        """An upper estimate of the time that the job's repetitions and checked joins take."""
        repetitions = int(self.body.get("repeat", {}).get("max_time_us", 0)) * len(self.body.get("variants", [None]))
        inferences = _NETWORK_ROUND_US * int(self.body["rounds"]) if self.kind == "network" else 0
        return repetitions + inferences + _CHECKED_JOIN_US * int(self.body.get("checked_joins", 0))

    @property
    def bound_us(self) -> int:
        """After this time, and its grace for building, the agent takes the job for hung."""
        rounds = int(self.body.get("rounds", 0))
        bound_us = _BOUND_FACTOR * int(self.body.get("repeat", {}).get("max_time_us", 0))
        bound_us += _BOUND_CHECKED_JOIN_US * int(self.body.get("checked_joins", 0))
        if self.kind == "network":
            return bound_us + _BOUND_NETWORK_US + _NETWORK_ROUND_US * rounds * _BOUND_NETWORK_VARIANTS
        return bound_us + _BOUND_VARIANT_US * rounds * len(self.body.get("variants", []))

    def line(self) -> str:
        return json.dumps({"type": "job", "schema": JOB_SCHEMA, "id": self.id, **self.body}, sort_keys=True)


def job_file(jobs: Iterable[Job]) -> str:
    """The text of a job file: the programs first, each once, then the jobs."""
    jobs = list(jobs)
    programs = {program.id: program for job in jobs for program in job.programs}
    lines = [
        json.dumps({"type": "program", "id": key, "source": program.source, "options": program.options})
        for key, program in sorted(programs.items())
    ]
    return "\n".join([*lines, *(job.line() for job in jobs)]) + "\n"


@dataclass(frozen=True)
class JobFactory:
    """Makes the jobs of one device class. A job's id is a hash of its content, kernel sources, device class and
    operating point (the agent's build among it), so an edited kernel or a new agent is never served an old time."""

    profile: DeviceProfile
    repeat: Repeat

    def gpu(
        self,
        operator: Operator,
        wait: str = "event_wait",
        *,
        chain_length: int | None = None,
        tuned: Tuning | None = None,
    ) -> Job:
        """Waits after each execution or, with `chain_length`, after so many that are enqueued back to back.

        `tuned` takes the place of the profile's tuning.
        """
        profile = self.profile
        plan = lower(operator, profile.device, precision=profile.conditions.precision, tuned=tuned or profile.tuning)
        mode = {"mode": "single"} if chain_length is None else {"mode": "chain", "chain_length": chain_length}
        return self._job({**self._gpu_part(operator, plan), "wait": wait, **mode}, [plan])

    def cpu(self, operator: Operator, threads: int) -> Job:
        return self._job({"kind": "cpu", "operator": operator.to_json(), "verify": True, **self._cpu_part(threads)}, [])

    def coexec(self, operator: Operator, cut: int, threads: int, join: str) -> Job:
        """The CPU computes channels [0, cut), the GPU the rest."""
        profile = self.profile
        plan = lower_half(operator, cut, profile.device, precision=profile.conditions.precision, tuned=profile.tuning)
        cpu_part = {"cut": cut, "join": join, **self._cpu_part(threads)}
        return self._job({**self._gpu_part(operator, plan), "kind": "coexec", **cpu_part}, [plan])

    def sync(self, threads: int, join: str, checked_joins: int, part: int = 0) -> Job:
        """The joining alone: an empty kernel beside an empty CPU half. `part` tells apart jobs that are otherwise the
        same, where many joins are checked in several jobs."""
        plan = lower_sync(self.profile.device)
        body = {"kind": "sync", "plan": plan.to_json(), "join": join, "checked_joins": checked_joins, "part": part}
        return self._job({**body, **self._cpu_part(threads)}, [plan])

    def transfer(self, operation: str, size_bytes: int) -> Job:
        """Moves bytes between the host and the GPU's memory, or within it."""
        return self._job({"kind": "transfer", "operation": operation, "bytes": size_bytes}, [])

    def compare(self, variants: dict[str, Job], rounds: int) -> Job:
        """Executes the variants' jobs interleaved, each once a round."""
        parts = [{"name": name, **_without(job.body, "repeat")} for name, job in variants.items()]
        operator = next(iter(variants.values())).body["operator"]
        body = {"kind": "compare", "rounds": rounds, "operator": operator, "variants": parts, "repeat": self._repeat}
        return self._finish(body, tuple(program for job in variants.values() for program in job.programs))

    def network(self, lowered: LoweredNetwork, threads: int, join: str, rounds: int) -> Job:
        """A whole network, all-CPU, all-GPU and split, interleaved."""
        body = {"kind": "network", "rounds": rounds, "join": join, "network": lowered.body, **self._cpu_part(threads)}
        return self._finish(body, lowered.programs)

    def probe(self, job: Job) -> Job:
        """The job as a probe: its output is not verified, so that its id is never that of a job to be measured."""
        return self._finish({**job.body, "verify": False}, job.programs)

    @property
    def _repeat(self) -> dict[str, Any]:
        return self.repeat.model_dump()

    def _gpu_part(self, operator: Operator, plan: LaunchPlan) -> dict[str, Any]:
        return {"kind": "gpu", "operator": operator.to_json(), "plan": plan.to_json(), "verify": True}

    def _cpu_part(self, threads: int) -> dict[str, Any]:
        backend = self.profile.conditions.backend
        return {"threads": threads, "core_mask": self.profile.core_mask, "backend": backend}

    def _job(self, body: dict[str, Any], plans: Sequence[LaunchPlan]) -> Job:
        return self._finish({**body, "repeat": self._repeat}, tuple(plan.program for plan in plans))

    def _finish(self, body: dict[str, Any], programs: tuple[Program, ...]) -> Job:
        identity = {
            "body": body,
            "programs": sorted({(program.options, program.source) for program in programs}),
            "operating_point": self.profile.operating_point,
            "device_class": self.profile.device_class,
        }
        digest = sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return Job(digest[:24], body, programs)


def _without(body: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != key}
