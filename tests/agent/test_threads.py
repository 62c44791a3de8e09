"""The threads of a CPU half: pinned, and known to have stayed so."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from .driver import Agent, Line
from .jobs import QUICK, cpu, linear

LONG = {**QUICK, "min_count": 500, "max_count": 500}


def results(agent: Agent) -> list[Line]:
    return [line for line in agent.read() if line["type"] == "result"] if agent.results.exists() else []


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children] + [far for child in children for far in descendants(int(child))]


class Mover:
    """Lets every thread that is pinned to a core go elsewhere, too, as a change of cpuset does.

    Only once the thread has run for a while there: before it computes, it looks whether pinning holds.
    """

    def __init__(self, core: int) -> None:
        self._core = core
        self._began_ns: dict[int, int] = {}

    def move_threads(self, pid: int) -> None:
        for task in Path(f"/proc/{pid}/task").iterdir():
            thread = int(task.name)
            with suppress(ProcessLookupError, FileNotFoundError):
                ran_ns = int((task / "schedstat").read_text().split()[0])
                if os.sched_getaffinity(thread) != {self._core}:
                    self._began_ns.pop(thread, None)
                elif ran_ns - self._began_ns.setdefault(thread, ran_ns) > 1_000_000:
                    os.sched_setaffinity(thread, {0, 1})


@pytest.mark.parametrize(("threads", "thread"), [(1, 0), (2, 1)])
def test_a_thread_that_the_system_moves_is_noticed(agent_without_opencl: Agent, threads: int, thread: int) -> None:
    agent = agent_without_opencl
    cores = {"threads": threads, "core_mask": (2, 3)[threads - 1]}
    # The last move may still meet the second job, but not the third.
    long = [cpu(name, linear(256, 256, 256), repeat=LONG, **cores) for name in ("moved", "perhaps-moved")]
    agent.write([*long, cpu("next", linear(4, 4, 4), **cores)])
    mover = Mover(core=1)
    with agent.running() as process:
        while not results(agent) and process.poll() is None:
            time.sleep(0.01)
            for worker in descendants(process.pid):
                mover.move_threads(worker)
        assert process.wait(240) == 0
    moved, _, following = results(agent)
    assert moved["status"] == "noisy"
    assert f"moved thread {thread} of this job off CPU 1" in moved["error"]
    # Threads are pinned anew for each job.
    assert (following["status"], following["error"]) == ("ok", None)
