"""The agent for 64-bit Arm, cross-compiled and run under qemu-user: on NEON, and on Debian's PoCL for arm64.

qemu keeps the order of an x86 host's memory accesses. So this proves the arm64 code, its loading of OpenCL and the form
of the signal that Arm needs (a kernel of its own behind the half), but not what Arm's weaker order does to it.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from splitfleet.kernels import Conv2d, Device, Linear, lower, lower_half, lower_sync

from ..arm64 import OPENCL, build_arm_agent, emulator, needs_compiler, needs_opencl, needs_qemu, pocl_environment
from .driver import Agent
from .jobs import CPU, conv2d, cpu, job, linear
from .test_build import MAX_AGENT_BYTES
from .test_lowered_plans import check, programs

CROSS = Path("/usr/aarch64-linux-gnu")

pytestmark = [pytest.mark.peer, needs_compiler]


@pytest.fixture(scope="session")
def arm_program() -> Path:
    return build_arm_agent()


@pytest.fixture
def arm_agent(arm_program: Path, tmp_path: Path) -> Agent:
    return Agent(arm_program, tmp_path, {"SPLITFLEET_OPENCL": "/none/libOpenCL.so"}, emulator(CROSS))


@pytest.fixture
def arm_agent_on_pocl(arm_program: Path, kernel_cache: Path, tmp_path: Path) -> Agent:
    environment = pocl_environment(kernel_cache / "arm64", tmp_path / "tools")
    return Agent(arm_program, tmp_path, environment, emulator(OPENCL))


def elf(program: Path, what: str) -> str:
    return subprocess.run(
        ["aarch64-linux-gnu-readelf", "--wide", what, str(program)], capture_output=True, text=True, check=True
    ).stdout


def test_the_program_is_small_and_needs_the_c_library_alone(arm_program: Path) -> None:
    assert arm_program.stat().st_size < MAX_AGENT_BYTES
    needed = set(re.findall(r"NEEDED.*\[(.*?)\]", elf(arm_program, "--dynamic")))
    assert "libc.so.6" in needed
    assert needed <= {"libc.so.6", "libm.so.6", "ld-linux-aarch64.so.1"}


def test_segments_fit_pages_of_16_kib(arm_program: Path) -> None:
    alignments = re.findall(r"^\s*LOAD\s.*\s0x([0-9a-f]+)$", elf(arm_program, "--program-headers"), re.MULTILINE)
    assert alignments
    assert all(int(alignment, 16) % 16384 == 0 for alignment in alignments)


@needs_qemu
def test_info_on_arm(arm_agent: Agent) -> None:
    info = arm_agent.info()
    assert (info["agent"]["architecture"], info["agent"]["isa"]) == ("aarch64", "neon")
    assert info["agent"]["build"] == arm_agent.program.parent.name
    assert info["opencl"] is None
    assert "/none/libOpenCL.so" in info["opencl_error"]


@needs_qemu
def test_cpu_jobs_on_neon(arm_agent: Agent) -> None:
    results = arm_agent.run([cpu("linear", linear(7, 61, 45)), cpu("conv", conv2d(9, 5, 11))])
    check(results, 2)


@needs_qemu
@needs_opencl
def test_lowered_plans_on_arm(arm_agent_on_pocl: Agent) -> None:
    """Each kind of job, with the plans that lowering makes for such a phone, joined in every way."""
    info = arm_agent_on_pocl.info()
    assert "aarch64" in info["opencl"]["device_version"]
    device = Device.from_capabilities(info)
    assert device.svm_polling
    assert not device.in_kernel_signal
    operator = Linear(rows=20, in_features=48, out_features=40)
    convolution = Conv2d(7, 7, 8, 12, 3, 3, 1, 1, 1)
    whole, half = lower(operator, device), lower_half(operator, 16, device)
    convolved = lower(convolution, device)
    joining = lower_sync(device)
    assert half.launches[-1].kernel == "raise_signal"
    joins = ("svm_poll", "event_wait", "finish")
    wholes = [(operator, whole), (convolution, convolved)]
    jobs = [
        job(f"gpu-{i}-{join}", "gpu", operator=one.to_json(), plan=plan.to_json(), wait=join)
        for i, (one, plan) in enumerate(wholes)
        for join in joins
    ]
    split = {"operator": operator.to_json(), "plan": half.to_json(), "cut": 16, **CPU}
    jobs += [job(f"both-{join}", "coexec", join=join, **split) for join in joins]
    sync = {"plan": joining.to_json(), "checked_joins": 500, **CPU}
    jobs += [job(f"sync-{join}", "sync", join=join, **sync) for join in joins]
    results = arm_agent_on_pocl.run([*programs([whole, half, convolved, joining]), *jobs])
    assert {name: result["status"] for name, result in results.items()} == {line["id"]: "ok" for line in jobs}
    assert all(result["max_relative_error"] < 1e-5 for name, result in results.items() if "sync" not in name)
    assert all(result["mismatches"] == 0 for name, result in results.items() if "sync" in name)
