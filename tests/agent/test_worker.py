"""Jobs that hang or crash end their process, and nothing else: the agent goes on in a new one."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ..infra.phones import wait_until
from .driver import Agent, Line
from .jobs import QUICK, cpu, gpu, linear, program

HANG = "__kernel void hang(__global volatile float *output) { while (output[0] >= 0.0f) {} }"
CRASH = "__kernel void crash(__global volatile int *signal) { *signal = 1; }"
NONSENSE = "__kernel void nonsense(__global float *output) { output[get_global_id(1) * 4 + get_global_id(0)] = 7.0f; }"
SILENT = "__kernel void silent(__global float *output) {}"
PROGRAMS = [program("hang", HANG), program("crash", CRASH), program("nonsense", NONSENSE), program("silent", SILENT)]

PTRACE_SEIZE = 0x4206
WALL = 0x40000000


def faulty(name: str, fault: str, **fields: object) -> Line:
    """A job whose kernel is one of the above, with the shape and the buffers of a matrix product."""
    job = gpu(name, 4, 4, 4, verify=fault == "nonsense", **fields)
    job["plan"] |= {"kernel": fault, "program": fault}
    argument = {"signal": True} if fault == "crash" else {"buffer": "output"}
    job["plan"]["launches"][0] |= {"kernel": fault, "args": [argument]}
    return {**job, "repeat": {**QUICK, "max_time_us": 1000}}


def quick(name: str) -> Line:
    return cpu(name, linear(4, 4, 4))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    """Not gone, and not merely waiting for whoever inherited it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_faults_cost_their_own_job_only(agent: Agent) -> None:
    # Its kernels are built before, with more time than a hanging one shall have.
    agent.run([*PROGRAMS, faulty("crashes", "crash"), faulty("nonsense", "nonsense")])
    for left in agent.folder.glob("results.*"):
        left.unlink()
    agent = agent.with_environment(SPLITFLEET_GRACE_S="5")
    jobs = [
        faulty("hangs", "hang"),
        quick("after-hang"),
        faulty("crashes", "crash"),
        quick("after-crash"),
        faulty("nonsense", "nonsense"),
        quick("after-nonsense"),
    ]
    results = agent.run([*PROGRAMS, *jobs])
    assert {name: result["status"] for name, result in results.items()} == {
        "hangs": "timeout",
        "after-hang": "ok",
        "crashes": "crashed",
        "after-crash": "ok",
        "nonsense": "wrong_result",
        "after-nonsense": "ok",
    }
    assert list(results) == [job["id"] for job in jobs]
    assert "did not end within 5 s" in results["hangs"]["error"]
    assert "SIGSEGV" in results["crashes"]["error"]
    attempts = agent.results.with_name("results.jsonl.attempts").read_text().split()
    assert {name: attempts.count(name) for name in ("hangs", "crashes", "nonsense")} == {
        "hangs": 1,
        "crashes": 2,
        "nonsense": 1,
    }
    assert all(result["elapsed_us"] > 0 and result["started_unix_us"] > 0 for result in results.values())


def test_a_signal_that_stays_out_is_a_timeout_at_once(agent: Agent) -> None:
    """The host gives up after its poll deadline, and does not wait for the job's bound."""
    agent = agent.with_environment(SPLITFLEET_GRACE_S="3600")
    result = agent.run([*PROGRAMS, faulty("silent", "silent", wait="svm_poll"), quick("next")])
    assert [line["status"] for line in result.values()] == ["timeout", "ok"]
    assert "signal counter" in result["silent"]["error"]


def test_the_worker_ends_with_its_supervisor(agent: Agent) -> None:
    agent.write([*PROGRAMS, faulty("hangs", "hang")])
    attempts = agent.results.with_name("results.jsonl.attempts")
    with agent.running() as process:
        assert wait_until(lambda: attempts.exists() and attempts.read_text() != "")
        (worker,) = children(process.pid)
        process.send_signal(signal.SIGKILL)
    assert wait_until(lambda: not is_alive(worker))


def test_a_dead_worker_keeps_no_lock(agent: Agent, tmp_path: Path) -> None:
    """Every lock is free as soon as the supervisor is gone, even while its worker still is there."""
    cores = tmp_path / "cores"
    agent = agent.with_environment(SPLITFLEET_CORE_LOCK=str(cores))
    agent.write([*PROGRAMS, faulty("hangs", "hang")])
    attempts = agent.results.with_name("results.jsonl.attempts")
    with agent.running() as process:
        assert wait_until(lambda: attempts.exists() and attempts.read_text() != "")
        (worker,) = children(process.pid)
        held = set()
        for link in Path(f"/proc/{worker}/fd").iterdir():
            with suppress(FileNotFoundError):  # it opens and closes files of its own meanwhile
                held.add(str(link.readlink()))
    assert not {str(cores / "core"), str(cores / "gate"), str(agent.results), f"{agent.results}.lock"} & held
    for lock in (cores / "core", cores / "gate", agent.results.with_name("results.jsonl.lock")):
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler for a library that crashes when it is opened")
def test_a_driver_that_crashes_when_it_is_opened(agent: Agent, tmp_path: Path) -> None:
    source, library = tmp_path / "crash.c", tmp_path / "libOpenCL.so"
    source.write_text("#include <stdlib.h>\n__attribute__((constructor)) static void begin(void) { abort(); }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    agent = agent.with_environment(SPLITFLEET_OPENCL=str(library))
    agent.write([quick("job")])
    done = agent.call("run", agent.jobs, agent.results)
    assert done.returncode == 3
    assert "OpenCL ends the process that opens it: restart the phone" in done.stderr
    assert agent.results.read_text() == ""


@contextmanager
def traced(thread: int) -> Iterator[None]:
    """A thread whose end this process has to take note of, and does not: its process cannot be reaped meanwhile."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_SEIZE, thread, None, None) != 0:
        pytest.skip(f"this system forbids ptrace: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        os.waitpid(thread, WALL)


def test_a_worker_that_cannot_be_ended(agent: Agent) -> None:
    """As a driver that is stuck in the kernel looks from outside: killed, and still there after ten seconds."""
    agent = agent.with_environment(SPLITFLEET_GRACE_S="20")
    agent.write([*PROGRAMS, faulty("hangs", "hang"), quick("next")])
    attempts = agent.results.with_name("results.jsonl.attempts")
    with agent.running() as process:
        assert wait_until(lambda: attempts.exists() and attempts.read_text() != "")
        (worker,) = children(process.pid)
        assert wait_until(lambda: len(list(Path(f"/proc/{worker}/task").iterdir())) > 1)
        threads = [int(task.name) for task in Path(f"/proc/{worker}/task").iterdir()]
        with traced(next(thread for thread in threads if thread != worker)):
            assert process.wait(240) == 3
    results = [line for line in agent.read() if line["type"] == "result"]
    assert [(line["id"], line["status"]) for line in results] == [("hangs", "timeout")]
    after = [(line["id"], line["status"]) for line in agent.again() if line["type"] == "result"]
    assert after == [("hangs", "timeout"), ("next", "ok")]
