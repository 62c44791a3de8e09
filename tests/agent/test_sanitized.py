"""The agent under the address and undefined-behaviour sanitizers, on jobs of every kind and every way to fail."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from splitfleet.pipeline.pocl import pocl_environment

from .checked_builds import HAS_CLANG, build, build_with_clang
from .driver import Agent, Line
from .jobs import PROGRAMS, coexec, conv2d, cpu, gpu, job, linear, program, sync
from .test_measuring import OPERATIONS, transfer
from .test_network import attention_network, lines, lowered, network_job, residual_network
from .test_worker import PROGRAMS as FAULTS
from .test_worker import faulty

DEPTHWISE = {
    **{"type": "depthwise_conv2d", "height": 7, "width": 6, "channels": 5, "kernel_h": 3, "kernel_w": 3, "stride": 1},
    **{"pad_h": 1, "pad_w": 1, "epilogue": "relu6"},
}
POOL = {**DEPTHWISE, "type": "pool2d", "mode": "avg"}

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not HAS_CLANG and shutil.which("g++") is None, reason="neither clang nor g++ is there"),
]


@pytest.fixture(scope="module")
def sanitized() -> Path:
    """By clang, whose build is there for other tests too, else by g++."""
    if HAS_CLANG:
        return build_with_clang("splitfleet-agent") / "splitfleet-agent"
    return build("address", "g++", "splitfleet-agent", SPLITFLEET_SANITIZE="address") / "splitfleet-agent"


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


def test_networks_run_clean(agent: Agent) -> None:
    """With every way of handing over."""
    ways = {network.name: lowered(agent, network, "sgc") for network in (residual_network(), attention_network())}
    programs = [program for way in ways.values() for program in way.programs]
    agent.write([*lines(programs), *(network_job(name, way.body, rounds=1) for name, way in ways.items())])
    done = agent.call("run", agent.jobs, agent.results)
    statuses = {line["id"]: line["status"] for line in agent.read() if line["type"] == "result"}
    assert statuses.keys() == ways.keys()
    assert set(statuses.values()) <= {"ok", "noisy"}, statuses
    assert "ERROR: AddressSanitizer" not in done.stderr
    assert "runtime error" not in done.stderr


def test_failures_run_clean(agent: Agent) -> None:
    """Everything but the crash, which is one."""
    broken = program("broken", "__kernel void broken( {")
    jobs = [faulty("nonsense", "nonsense"), faulty("broken", "broken"), "{", '{"type": "job"}']
    agent.write([*FAULTS, broken, *jobs, cpu("last", linear(4, 4, 4))])
    done = agent.call("run", agent.jobs, agent.results)
    statuses = [line["status"] for line in agent.read() if line["type"] == "result"]
    assert statuses[:-1] == ["wrong_result", "build_failed", "invalid_job", "invalid_job"]
    assert statuses[-1] in ("ok", "noisy")
    assert "ERROR: AddressSanitizer" not in done.stderr
    assert "runtime error" not in done.stderr


def test_a_hang_runs_clean(agent: Agent) -> None:
    agent = agent.with_environment(SPLITFLEET_GRACE_S="10")
    agent.write([*FAULTS, faulty("hangs", "hang"), cpu("last", linear(4, 4, 4))])
    done = agent.call("run", agent.jobs, agent.results)
    statuses = [line["status"] for line in agent.read() if line["type"] == "result"]
    assert statuses in (["timeout", "ok"], ["timeout", "noisy"])
    assert "ERROR: AddressSanitizer" not in done.stderr
    assert "runtime error" not in done.stderr
