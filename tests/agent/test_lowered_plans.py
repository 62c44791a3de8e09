"""The project's own kernels and lowering, executed by the agent: what a campaign sends."""

from __future__ import annotations

from splitfleet.kernels import (
    Conv2d,
    DepthwiseConv2d,
    Device,
    LaunchPlan,
    Linear,
    Operator,
    Pool2d,
    cuts,
    lower,
    lower_half,
    lower_sync,
)

from .driver import Agent, Line
from .jobs import CPU, job

OPERATORS: list[Operator] = [
    Linear(rows=50, in_features=96, out_features=68),
    Linear(rows=1, in_features=64, out_features=40),
    Conv2d(14, 14, 16, 24, 1, 1, 1, 0, 0),
    Conv2d(14, 14, 12, 20, 3, 3, 1, 1, 1),
    Conv2d(15, 15, 8, 12, 3, 3, 2, 1, 1),
    Conv2d(20, 20, 3, 16, 7, 7, 2, 3, 3, "relu"),
    Conv2d(16, 16, 32, 32, 3, 3, 1, 1, 1, "add_relu"),
    DepthwiseConv2d(14, 14, 20, 3, 3, 2, 1, 1, "relu6"),
    Pool2d("max", 15, 15, 20, 3, 3, 2, 1, 1),
    Pool2d("avg", 15, 15, 20, 3, 3, 2, 1, 1),
]


def programs(plans: list[LaunchPlan]) -> list[Line]:
    unique = {plan.program.id: plan.program for plan in plans}
    return [
        {"type": "program", "id": key, "source": program.source, "options": program.options}
        for key, program in unique.items()
    ]


def check(results: dict[str, Line], expected: int, error: float = 1e-5) -> None:
    assert len(results) == expected
    for result in results.values():
        assert (result["status"], result["error"]) == ("ok", None), result["id"]
        assert result["max_relative_error"] < error


def test_whole_operators(agent: Agent) -> None:
    device = Device.from_capabilities(agent.info())
    plans = [lower(operator, device) for operator in OPERATORS]
    jobs = [
        job(f"{i}-{wait}", "gpu", operator=operator.to_json(), plan=plan.to_json(), wait=wait)
        for i, (operator, plan) in enumerate(zip(OPERATORS, plans, strict=True))
        for wait in ("svm_poll", "event_wait")
    ]
    check(agent.run([*programs(plans), *jobs]), len(jobs))


def test_all_cuts(agent: Agent) -> None:
    device = Device.from_capabilities(agent.info())
    split = [(operator, cut) for operator in (OPERATORS[0], OPERATORS[3]) for cut in cuts(operator, 4)]
    split = [(operator, int(cut)) for operator, cut in split if 0 < cut < operator.channels]
    plans = [lower_half(operator, cut, device) for operator, cut in split]
    jobs = [
        job(f"job-{i}", "coexec", operator=operator.to_json(), plan=plan.to_json(), cut=cut, join="svm_poll", **CPU)
        for i, ((operator, cut), plan) in enumerate(zip(split, plans, strict=True))
    ]
    assert len(jobs) == 16 + 4
    check(agent.run([*programs(plans), *jobs]), len(jobs))


def test_halves_stored_as_half_precision(agent: Agent) -> None:
    """Whole operators keep halves; what the CPU shares stays fp32, and the plan converts."""
    device = Device.from_capabilities(agent.info())
    whole = [lower(operator, device, precision="fp16_fp32") for operator in OPERATORS]
    split = [OPERATORS[0], OPERATORS[3], OPERATORS[7]]
    halves = [lower_half(operator, 8, device, precision="fp16_fp32") for operator in split]
    jobs = [
        job(f"whole-{i}", "gpu", operator=operator.to_json(), plan=plan.to_json(), wait="event_wait")
        for i, (operator, plan) in enumerate(zip(OPERATORS, whole, strict=True))
    ]
    jobs += [
        job(f"half-{i}", "coexec", operator=operator.to_json(), plan=plan.to_json(), cut=8, join="svm_poll", **CPU)
        for i, (operator, plan) in enumerate(zip(split, halves, strict=True))
    ]
    assert any(launch.kernel == "winograd_product" for plan in whole for launch in plan.launches)
    check(agent.run([*programs([*whole, *halves]), *jobs]), len(jobs), error=2e-2)


def test_lowered_sync(agent: Agent) -> None:
    plan = lower_sync(Device.from_capabilities(agent.info()))
    sync = job("sync", "sync", plan=plan.to_json(), join="svm_poll", checked_joins=5000, **CPU)
    result = agent.run([*programs([plan]), sync])["sync"]
    assert (result["status"], result["checked_joins"], result["mismatches"]) == ("ok", 5000, 0)
