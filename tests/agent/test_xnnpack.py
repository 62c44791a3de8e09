"""XNNPACK as CPU backend, where the agent could be built with it."""

from __future__ import annotations

import re

import pytest

from .driver import Agent, Line
from .jobs import PROGRAMS, coexec, conv2d, cpu, gpu, job, linear, program, sync
from .test_kinds import OPERATORS as PLAIN
from .test_operators import CHANNELWISE, OPERATORS, check, pool, split_jobs

XNNPACK = {"backend": "xnnpack"}
DENSE = {f"plain {name}": operator for name, operator in PLAIN.items()}


@pytest.fixture
def version(agent_without_opencl: Agent) -> str:
    version = agent_without_opencl.info()["agent"]["backends"].get("xnnpack")
    if version is None:
        pytest.skip("the agent was built without XNNPACK (Debian: libxnnpack-dev libpthreadpool-dev)")
    return str(version)


@pytest.mark.peer
def test_the_version_is_known(version: str) -> None:
    assert re.fullmatch(r"xnnpack-(\d{4}-\d\d-\d\d|[0-9a-f]{12})", version)


@pytest.mark.peer
@pytest.mark.parametrize("threads", [1, 2])
def test_on_the_cpu(agent_without_opencl: Agent, version: str, threads: int) -> None:
    cores = {"threads": threads, "core_mask": (2, 3)[threads - 1]}
    operators = {**OPERATORS, **DENSE}
    jobs = [cpu(f"job-{i}", operator, **cores, **XNNPACK) for i, operator in enumerate(operators.values())]
    results = agent_without_opencl.run(jobs)
    check(results, len(operators))
    assert {result["backend"] for result in results.values()} == {version}


@pytest.mark.peer
def test_joint_executions(agent: Agent, version: str) -> None:
    jobs: list[Line] = [line for line in split_jobs("svm_poll", **XNNPACK) if line["kind"] == "coexec"]
    for line in jobs:
        line["join"] = "event_wait"  # the channelwise kernel does not signal
    jobs += [coexec(f"polled-{cut}", 33, 40, 48, cut, **XNNPACK) for cut in (1, 16, 47)]
    results = agent.run([*PROGRAMS, program("channelwise", CHANNELWISE), *jobs])
    check(results, len(jobs))
    assert {result["backend"] for result in results.values()} == {version}


@pytest.mark.peer
def test_the_joining_alone(agent: Agent, version: str) -> None:
    result = agent.run([*PROGRAMS, sync("job", **XNNPACK)])["job"]
    assert (result["status"], result["mismatches"], result["backend"]) == ("ok", 0, version)


@pytest.mark.peer
def test_operators_that_it_lacks_are_unsupported(agent_without_opencl: Agent, version: str) -> None:
    one = pool("max", 4, 4, (1, 1), pad_h=0, pad_w=0)
    results = agent_without_opencl.run([cpu("one", one, **XNNPACK), cpu("next", linear(2, 2, 2), **XNNPACK)])
    assert [results[name]["status"] for name in ("one", "next")] == ["unsupported", "ok"]
    assert "max pooling" in results["one"]["error"]


def test_an_absent_backend_is_unsupported(agent_without_opencl: Agent) -> None:
    if "xnnpack" in agent_without_opencl.info()["agent"]["backends"]:
        pytest.skip("this agent has all backends")
    result = agent_without_opencl.run([cpu("job", conv2d(4, 2, 2), **XNNPACK)])["job"]
    assert result["status"] == "unsupported"
    assert "built without xnnpack; it has eigen" in result["error"]


def test_variants_name_one_backend(agent: Agent) -> None:
    variants = [
        {**cpu("", linear(4, 4, 4)), "name": "eigen"},
        {**cpu("", linear(4, 4, 4), **XNNPACK), "name": "xnnpack"},
        {**gpu("", 4, 4, 4), "name": "gpu"},
    ]
    results = agent.run(
        [
            *PROGRAMS,
            job("mixed", "compare", rounds=40, variants=variants),
            job("eigen", "compare", rounds=40, variants=[variants[0], variants[2]]),
            job("none", "compare", rounds=40, variants=[variants[2]]),
        ]
    )
    assert results["mixed"]["status"] == "invalid_job"
    assert "the same backend" in results["mixed"]["error"]
    assert results["eigen"]["backend"].startswith("eigen-")
    assert "backend" not in results["none"]
