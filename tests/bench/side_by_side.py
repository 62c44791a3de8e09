"""Variants of one operator, executed in turn by the agent on CPU 0, where PoCL and the CPU backend both compute."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from splitfleet.kernels import Conv2d, Device, LaunchPlan, Linear, Operator, Program
from splitfleet.pipeline.agent_build import build_agent
from splitfleet.pipeline.campaign import load_campaign
from splitfleet.pipeline.pocl import pocl_environment

from ..agent.driver import Agent

ROOT = Path(__file__).parents[2]
REPEAT = {"warmup": 2, "min_count": 3, "min_time_us": 0, "max_count": 100, "max_time_us": 20_000_000, "ci": 1.0}
ATTEMPTS = 2  # on a busy machine no round may survive
Plan = tuple[dict[str, Any], Program]
"""A launch plan as JSON and the program that it names."""

CPU_0 = {"threads": 1, "core_mask": 1}


def layers(*networks: str) -> Iterator[tuple[str, Linear | Conv2d]]:
    """Each linear layer and convolution of the example networks: `network/layer` and its operator.

    Epilogues are left out, since not every peer has them.
    """
    for layer in load_campaign(ROOT / "examples" / "demo.toml").layers:
        if layer.network in networks and isinstance(layer.operator, Linear | Conv2d):
            yield f"{layer.network}/{layer.name}", replace(layer.operator, epilogue="none")


def plan_of(plan: LaunchPlan) -> Plan:
    return plan.to_json(), plan.program


@dataclass(frozen=True)
class Bench:
    """An agent built for this processor, and its OpenCL device, PoCL on CPU 0."""

    agent: Agent
    info: dict[str, Any]

    @property
    def device(self) -> Device:
        return Device.from_capabilities(self.info)

    def rates(
        self, operator: Operator, plans: Mapping[str, Plan], backends: tuple[str, ...] = (), *, rounds: int = 9
    ) -> dict[str, float] | None:
        """Median GFLOP/s of each plan (execution time) and CPU backend (wall time), by name; None on a busy machine.

        Raises AssertionError when a result is wrong or a variant does not run.
        """
        common = {"operator": operator.to_json(), "verify": True}
        variants: list[dict[str, Any]] = [
            {"name": name, "kind": "gpu", "plan": plan, "wait": "finish", **common} for name, (plan, _) in plans.items()
        ]
        variants += [{"name": name, "kind": "cpu", "backend": name, **CPU_0, **common} for name in backends]
        programs = {program.id: program for _, program in plans.values()}
        lines: list[dict[str, Any]] = [
            {"type": "program", "id": key, "source": program.source, "options": program.options}
            for key, program in programs.items()
        ]
        job = {"type": "job", "schema": 2, "id": "compare", "kind": "compare", "rounds": rounds}
        whole = {**job, "operator": operator.to_json(), "variants": variants, "repeat": REPEAT}
        for _ in range(ATTEMPTS):
            self.agent.results.unlink(missing_ok=True)
            result = self.agent.run([*lines, whole])["compare"]
            if result["status"] != "noisy":
                break
        if result["status"] == "noisy":
            return None
        assert result["status"] == "ok", f"{operator.label}: {json.dumps(result)[:400]}"
        return {variant["name"]: operator.flops / _median_ns(variant["samples"]) for variant in result["variants"]}


@contextmanager
def bench() -> Iterator[Bench]:
    program = build_agent(build_root=ROOT / "build" / "agents")
    with TemporaryDirectory() as folder:
        agent = Agent(program, Path(folder), pocl_environment(Path(folder) / "pocl"))
        yield Bench(agent, agent.info())


def _median_ns(samples: Mapping[str, list[int]]) -> float:
    if "start_ns" in samples:
        return median(end - start for start, end in zip(samples["start_ns"], samples["end_ns"], strict=True))
    return median(samples["wall_ns"])
