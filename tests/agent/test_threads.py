"""The threads of a CPU half: pinned, and known to have stayed so."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from .driver import Agent, Line
from .jobs import QUICK, cpu, linear

LONG = {**QUICK, "min_count": 10_000, "max_count": 10_000, "max_time_us": 1_000_000}


def results(agent: Agent) -> list[Line]:
    return [line for line in agent.read() if line["type"] == "result"] if agent.results.exists() else []


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children] + [far for child in children for far in descendants(int(child))]


def move_threads(pid: int, core: int) -> None:
    """Lets every thread that is pinned to `core` go elsewhere, too, as a change of cpuset does."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            if os.sched_getaffinity(int(task.name)) == {core}:
                os.sched_setaffinity(int(task.name), {0, 1})
        except ProcessLookupError:
            continue


@pytest.mark.parametrize(("threads", "thread"), [(1, 0), (2, 1)])
def test_a_thread_that_the_system_moves_is_noticed(agent_without_opencl: Agent, threads: int, thread: int) -> None:
    agent = agent_without_opencl
    cores = {"threads": threads, "core_mask": (2, 3)[threads - 1]}
    # The last move may still meet the second job, but not the third.
    long = [cpu(name, linear(64, 64, 64), repeat=LONG, **cores) for name in ("moved", "perhaps-moved")]
    agent.write([*long, cpu("next", linear(4, 4, 4), **cores)])
    with agent.running() as process:
        while not results(agent) and process.poll() is None:
            time.sleep(0.02)  # seldom enough to miss the moment between pinning and looking whether it holds
            for worker in descendants(process.pid):
                move_threads(worker, core=1)
        assert process.wait(60) == 0
    moved, _, following = results(agent)
    assert moved["status"] == "noisy"
    assert f"moved thread {thread} of this job off CPU 1" in moved["error"]
    # Threads are pinned anew for each job.
    assert (following["status"], following["error"]) == ("ok", None)
