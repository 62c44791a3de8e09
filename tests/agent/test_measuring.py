"""How often work is repeated and in which mode; transfers."""

from __future__ import annotations

from typing import Any

import pytest

from .driver import Agent, Line
from .jobs import CPU, PROGRAMS, QUICK, cpu, gpu, job, linear

EVENTS = ("queued_ns", "submit_ns", "start_ns", "end_ns")
OPERATIONS = ["map_read", "map_write", "copy", "fill", "read", "write", "image_write", "image_read"]
SIZES = [4096, 3 * 4096, 4 * 2**20]


def transfer(name: str, operation: str, size: int, **fields: Any) -> Line:
    return job(name, "transfer", **{"operation": operation, "bytes": size, **fields})


def events_of(result: Line) -> list[tuple[int, ...]]:
    return list(zip(*(result["samples"][name] for name in EVENTS), strict=True))


def test_warm_up_is_counted_and_bounded(agent: Agent) -> None:
    """It takes ten executions to compare two windows of five; a quarter of the time is the most it may take."""
    patient = {**QUICK, "warmup": 3}
    hasty = {**QUICK, "warmup": 3, "max_time_us": 1}
    jobs = [
        cpu("cpu", linear(8, 8, 8), repeat=patient),
        gpu("gpu", 8, 8, 8, repeat=patient),
        cpu("hasty", linear(8, 8, 8), repeat=hasty, verify=False),
        job("both", "compare", rounds=2, variants=[{**cpu("", linear(8, 8, 8)), "name": "cpu"}]),
    ]
    results = agent.run([*PROGRAMS, *jobs])
    assert 10 <= results["cpu"]["warmup"] <= 1000
    assert 10 <= results["gpu"]["warmup"] <= 1000
    assert results["both"]["variants"][0]["warmup"] >= 2
    if results["hasty"]["status"] == "ok":
        assert results["hasty"]["warmup"] == 3


def test_repetitions_go_on_until_the_median_is_known(agent: Agent) -> None:
    base = {**QUICK, "min_count": 10, "max_count": 400, "max_time_us": 20_000_000}
    wanted = {"loose": 1.0, "tight": 1e-9}
    jobs = [cpu(name, linear(64, 64, 64), repeat={**base, "ci": ci}) for name, ci in wanted.items()]
    counts = {name: len(result["samples"]["wall_ns"]) for name, result in agent.run(jobs).items()}
    assert counts["tight"] == 400
    assert 10 <= counts["loose"] < 400


@pytest.mark.parametrize("wait", ["event_wait", "finish", "svm_poll"])
def test_a_chain_is_timed_as_a_whole(agent: Agent, wait: str) -> None:
    length = 8
    jobs = [
        gpu("single", 16, 16, 16, wait=wait, mode="single"),
        gpu("chain", 16, 16, 16, wait=wait, mode="chain", chain_length=length),
    ]
    results = agent.run([*PROGRAMS, *jobs])
    assert [(line["mode"], line["chain_length"]) for line in results.values()] == [("single", 1), ("chain", length)]
    for result in results.values():
        assert result["status"] == "ok"
        assert result["max_relative_error"] < 1e-5
        for queued, submit, start, end in events_of(result):
            assert queued <= submit <= start <= end
    assert len(results["chain"]["samples"]["wall_ns"]) == len(results["chain"]["samples"]["end_ns"])


def test_a_chain_executes_every_link(agent: Agent) -> None:
    """The kernel writes the number of its execution; the first one goes before the chain."""
    source = """__kernel void matmul(__global float *output, int sequence) {
        output[get_global_id(1) * 4 + get_global_id(0)] = sequence;
    }"""
    line = gpu("chain", 4, 4, 4, mode="chain", chain_length=7)
    arguments = [{"buffer": "output"}, {"sequence": True}]
    line["plan"]["launches"][0]["args"] = arguments
    result = agent.run([{**PROGRAMS[0], "source": source}, line])["chain"]
    assert result["status"] == "wrong_result"
    assert "is 8 instead of" in result["error"]


@pytest.mark.parametrize("svm", [True, False])
def test_transfers(agent: Agent, svm: bool) -> None:
    agent = agent if svm else agent.with_environment(SPLITFLEET_DISABLE_SVM="1")
    jobs = [transfer(f"{name}-{size}", name, size) for name in OPERATIONS for size in SIZES]
    results = agent.run(jobs)
    for line in jobs:
        result = results[line["id"]]
        assert (result["status"], result["operation"], result["bytes"]) == ("ok", line["operation"], line["bytes"])
        assert all(wall_ns > 0 for wall_ns in result["samples"]["wall_ns"])
        assert len(events_of(result)) == len(result["samples"]["wall_ns"])
        assert result["warmup"] >= 1


INVALID: dict[str, tuple[Line, str]] = {
    "too small": (transfer("job", "copy", 4095), "bytes"),
    "too large": (transfer("job", "copy", 64 * 2**20 + 4096), "bytes"),
    "no whole pages": (transfer("job", "copy", 4100), "multiple of 4096"),
    "unknown operation": (transfer("job", "teleport", 4096), "operation"),
    "a chain of one": (gpu("job", 4, 4, 4, mode="chain", chain_length=1), "chain_length"),
    "a chain too long": (gpu("job", 4, 4, 4, mode="chain", chain_length=65), "chain_length"),
    "a chain without length": (gpu("job", 4, 4, 4, mode="chain"), "chain_length"),
    "unknown mode": (gpu("job", 4, 4, 4, mode="twice"), "mode"),
    "a chain among variants": (
        job("job", "compare", rounds=2, variants=[{**gpu("", 4, 4, 4, mode="chain", chain_length=2), "name": "gpu"}]),
        "variants[0].mode",
    ),
    "a transfer among variants": (
        job("job", "compare", rounds=2, variants=[{**transfer("", "copy", 4096), "name": "copy", **CPU}]),
        "variants[0].kind",
    ),
}


def test_invalid_modes_and_transfers(agent: Agent) -> None:
    jobs = [{**line, "id": f"job-{i}"} for i, (line, _) in enumerate(INVALID.values())]
    results = agent.run([*PROGRAMS, *jobs])
    for (case, (_, message)), result in zip(INVALID.items(), results.values(), strict=True):
        assert result["status"] == "invalid_job", case
        assert message in result["error"], case


def test_the_largest_transfer(agent: Agent) -> None:
    repeat = {**QUICK, "max_time_us": 1_000_000}
    result = agent.run([transfer("large", "image_read", 64 * 2**20, repeat=repeat)])["large"]
    assert result["status"] in ("ok", "noisy")  # what arrived is checked before the first repetition


def test_a_transfer_needs_opencl(agent_without_opencl: Agent) -> None:
    assert agent_without_opencl.run([transfer("copy", "copy", 4096)])["copy"]["status"] == "unsupported"
