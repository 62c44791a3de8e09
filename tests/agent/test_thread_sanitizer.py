"""The agent under the thread sanitizer, on joint executions, joins and a network.

No suppressions are needed: PoCL and its kernels are not instrumented, so their own accesses are not seen, and the locks
that they take are.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from splitfleet.pipeline.pocl import pocl_environment

from .checked_builds import build
from .driver import Agent, Line
from .jobs import PROGRAMS, QUICK, coexec, cpu, linear, sync
from .test_network import attention_network, lines, lowered, network_job

JOINS = ("svm_poll", "event_wait", "finish")

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("g++") is None, reason="g++, which brings the sanitizer, is absent"),
]


@pytest.fixture(scope="module")
def agent(kernel_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Agent:
    # XNNPACK's threads are joined by code that is not instrumented: it is left out.
    program = build("thread", "g++", "splitfleet-agent", SPLITFLEET_SANITIZE="thread") / "splitfleet-agent"
    return Agent(program, tmp_path_factory.mktemp("thread"), pocl_environment(kernel_cache))


def jobs() -> list[Line]:
    """With two threads one has PoCL's own CPU: few repetitions are undisturbed, but the threads meet all the same."""
    repeat = {"repeat": {**QUICK, "max_time_us": 50_000}}
    cores = [{"threads": 1, "core_mask": 2}, {"threads": 2, "core_mask": 3}]
    lines = [cpu("cpu", linear(100, 64, 64), **cores[1], **repeat)]
    for join in JOINS:
        for core in cores:
            name = f"{join}-{core['threads']}"
            lines.append(coexec(f"coexec-{name}", 33, 40, 48, 16, join=join, **core, **repeat))
            lines.append(sync(f"sync-{name}", join, checked_joins=200, **core, **repeat))
    return lines


def test_joint_executions_run_clean(agent: Agent) -> None:
    network = lowered(agent, attention_network(), "sgc")
    every_job = [*jobs(), network_job("network", network.body, rounds=1)]
    agent.write([*PROGRAMS, *lines(network.programs), *every_job])
    done = agent.call("run", agent.jobs, agent.results)
    assert done.returncode == 0, done.stderr
    assert "WARNING: ThreadSanitizer" not in done.stderr, done.stderr[:4000]
    statuses = {line["id"]: line["status"] for line in agent.read() if line["type"] == "result"}
    assert len(statuses) == len(every_job)
    assert set(statuses.values()) <= {"ok", "noisy"}, statuses
