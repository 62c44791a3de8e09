"""The agent under the address and undefined-behaviour sanitizers, on jobs of every kind and every way to fail."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from splitfleet.pipeline.agent_build import find_tool, header_folders
from splitfleet.pipeline.pocl import pocl_environment

from .driver import Agent, Line
from .jobs import PROGRAMS, coexec, conv2d, cpu, gpu, job, linear, program, sync
from .test_measuring import OPERATIONS, transfer
from .test_worker import PROGRAMS as FAULTS
from .test_worker import faulty

AGENT = Path(__file__).parents[2] / "agent"
BUILD = AGENT.parent / "build" / "agent-address"
DEPTHWISE = {
    **{"type": "depthwise_conv2d", "height": 7, "width": 6, "channels": 5, "kernel_h": 3, "kernel_w": 3, "stride": 1},
    **{"pad_h": 1, "pad_w": 1, "epilogue": "relu6"},
}
POOL = {**DEPTHWISE, "type": "pool2d", "mode": "avg"}

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("g++") is None, reason="g++, which brings the sanitizers, is absent"),
]


@pytest.fixture(scope="module")
def sanitized() -> Path:
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_CXX_FLAGS_RELEASE": "-O1 -g1",  # at -O3 its compilation takes twice as long
        "CMAKE_MAKE_PROGRAM": find_tool("ninja"),
        "SPLITFLEET_SANITIZE": "address",
        "SPLITFLEET_XNNPACK": "OFF",
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
        if "cannot find" in done.stdout and "san" in done.stdout:
            pytest.skip("this compiler has no sanitizers")
        assert done.returncode == 0, done.stdout[-4000:]
    return BUILD / "splitfleet-agent"


@pytest.fixture
def agent(sanitized: Path, kernel_cache: Path, tmp_path: Path) -> Agent:
    # Leaks are the process's end here: the worker ends without taking anything down. And PoCL's own are not ours.
    options = {"ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=99", "UBSAN_OPTIONS": "print_stacktrace=1"}
    return Agent(sanitized, tmp_path, {**pocl_environment(kernel_cache), **options})


def every_kind() -> list[Line]:
    variants = [
        {**gpu("", 16, 16, 16), "name": "gpu"},
        {**cpu("", linear(16, 16, 16)), "name": "cpu"},
        {**coexec("", 16, 16, 16, 8), "name": "split"},
    ]
    operators = [linear(5, 7, 9), conv2d(9, 3, 5), DEPTHWISE, POOL]
    return [
        *(gpu(f"gpu-{wait}", 13, 17, 22, wait=wait) for wait in ("svm_poll", "event_wait", "finish")),
        gpu("chain", 13, 17, 22, mode="chain", chain_length=5),
        *(cpu(f"cpu-{i}", operator) for i, operator in enumerate(operators)),
        cpu("threads", linear(33, 17, 40), threads=2, core_mask=3),
        *(coexec(f"coexec-{join}", 33, 40, 48, 16, join=join) for join in ("svm_poll", "event_wait", "finish")),
        *(sync(f"sync-{join}", join, checked_joins=50) for join in ("svm_poll", "event_wait", "finish")),
        *(transfer(name, name, 4096) for name in OPERATIONS),
        job("compare", "compare", rounds=3, variants=variants),
    ]


@pytest.mark.parametrize("svm", [True, False])
def test_jobs_of_every_kind_run_clean(agent: Agent, svm: bool) -> None:
    agent = agent if svm else agent.with_environment(SPLITFLEET_DISABLE_SVM="1")
    agent.write([*PROGRAMS, *every_kind()])
    done = agent.call("run", agent.jobs, agent.results)
    assert done.returncode == 0, done.stderr
    statuses = {line["id"]: line["status"] for line in agent.read() if line["type"] == "result"}
    assert len(statuses) == len(every_kind())
    expected = {"ok", "noisy"} if svm else {"ok", "noisy", "unsupported"}
    assert set(statuses.values()) <= expected, statuses
    assert "ERROR: AddressSanitizer" not in done.stderr
    assert "runtime error" not in done.stderr


def test_failures_run_clean(agent: Agent) -> None:
    """Everything but the crash, which is one."""
    agent = agent.with_environment(SPLITFLEET_GRACE_S="10")
    broken = program("broken", "__kernel void broken( {")
    jobs = [faulty("hangs", "hang"), faulty("nonsense", "nonsense"), faulty("broken", "broken"), "{", '{"type": "job"}']
    agent.write([*FAULTS, broken, *jobs, cpu("last", linear(4, 4, 4))])
    done = agent.call("run", agent.jobs, agent.results)
    statuses = [line["status"] for line in agent.read() if line["type"] == "result"]
    assert statuses[:-1] == ["timeout", "wrong_result", "build_failed", "invalid_job", "invalid_job"]
    assert statuses[-1] in ("ok", "noisy")
    assert "ERROR: AddressSanitizer" not in done.stderr
    assert "runtime error" not in done.stderr
