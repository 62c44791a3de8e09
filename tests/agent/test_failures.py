"""Failures that are results."""

from __future__ import annotations

import pytest

from .driver import Agent, Line
from .jobs import PROGRAMS, coexec, conv2d, cpu, gpu, job, linear, program, sync


def test_build_failure_carries_the_log(agent: Agent) -> None:
    results = agent.run(
        [program("matmul", "__kernel void matmul( { nonsense }"), gpu("bad", 4, 4, 4), cpu("good", linear(2, 2, 2))]
    )
    assert results["bad"]["status"] == "build_failed"
    assert "error" in results["bad"]["error"]
    assert "\n" not in results["bad"]["error"]
    assert results["good"]["status"] == "ok"


def test_too_large_work_group_is_out_of_resources(agent: Agent) -> None:
    limit = agent.info()["opencl"]["max_work_group_size"]
    job = gpu("job", 4, 4, 4)
    job["plan"]["launches"][0] |= {"global": [limit * 2, 4], "local": [limit * 2, 4]}
    result = agent.run([*PROGRAMS, job])["job"]
    assert result["status"] == "out_of_resources"
    assert "WORK" in result["error"]


def test_without_opencl_only_the_cpu_works(agent_without_opencl: Agent) -> None:
    info = agent_without_opencl.info()
    assert info["opencl"] is None
    assert "libOpenCL.so" in info["opencl_error"]
    results = agent_without_opencl.run([*PROGRAMS, gpu("gpu", 4, 4, 4), cpu("cpu", linear(4, 4, 4))])
    assert [results[name]["status"] for name in ("gpu", "cpu")] == ["unsupported", "ok"]
    assert "libOpenCL.so" in results["gpu"]["error"]


def test_unavailable_cpu_is_unsupported(agent: Agent) -> None:
    jobs = [cpu("far", linear(2, 2, 2), core_mask=1 << 62), cpu("near", linear(2, 2, 2))]
    two = cpu("second thread", linear(2, 2, 2), core_mask=(1 << 62) | 2, threads=2)
    results = agent.run([*jobs, {**two, "id": "second"}])
    assert [results[name]["status"] for name in ("far", "near", "second")] == ["unsupported", "ok", "unsupported"]
    assert "CPU 62" in results["far"]["error"]


def test_memory_bound(agent: Agent) -> None:
    agent = agent.with_environment(SPLITFLEET_MAX_BYTES="100000")
    results = agent.run([*PROGRAMS, gpu("large", 100, 100, 200), gpu("small", 8, 8, 8)])
    assert results["large"]["status"] == "invalid_job"
    assert "SPLITFLEET_MAX_BYTES" in results["large"]["error"]
    assert results["small"]["status"] == "ok"


HUGE = 2**24


def with_launches(line: Line, count: int) -> Line:
    line["plan"]["launches"] *= count
    return line


INVALID: dict[str, tuple[Line, str]] = {
    "no such kernel": (gpu("job", 4, 4, 4) | {"plan": gpu("", 4, 4, 4)["plan"] | {"program": "sync"}}, "matmul"),
    "no such program": (gpu("job", 4, 4, 4) | {"plan": gpu("", 4, 4, 4)["plan"] | {"program": "gone"}}, "plan.program"),
    "huge matrix": (cpu("job", linear(HUGE, HUGE, HUGE)), "too large"),
    "huge convolution": (cpu("job", conv2d(HUGE, HUGE, HUGE, (1024, 1024))), "too large"),
    "kernel beyond the image": (cpu("job", conv2d(3, 2, 2, (9, 9))), "larger than the padded input"),
    "negative rows": (cpu("job", linear(-1, 2, 2)), "operator.rows"),
    "past 64 bits": (cpu("job", linear(2**64 - 1, 2, 2)), "operator.rows"),
    "too many threads": (cpu("job", linear(2, 2, 2), threads=65, core_mask=2**62 - 1), "threads"),
    "fewer CPUs than threads": (cpu("job", linear(2, 2, 2), threads=3, core_mask=3), "core_mask"),
    "no cut": (coexec("job", 4, 4, 8, 4) | {"cut": 8}, "cut"),
    "cut and plan disagree": (coexec("job", 4, 4, 8, 4) | {"cut": 5}, "column_offset"),
    "small output": (gpu("job", 4, 4, 4, operator=linear(5, 4, 4)), "input buffer"),
    "unknown kind": (cpu("job", linear(2, 2, 2)) | {"kind": "train"}, "kind"),
    "unknown join": (sync("job", "hope"), "join"),
    "newer schema": (cpu("job", linear(2, 2, 2)) | {"schema": 3}, "schema"),
    "too long": (
        cpu("job", linear(2, 2, 2), repeat={**cpu("", linear(1, 1, 1))["repeat"], "max_time_us": 60_000_001}),
        "repeat.max_time_us",
    ),
    "hours of rounds": (
        job(
            "job", "compare", rounds=10_000, variants=[{**cpu("", linear(2, 2, 2)), "name": f"v{i}"} for i in range(3)]
        ),
        "no more than 7200 s",
    ),
    "too many variants": (
        job("job", "compare", rounds=2, variants=[{**cpu("", linear(2, 2, 2)), "name": f"v{i}"} for i in range(17)]),
        "variants: more than 16",
    ),
    "too many joins": (sync("job", checked_joins=3_000_001), "checked_joins"),
    "too many launches": (with_launches(gpu("job", 4, 4, 4), 65), "plan.launches: more than 64"),
    "too many repetitions": (
        cpu("job", linear(2, 2, 2), repeat={**cpu("", linear(1, 1, 1))["repeat"], "max_count": 10_001}),
        "repeat.max_count",
    ),
}


def test_invalid_jobs_name_the_field(agent: Agent) -> None:
    jobs = [{**line, "id": f"job-{i}"} for i, (line, _) in enumerate(INVALID.values())]
    results = agent.run([*PROGRAMS, *jobs])
    for (case, (_, message)), result in zip(INVALID.items(), results.values(), strict=True):
        assert result["status"] == "invalid_job", case
        assert message in result["error"], case


@pytest.mark.parametrize(
    "arguments", [(), ("help",), ("info", "now"), ("run",), ("run", "jobs"), ("run", "a", "b", "c")]
)
def test_wrong_use_prints_the_usage(agent: Agent, arguments: tuple[str, ...]) -> None:
    done = agent.call(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: splitfleet-agent info")


def test_missing_job_file(agent: Agent) -> None:
    done = agent.call("run", agent.jobs, agent.results)
    assert done.returncode == 1
    assert str(agent.jobs) in done.stderr
