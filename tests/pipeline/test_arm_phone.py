"""A phone that says arm64-v8a: the host's choice of agent, the push, and a batch, executed by the real arm64 agent.

The virtual phone has no processor of its own kind, so what is pushed is a script that runs the agent under qemu-user.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from splitfleet.kernels.operators import Linear
from splitfleet.pipeline.adb_transport import AdbTransport
from splitfleet.pipeline.campaign import Repeat
from splitfleet.pipeline.jobs import JobFactory, job_file
from splitfleet.pipeline.phone import identify_android, prepare

from ..arm64 import OPENCL, build_arm_agent, emulator, needs_compiler, needs_opencl, needs_qemu, pocl_environment
from ..conftest import StartPhone
from ..infra.phones import PHONE, wait_until

pytestmark = [pytest.mark.peer, needs_compiler, needs_qemu, needs_opencl]

# Much patience: emulated repetitions are long, and the machine that runs the tests may be busy.
QUICK = Repeat(warmup=1, min_count=1, min_time_us=0, max_count=2, max_time_us=5_000_000)


@pytest.fixture
def arm_agent(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    variables = pocl_environment(tmp_path / "cache", tmp_path / "tools")
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    command = shlex.join([*emulator(OPENCL), str(build_arm_agent())])
    script = tmp_path / "agent"
    script.write_text(f'#!/bin/sh\n{exports}exec {command} "$@"\n')
    monkeypatch.setenv("SPLITFLEET_AGENT_ARM64_V8A", str(script))
    return script


def test_a_batch_on_an_arm_phone(arm_agent: Path, start_phone: StartPhone) -> None:
    phone = start_phone(PHONE + '[properties]\n"ro.product.cpu.abi" = "arm64-v8a"\n')
    transport = AdbTransport(phone.address)
    ready = prepare(transport, identify_android(transport))
    assert ready.identity.abi == "arm64-v8a"
    assert not ready.profile.device.in_kernel_signal
    [pushed] = (phone.root / "data/local/tmp/splitfleet").glob("agent-*")
    assert pushed.read_bytes() == arm_agent.read_bytes()
    make = JobFactory(ready.profile, QUICK)
    batch = ready.batch("arm-1")
    batch.put(job_file([make.cpu(Linear(4, 32, 64), 1), make.gpu(Linear(4, 32, 64))]))
    batch.start()
    assert wait_until(lambda: any(line["type"] == "end" for line in batch.read(0).lines))
    lines = batch.read(0).lines
    assert lines[0]["isa"] == "neon"
    assert [line["error"] for line in lines if line["type"] == "result"] == [None, None]
    batch.remove()
    transport.close()
