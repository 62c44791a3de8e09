"""The agent under the thread sanitizer, on joint executions and joins.

No suppressions are needed: PoCL and its kernels are not instrumented, so their own accesses are not seen, and the locks
that they take are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from splitfleet.pipeline.agent_build import find_tool, header_folders
from splitfleet.pipeline.pocl import pocl_environment

from .driver import Agent, Line
from .jobs import PROGRAMS, QUICK, coexec, cpu, linear, sync

AGENT = Path(__file__).parents[2] / "agent"
BUILD = AGENT.parent / "build" / "agent-thread"
JOINS = ("svm_poll", "event_wait", "finish")

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("g++") is None, reason="g++, which brings the sanitizer, is absent"),
]


@pytest.fixture(scope="module")
def agent(kernel_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Agent:
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_CXX_FLAGS_RELEASE": "-O1 -g1",  # at -O3 its compilation takes twice as long
        "CMAKE_MAKE_PROGRAM": find_tool("ninja"),
        "SPLITFLEET_SANITIZE": "thread",
        "SPLITFLEET_XNNPACK": "OFF",  # its threads are joined by code that is not instrumented
        **header_folders(),
    }
    cmake = str(find_tool("cmake"))
    definitions = [f"-D{name}={value}" for name, value in options.items()]
    environment = {**os.environ, "CXX": os.environ.get("CXX", "g++")}
    configure = [cmake, "-G", "Ninja", "-S", str(AGENT), "-B", str(BUILD), *definitions]
    for command in (configure, [cmake, "--build", str(BUILD)]):
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if "cannot find" in done.stdout and "tsan" in done.stdout:
            pytest.skip("this compiler has no thread sanitizer")
        assert done.returncode == 0, done.stdout[-4000:]
    return Agent(BUILD / "splitfleet-agent", tmp_path_factory.mktemp("thread"), pocl_environment(kernel_cache))


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
    agent.write([*PROGRAMS, *jobs()])
    done = agent.call("run", agent.jobs, agent.results)
    assert done.returncode == 0, done.stderr
    assert "WARNING: ThreadSanitizer" not in done.stderr, done.stderr[:4000]
    statuses = {line["id"]: line["status"] for line in agent.read() if line["type"] == "result"}
    assert len(statuses) == len(jobs())
    assert set(statuses.values()) <= {"ok", "noisy"}, statuses
