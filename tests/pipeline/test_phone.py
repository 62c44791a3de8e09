"""Recognising a phone and bringing the agent onto it: the real agent on a virtual phone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from splitfleet.kernels.errors import DeviceError
from splitfleet.kernels.operators import Linear
from splitfleet.pipeline.adb_transport import AdbTransport
from splitfleet.pipeline.agent_build import agents_folder, sources_digest
from splitfleet.pipeline.jobs import JobFactory, job_file
from splitfleet.pipeline.local_device import local_transport
from splitfleet.pipeline.phone import NoOpenCL, identify_android, identify_host, prepare

from ..infra.phones import PHONE, RunningPhone, wait_until
from .test_phone_worker import QUICK, jobs_for

StartPhone = Callable[..., RunningPhone]


def test_a_profile_carries_no_serial(one_agent: None, start_phone: StartPhone) -> None:
    phone = start_phone()
    transport = AdbTransport(phone.address)
    ready = prepare(transport, identify_android(transport))
    transport.close()
    assert ready.identity.serial == "test-phone"
    assert "test-phone" not in json.dumps(ready.profile.to_json()).replace(ready.profile.device_class, "")
    assert ready.profile.core_mask == 0b10
    assert ready.profile.device.name


def test_the_agent_is_pushed_only_when_it_differs(one_agent: None, start_phone: StartPhone) -> None:
    phone = start_phone()
    transport = AdbTransport(phone.address)
    identity = identify_android(transport)
    agent = prepare(transport, identity).agent
    on_disk = phone.root / agent.lstrip("/")
    before = on_disk.stat().st_ino
    prepare(transport, identity)
    assert on_disk.stat().st_ino == before
    on_disk.write_bytes(b"damaged")
    prepare(transport, identity)
    assert on_disk.stat().st_size > 10_000
    transport.close()


def test_a_phone_without_opencl(one_agent: None, start_phone: StartPhone) -> None:
    phone = start_phone(PHONE + "[gpu]\nopencl = false\n")
    transport = AdbTransport(phone.address)
    with pytest.raises(NoOpenCL, match="has no usable OpenCL"):
        prepare(transport, identify_android(transport))
    transport.close()


@pytest.mark.parametrize(
    ("abi", "advice"),
    [
        ("arm64-v8a", "splitfleet agent build --abi arm64-v8a --ndk FOLDER"),
        ("armeabi-v7a", "take it out of the campaign, or set SPLITFLEET_AGENT_ARMEABI_V7A"),
    ],
)
def test_no_agent_for_this_abi(one_agent: None, start_phone: StartPhone, abi: str, advice: str) -> None:
    phone = start_phone(PHONE + f'[properties]\n"ro.product.cpu.abi" = "{abi}"\n')
    transport = AdbTransport(phone.address)
    with pytest.raises(DeviceError, match=advice):
        prepare(transport, identify_android(transport))
    transport.close()


def test_an_agent_built_for_the_abi_is_pushed(home: Path, start_phone: StartPhone) -> None:
    """What is pushed cannot run here; it must arrive, and be found out."""
    phone = start_phone(PHONE + '[properties]\n"ro.product.cpu.abi" = "arm64-v8a"\n')
    agent = agents_folder() / "0123456789abcdef" / "splitfleet-agent"
    agent.parent.mkdir(parents=True)
    agent.write_bytes(b"\x7fELF of another processor")
    facts = {"abi": "arm64-v8a", "isa": "armv8-a", "compiler": "clang 18", "sources": sources_digest()}
    agent.with_name("build.json").write_text(json.dumps(facts))
    transport = AdbTransport(phone.address)
    with pytest.raises(DeviceError, match="was it built for this phone's ABI"):
        prepare(transport, identify_android(transport))
    [pushed] = (phone.root / "data/local/tmp/splitfleet").glob("agent-*")
    assert pushed.read_bytes() == agent.read_bytes()
    agent.with_name("build.json").write_text(json.dumps({**facts, "sources": "older"}))
    with pytest.raises(DeviceError, match="no agent of this version is built for it"):
        prepare(transport, identify_android(transport))
    transport.close()
    shutil.rmtree(agent.parent)


def test_this_host_is_a_device_too(one_agent: None, tmp_path: Path) -> None:
    transport = local_transport(tmp_path / "device")
    ready = prepare(transport, identify_host())
    batch = ready.batch("mine-1")
    jobs = [*jobs_for(ready, 2), JobFactory(ready.profile, QUICK).gpu(Linear(4, 32, 64))]
    batch.put(job_file(jobs))
    batch.start()
    assert wait_until(lambda: any(line["type"] == "end" for line in batch.read(0).lines))
    statuses = [line["status"] for line in batch.read(0).lines if line["type"] == "result"]
    assert len(statuses) == 3
    assert set(statuses) <= {"ok", "noisy"}
    batch.remove()
