"""What a phone with a kernel fault makes of the job files that are pushed to it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from splitfleet.infra.virtual_phone.faults import Kernel
from splitfleet.infra.virtual_phone.kernel_faults import KernelFaults

PROGRAM = {"type": "program", "id": "p", "source": "__kernel void a(int x) { b(x); }", "options": ""}


def job(name: str, kind: str = "gpu") -> dict[str, Any]:
    return {"type": "job", "id": name, "kind": kind, "plan": {"program": "p"}}


def pushed(phone: KernelFaults, *lines: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the phone stores, by id."""
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return {line["id"]: line for line in map(json.loads, phone.tamper(content).splitlines())}


@pytest.fixture
def phone() -> KernelFaults:
    phone = KernelFaults()
    phone.order(Kernel(kind="kernel", effect="nonsense", job=2))
    return phone


def test_only_the_job_with_the_number_has_another_program(phone: KernelFaults) -> None:
    stored = pushed(phone, PROGRAM, job("j1"), job("s", "sync"), job("j2"), job("j3"))
    assert [stored[name]["plan"]["program"] for name in ("j1", "s", "j2", "j3")] == ["p", "p", "p-nonsense", "p"]
    assert stored["p"] == PROGRAM
    assert stored["p-nonsense"]["source"] == "__kernel void a(int x) { return;  b(x); }"


def test_a_job_keeps_its_fault_when_it_comes_again(phone: KernelFaults) -> None:
    pushed(phone, PROGRAM, job("j1"), job("j2"))
    assert pushed(phone, PROGRAM, job("j2"), job("j4"))["j2"]["plan"]["program"] == "p-nonsense"
    phone.clear()
    assert pushed(phone, PROGRAM, job("j2"))["j2"]["plan"]["program"] == "p"


def test_what_is_no_job_file_stays_as_it_is(phone: KernelFaults) -> None:
    assert phone.tamper(b"\xff\xfe no JSON\n") == b"\xff\xfe no JSON\n"
    assert phone.tamper(b"[1]\n") == b"[1]\n"
