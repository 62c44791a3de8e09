"""Every job kind, on PoCL."""

from __future__ import annotations

import pytest

from .driver import Agent, Line
from .jobs import PROGRAMS, QUICK, coexec, conv2d, cpu, gpu, job, linear, matmul_plan, sync

EVENTS = ("queued_ns", "submit_ns", "start_ns", "end_ns")
JOINS = ("svm_poll", "event_wait", "finish")


def check_samples(result: Line, names: set[str]) -> None:
    assert (result["status"], result["error"]) == ("ok", None)
    samples = result["samples"]
    assert set(samples) == names
    counts = {len(values) for values in samples.values()}
    assert len(counts) == 1
    assert QUICK["min_count"] <= counts.pop() <= QUICK["max_count"]
    assert all(value > 0 for value in samples["wall_ns"])
    if "queued_ns" in names:
        for times in zip(*(samples[name] for name in EVENTS), strict=True):
            assert list(times) == sorted(times)
    assert set(result["rejected"]) == {"context_switch", "event_order"}
    assert result["elapsed_us"] > 0
    assert result["started_unix_us"] > 0


def test_a_batch_is_framed_and_in_order(agent: Agent) -> None:
    agent.run([*PROGRAMS, cpu("b", linear(3, 5, 7)), cpu("a", linear(3, 5, 7))])
    first, start, *results, last, end = agent.read()
    assert first["type"] == "agent"
    assert first["opencl"].startswith("OpenCL 3.0 PoCL")
    assert first["backends"]["eigen"].startswith("eigen-")
    assert [line["id"] for line in results] == ["b", "a"]
    assert [line["type"] for line in (start, last)] == ["telemetry", "telemetry"]
    assert end == {"type": "end", "schema": 2, "jobs": 2}


@pytest.mark.parametrize("wait", JOINS)
def test_gpu(agent: Agent, wait: str) -> None:
    result = agent.run([*PROGRAMS, gpu("job", 13, 17, 22, wait=wait)])["job"]
    check_samples(result, {"wall_ns", *EVENTS})
    assert result["max_relative_error"] < 1e-5


def test_gpu_writes_into_a_larger_output(agent: Agent) -> None:
    plan = matmul_plan(9, 17, 12, stride=40, offset=8)
    result = agent.run([*PROGRAMS, gpu("job", 9, 17, 12, plan=plan)])["job"]
    assert result["status"] == "ok"
    assert result["max_relative_error"] < 1e-5


def test_without_verify_no_error_is_reported(agent: Agent) -> None:
    result = agent.run([*PROGRAMS, gpu("job", 4, 4, 4, verify=False)])["job"]
    assert (result["status"], result["max_relative_error"]) == ("ok", None)


OPERATORS = {
    "one": linear(1, 1, 1),
    "vector": linear(1, 300, 130),
    "tall": linear(301, 33, 5),
    "wide": linear(2, 3, 301),
    "pointwise": conv2d(9, 12, 20, (1, 1), pad_h=0, pad_w=0),
    "3x3": conv2d(11, 5, 12),
    "strided": conv2d(15, 7, 9, stride=2),
    "3x1": conv2d(8, 4, 6, (3, 1), pad_w=0),
    "1x1 strided": conv2d(9, 6, 8, (1, 1), stride=2, pad_h=0, pad_w=0),
    "padded past the kernel": conv2d(4, 3, 4, (2, 2), pad_h=3, pad_w=2),
    "large kernel": conv2d(6, 3, 4, (11, 11), pad_h=5, pad_w=5),
    "several tiles": conv2d(40, 3, 4),
    "narrow": {**conv2d(9, 3, 5), "width": 1},
}


@pytest.mark.parametrize("threads", [1, 2])
def test_cpu_operators(agent_without_opencl: Agent, threads: int) -> None:
    jobs = [
        cpu(f"job-{i}", operator, threads=threads, core_mask=(2, 3)[threads - 1])
        for i, operator in enumerate(OPERATORS.values())
    ]
    for result in agent_without_opencl.run(jobs).values():
        check_samples(result, {"wall_ns"})
        assert result["max_relative_error"] < 1e-5


