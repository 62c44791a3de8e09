"""Faults of the agent on a phone, tried on a program that looks like one."""

from __future__ import annotations

import json

import pytest
from adb_shell.adb_device import AdbDeviceTcp
from adb_shell.auth.sign_cryptography import CryptographySigner

from splitfleet.infra.virtual_phone.agent_faults import garbage

from ..conftest import StartPhone
from .hosts import host
from .phones import PHONE, RunningPhone, wait_until

FOLDER = "/data/local/tmp"
AGENT = """#!/bin/sh
echo '{"type": "agent"}' >>"$3"
n=0
while sleep 0.02; do n=$((n + 1)); echo "{\\"type\\": \\"result\\", \\"id\\": \\"$n\\"}" >>"$3"; done
"""


def start_agent(phone: RunningPhone, device: AdbDeviceTcp) -> None:
    """A shell whose command line is that of an agent: `agent-1 run JOBS RESULTS`."""
    (phone.root / FOLDER[1:] / "script").write_text(AGENT)
    (phone.root / FOLDER[1:] / "agent-1").symlink_to("/bin/sh")
    # sh takes "run" for the name of its script.
    device.shell(
        f"cd {FOLDER} && ln -sf script run && setsid nohup ./agent-1 run run jobs results.jsonl "
        ">/dev/null 2>&1 </dev/null & sleep 1"
    )


def content(phone: RunningPhone) -> bytes:
    file = phone.root / FOLDER[1:] / "results.jsonl"
    return file.read_bytes() if file.exists() else b""


def grows(phone: RunningPhone) -> bool:
    size = len(content(phone))
    return wait_until(lambda: len(content(phone)) > size, 0.5)


def test_killed_and_torn(start_phone: StartPhone, key: CryptographySigner) -> None:
    phone = start_phone()
    with host(phone, key) as device:
        start_agent(phone, device)
        phone.order("agent", effect="torn", after_results=20, seed=3)
        assert wait_until(lambda: content(phone) and not content(phone).endswith(b"\n"))
        assert not grows(phone)
        lines = content(phone).splitlines()
        assert len(lines) > 21
        assert [json.loads(line)["type"] for line in lines[:-1]] == ["agent"] + ["result"] * (len(lines) - 2)
        assert lines[-1] in lines[-2]


def test_hung_for_a_while(start_phone: StartPhone, key: CryptographySigner) -> None:
    phone = start_phone()
    with host(phone, key) as device:
        start_agent(phone, device)
        phone.order("agent", effect="hang")
        assert wait_until(lambda: not grows(phone))
        phone.order("clear")
        assert wait_until(lambda: grows(phone))
        phone.order("agent", effect="hang", seconds=5)
        assert wait_until(lambda: not grows(phone))
        assert wait_until(lambda: grows(phone))
        phone.order("agent", effect="kill")
        assert wait_until(lambda: not grows(phone))


def test_garbage_and_a_result_that_comes_twice(start_phone: StartPhone, key: CryptographySigner) -> None:
    phone = start_phone()
    with host(phone, key) as device:
        start_agent(phone, device)
        phone.order("agent", effect="duplicate")
        assert wait_until(lambda: len(set(lines := content(phone).splitlines())) == len(lines) - 1)
        phone.order("agent", effect="garbage", seed=2)
        assert wait_until(lambda: garbage(2) in content(phone))
        assert wait_until(lambda: grows(phone))


def test_every_garbage_is_one_line_and_the_same_for_a_seed() -> None:
    made = [garbage(seed) for seed in range(100)]
    assert made == [garbage(seed) for seed in range(100)]
    assert all(line.count(b"\n") == 1 and line.endswith(b"\n") for line in made)
    assert len(set(made)) > 10


def test_the_clock_jumps_for_running_programs_too(start_phone: StartPhone, key: CryptographySigner) -> None:
    phone = start_phone(PHONE + "adjustable_clock = true\n")
    watch = f"while sleep 0.02; do date +%Y > {FOLDER}/year.new; mv {FOLDER}/year.new {FOLDER}/year; done"
    with host(phone, key) as device:
        year = int(device.shell("date +%Y"))
        device.shell(f"setsid nohup sh -c '{watch}' >/dev/null 2>&1 </dev/null & sleep 1")
        phone.order("clock", seconds=3 * 366 * 86_400)
        later = int(device.shell("date +%Y"))
        assert later in (year + 3, year + 4)
        assert wait_until(lambda: device.shell(f"cat {FOLDER}/year").strip() == str(later))
        phone.order("clock", seconds=-5 * 365.25 * 86_400)
        assert int(device.shell("date +%Y")) in (year - 3, year - 2)


def test_a_clock_that_cannot_be_set(start_phone: StartPhone, key: CryptographySigner) -> None:
    assert "adjustable_clock = true" in start_phone().order("clock", seconds=5)


@pytest.mark.parametrize("allowed", [False, True])
def test_revoked_until_cleared(allowed: bool, start_phone: StartPhone, key: CryptographySigner) -> None:
    phone = start_phone()
    phone.order("unauthorized")
    if allowed:
        phone.order("clear")
        with host(phone, key, auth_timeout_s=5) as device:
            assert device.shell("echo here") == "here\n"
    else:
        with pytest.raises(Exception, match=r"Timeout|timed out"), host(phone, key, auth_timeout_s=0.3):
            pass
