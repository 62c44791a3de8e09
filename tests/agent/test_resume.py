"""Killed at any time, the agent's results stay readable and the same command goes on."""

from __future__ import annotations

import fcntl
import itertools
import json
import resource
import signal
import time
from pathlib import Path

from ..infra.phones import wait_until
from .driver import Agent, Line
from .jobs import QUICK, cpu, linear


def small_jobs(count: int) -> list[Line]:
    return [cpu(f"job-{i}", linear(4, 4, 4)) for i in range(count)]


def results_of(lines: list[Line]) -> list[str]:
    return [line["id"] for line in lines if line["type"] == "result"]


def wait_for_lines(path: Path, count: int) -> None:
    deadline = time.monotonic() + 240
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert time.monotonic() < deadline, "the agent wrote no results"
        time.sleep(0.005)


def test_killed_in_mid_batch(agent_without_opencl: Agent) -> None:
    agent = agent_without_opencl
    long = {**QUICK, "min_count": 200, "max_count": 10_000, "min_time_us": 20_000, "ci": 0.0, "max_time_us": 30_000}
    names = [f"job-{i}" for i in range(100)]
    agent.write(cpu(name, linear(16, 16, 16), repeat=long) for name in names)
    for _ in range(2):
        before = agent.results.read_bytes().count(b"\n") if agent.results.exists() else 0
        with agent.running() as process:
            wait_for_lines(agent.results, before + 4)
            process.send_signal(signal.SIGKILL)
    lines = agent.again()
    assert results_of(lines) == names
    assert [line["type"] for line in lines].count("agent") == 3
    assert lines[-1] == {"type": "end", "schema": 2, "jobs": 100}


def test_torn_last_line_is_cut_off(agent_without_opencl: Agent) -> None:
    agent = agent_without_opencl
    agent.run(small_jobs(3))
    whole = agent.results.read_bytes()
    lines = whole.splitlines(keepends=True)
    agent.results.write_bytes(b"".join(lines[:4]) + lines[4][:25])
    assert results_of(agent.again()) == ["job-0", "job-1", "job-2"]
    assert agent.results.read_bytes().startswith(b"".join(lines[:4]))


def test_a_finished_batch_is_left_alone(agent_without_opencl: Agent) -> None:
    agent_without_opencl.run(small_jobs(2))
    before = agent_without_opencl.results.read_bytes()
    agent_without_opencl.again()
    assert agent_without_opencl.results.read_bytes() == before


def test_jobs_may_be_added(agent_without_opencl: Agent) -> None:
    agent_without_opencl.run(small_jobs(2))
    agent_without_opencl.write(small_jobs(4))
    assert results_of(agent_without_opencl.again()) == ["job-0", "job-1", "job-2", "job-3"]


def test_another_batch_is_refused(agent_without_opencl: Agent) -> None:
    agent_without_opencl.run(small_jobs(2))
    before = agent_without_opencl.results.read_bytes()
    agent_without_opencl.run([cpu("other", linear(2, 2, 2))], expected_exit=2)
    assert agent_without_opencl.results.read_bytes() == before


def test_a_foreign_file_is_refused(agent_without_opencl: Agent) -> None:
    agent_without_opencl.write(small_jobs(1))
    agent_without_opencl.results.write_text('{"holiday": "photos"}\n')
    done = agent_without_opencl.call("run", agent_without_opencl.jobs, agent_without_opencl.results)
    assert done.returncode == 2
    assert "belongs to no result file" in done.stderr
    assert agent_without_opencl.results.read_text() == '{"holiday": "photos"}\n'


def test_a_job_during_which_the_agent_ends_twice_is_not_run_again(agent_without_opencl: Agent) -> None:
    agent = agent_without_opencl
    long = {**QUICK, "max_count": 10_000, "min_time_us": 60_000_000, "max_time_us": 60_000_000}
    agent.write([*small_jobs(1), cpu("fatal", linear(512, 512, 512), repeat=long), cpu("after", linear(2, 2, 2))])
    for attempt in (1, 2):
        with agent.running() as process:
            wait_for_lines(agent.results.with_name("results.jsonl.attempts"), 1 + attempt)
            process.send_signal(signal.SIGKILL)
    results = {line["id"]: line for line in agent.again() if line["type"] == "result"}
    assert [line["status"] for line in results.values()] == ["ok", "crashed", "ok"]
    assert "twice" in results["fatal"]["error"]


def test_old_attempts_do_not_count_for_a_new_result_file(agent_without_opencl: Agent) -> None:
    agent = agent_without_opencl
    agent.results.with_name("results.jsonl.attempts").write_text("job-0\njob-0\n")
    assert agent.run(small_jobs(1))["job-0"]["status"] == "ok"


def test_two_agents_keep_off_one_file(agent_without_opencl: Agent) -> None:
    agent = agent_without_opencl
    agent.write(small_jobs(1))
    with agent.results.with_name("results.jsonl.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = agent.call("run", agent.jobs, agent.results)
    assert done.returncode == 4
    assert "another agent" in done.stderr
    assert not agent.results.exists()


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))


def test_full_disk_leaves_whole_lines(agent_without_opencl: Agent) -> None:
    """A limit on the file's size stands for the disk; SIGXFSZ stays ignored, as Python has it."""
    agent = agent_without_opencl
    agent.write(small_jobs(9))
    done = agent.call("run", agent.jobs, agent.results, preexec_fn=limit_file_size, restore_signals=False)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert agent.results.read_bytes().endswith(b"}\n")
    assert results_of(agent.again()) == [f"job-{i}" for i in range(9)]


def test_agents_take_turns_on_the_cores(program: Path, tmp_path: Path) -> None:
    shared = {"SPLITFLEET_OPENCL": "none", "SPLITFLEET_CORE_LOCK": str(tmp_path / "cores")}
    agents = [Agent(program, tmp_path / name, shared) for name in ("a", "b")]
    repeat = {**QUICK, "min_count": 5, "max_count": 10_000, "min_time_us": 10_000, "ci": 0.0, "max_time_us": 10_000}
    for agent in agents:
        agent.folder.mkdir()
        agent.write(cpu(f"job-{i}", linear(8, 8, 8), repeat=repeat) for i in range(15))
    core = tmp_path / "cores" / "core"
    core.parent.mkdir()
    with core.open("w") as lock, agents[0].running() as first, agents[1].running() as second:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until both are there
        assert wait_until(lambda: all(agent.results.exists() for agent in agents))
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert first.wait(240) == 0
        assert second.wait(240) == 0
    spans = sorted(
        (line["started_unix_us"], line["started_unix_us"] + line["elapsed_us"], owner)
        for owner, agent in enumerate(agents)
        for line in map(json.loads, agent.results.read_text().splitlines())
        if line["type"] == "result"
    )
    assert len(spans) == 30
    slack_us = 1000  # the wall clock may be adjusted a little meanwhile
    for (_, end, _), (start, _, _) in itertools.pairwise(spans):
        assert end <= start + slack_us
    turns = sum(before[2] != after[2] for before, after in itertools.pairwise(spans))
    assert turns >= 5