@pytest.mark.parametrize("join", JOINS)
def test_coexec(agent: Agent, join: str) -> None:
    result = agent.run([*PROGRAMS, coexec("job", 33, 40, 48, 16, join=join)])["job"]
    check_samples(result, {"wall_ns", "cpu_ns", *EVENTS})
    assert result["max_relative_error"] < 1e-5
    for wall_ns, cpu_ns in zip(result["samples"]["wall_ns"], result["samples"]["cpu_ns"], strict=True):
        assert 0 < cpu_ns <= wall_ns


@pytest.mark.parametrize("join", JOINS)
def test_sync(agent: Agent, join: str) -> None:
    result = agent.run([*PROGRAMS, sync("job", join)])["job"]
    check_samples(result, {"wall_ns", *EVENTS})
    assert (result["checked_joins"], result["mismatches"]) == (500, 0)


def test_compare_interleaves_in_rotating_order(agent: Agent) -> None:
    rounds = 30
    names = ["first", "second", "third"]
    variants = [{**gpu("", 8, 8, 8), "name": name} for name in names]
    result = agent.run([*PROGRAMS, job("job", "compare", rounds=rounds, variants=variants)])["job"]
    assert result["status"] == "ok"
    assert [variant["name"] for variant in result["variants"]] == names
    queued = [variant["samples"]["queued_ns"] for variant in result["variants"]]
    assert all(len(times) == rounds for times in queued)
    first_in_round = set()
    for times, later in zip(zip(*queued, strict=True), list(zip(*queued, strict=True))[1:], strict=False):
        assert max(times) < min(later)
        first_in_round.add(times.index(min(times)))
    if result["rejected"] == {"context_switch": 0, "event_order": 0}:
        assert first_in_round == {0, 1, 2}


def test_compare_mixes_processors(agent: Agent) -> None:
    variants = [
        {**gpu("", 16, 16, 16), "name": "gpu"},
        {**cpu("", linear(16, 16, 16)), "name": "cpu"},
        {**coexec("", 16, 16, 16, 8), "name": "split"},
    ]
    result = agent.run([*PROGRAMS, job("job", "compare", rounds=30, variants=variants)])["job"]
    assert [len(variant["samples"]["wall_ns"]) for variant in result["variants"]] == [30, 30, 30]
    assert all(variant["max_relative_error"] < 1e-5 for variant in result["variants"])


@pytest.mark.parametrize("join", ["event_wait", "finish"])
def test_without_shared_virtual_memory_halves_are_mapped(agent: Agent, join: str) -> None:
    agent = agent.with_environment(SPLITFLEET_DISABLE_SVM="1")
    assert not any(agent.info()["opencl"]["svm"].values())
    results = agent.run(
        [
            *PROGRAMS,
            gpu("gpu", 9, 8, 7, wait=join),
            coexec("coexec", 9, 8, 16, 4, join=join),
            sync("sync", join),
            coexec("polled", 9, 8, 16, 4, join="svm_poll"),
        ]
    )
    assert [results[name]["status"] for name in ("gpu", "coexec", "sync")] == ["ok"] * 3
    assert results["sync"]["mismatches"] == 0
    assert results["polled"]["status"] == "unsupported"
    assert "SVM" in results["polled"]["error"]


def test_threads_share_a_joint_execution(agent: Agent) -> None:
    """One thread has PoCL's own CPU, so there may be no undisturbed repetition; the result is verified before."""
    repeat = {**QUICK, "max_time_us": 100_000}
    job = coexec("job", 40, 32, 96, 64, threads=2, core_mask=3, repeat=repeat)
    assert agent.run([*PROGRAMS, job])["job"]["status"] in ("ok", "noisy")
