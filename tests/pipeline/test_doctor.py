"""What doctor says of a host and of phones, well and ill."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from splitfleet.kernels.errors import DeviceError, UserError
from splitfleet.pipeline import doctor_host
from splitfleet.pipeline.adb_link import host_key
from splitfleet.pipeline.broker import find_places
from splitfleet.pipeline.campaign import Phones
from splitfleet.pipeline.cli.output import print_table
from splitfleet.pipeline.conditions import Conditions
from splitfleet.pipeline.doctor import examine
from splitfleet.pipeline.doctor_phone import phone_check
from splitfleet.pipeline.findings import Finding, Grade, NamedCheck, run_checks
from splitfleet.pipeline.transport import Deadlines

from ..infra.phones import PHONE, RunningPhone

StartPhone = Callable[..., RunningPhone]


def examined(address: str, tmp_path: Path) -> dict[str, Finding]:
    [place] = find_places(Phones(tcp=(address,)), tmp_path, Deadlines(authorize_s=5.0))
    return {finding.subject: finding for finding in run_checks([phone_check(place, Conditions())])}


def test_phones_are_examined_where_usb_cannot_be(
    home: Path, one_agent: None, start_phone: StartPhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unusable() -> list[str]:
        raise UserError("USB cannot be used: install libusb")

    monkeypatch.setattr("splitfleet.pipeline.broker.usb_serials", unusable)
    monkeypatch.setattr("splitfleet.pipeline.doctor.host_checks", list)
    phone = start_phone()
    found = examine(Phones(tcp=(phone.address,), usb=True))
    assert (found[0].subject, found[0].text) == ("usb", "USB cannot be used: install libusb")
    assert {finding.place for finding in found[1:]} == {phone.address}


def test_a_full_disk_is_a_finding_of_its_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.TemporaryDirectory", full)
    monkeypatch.setattr("splitfleet.pipeline.doctor.host_checks", list)
    [found] = examine(Phones(tcp=("127.0.0.1:1",)))
    assert (found.subject, found.grade) == ("disk", Grade.PROBLEM)
    assert "No usable temporary directory" in found.text


def of_host(subject: str) -> list[Finding]:
    return run_checks(check for check in doctor_host.host_checks() if check.subject == subject)


def test_a_phone_that_is_well(one_agent: None, start_phone: StartPhone, tmp_path: Path) -> None:
    found = examined(start_phone().address, tmp_path)
    assert {finding.grade for finding in found.values()} == {Grade.OK}
    expected = ["authorized", "battery", "temperature", "disk", "screen", "clock", "fixed-performance mode", "agent"]
    assert list(found) == expected
    assert re.match(r"answers; OpenCL on .*; device class test-phone-[0-9a-f]{8}$", found["agent"].text)


@pytest.mark.parametrize(
    ("fault", "subject", "grade", "text"),
    [
        ({"kind": "thermal-status", "status": 3}, "cooling", Grade.WARNING, "thermal status 3"),
        (
            {"kind": "battery", "level": 9, "status": "discharging", "powered_by": "none"},
            "low-battery", Grade.PROBLEM, "charge it to 30 %",
        ),
        ({"kind": "load", "load": 9.0}, "busy", Grade.WARNING, "other programs load it"),
    ],
)  # fmt: skip
def test_a_phone_that_is_ill(
    one_agent: None,
    start_phone: StartPhone,
    tmp_path: Path,
    fault: dict[str, object],
    subject: str,
    grade: Grade,
    text: str,
) -> None:
    phone = start_phone()
    phone.order(**fault)  # type: ignore[arg-type]
    found = examined(phone.address, tmp_path)[subject]
    assert found.grade is grade
    assert text in found.text


@pytest.mark.parametrize(
    ("description", "subject", "text"),
    [
        (PHONE.replace("always", "never"), "phone", 'confirm "Allow USB debugging"'),
        (PHONE + "[gpu]\nopencl = false\n", "agent", "has no usable OpenCL"),
        (PHONE + '[properties]\n"ro.product.cpu.abi" = "armeabi-v7a"\n', "agent", "agents are made for"),
        (PHONE + "[storage]\nfree_bytes = 1000\n", "disk-full", "disk full: 0 MiB are free"),
    ],
)
def test_a_phone_that_cannot_be_used(
    one_agent: None, start_phone: StartPhone, tmp_path: Path, description: str, subject: str, text: str
) -> None:
    found = examined(start_phone(description).address, tmp_path)[subject]
    assert found.grade is Grade.PROBLEM
    assert text in found.text


def test_the_key_is_for_its_owner_only(home: Path) -> None:
    host_key()
    assert [finding.grade for finding in of_host("adb key")] == [Grade.OK]
    (home / "adbkey").chmod(0o640)
    [finding] = of_host("adb key")
    (home / "adbkey").chmod(0o600)
    assert finding.grade is Grade.PROBLEM
    assert f"chmod 600 {home / 'adbkey'}" in finding.text


@pytest.fixture
def adb_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """What answers as Debian's adb does on its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener.accept()[0] as peer:
            assert peer.recv(100) == b"000chost:version"
            peer.sendall(b"OKAY00040029")

    thread = threading.Thread(target=serve)
    thread.start()
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(listener.getsockname()[1]))
    yield listener.getsockname()[1]
    thread.join()
    listener.close()


def test_an_adb_server_that_holds_the_phones(adb_server: int) -> None:
    [finding] = of_host("adb server")
    assert finding.grade is Grade.WARNING
    assert f"adb -P {adb_server} kill-server" in finding.text


def test_no_adb_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    assert [finding.grade for finding in of_host("adb server")] == [Grade.OK]


@pytest.mark.parametrize(
    ("uri", "grade"), [("http://127.0.0.1:1", Grade.PROBLEM), ("sqlite:////tmp/none-yet/mlflow.db", Grade.OK)]
)
def test_the_tracking_store(monkeypatch: pytest.MonkeyPatch, uri: str, grade: Grade) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert [finding.grade for finding in of_host("mlflow")] == [grade]


def test_a_check_that_hangs_is_a_finding() -> None:
    def fast() -> Iterator[Finding]:
        yield Finding("host", "fast", Grade.OK, "done")

    def slow() -> Iterator[Finding]:
        yield Finding("host", "slow", Grade.OK, "begun")
        time.sleep(30)

    def broken() -> Iterator[Finding]:
        yield Finding("host", "broken", Grade.OK, "begun")
        raise ZeroDivisionError

    def unlucky() -> Iterator[Finding]:
        raise DeviceError("phone x: offline")

    checks = [
        NamedCheck("host", check.__name__, check, 3 if check is slow else 30) for check in (slow, fast, broken, unlucky)
    ]
    found = [(finding.subject, finding.grade, finding.text.partition(";")[0]) for finding in run_checks(checks)]
    assert found == [
        ("slow", Grade.OK, "begun"),
        ("slow", Grade.PROBLEM, "no answer within 3 s"),
        ("fast", Grade.OK, "done"),
        ("broken", Grade.OK, "begun"),
        ("broken", Grade.PROBLEM, "the check failed: ZeroDivisionError()"),
        ("unlucky", Grade.PROBLEM, "phone x: offline"),
    ]


def test_brackets_in_a_finding_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Findings", ["finding "], [["pip install 'splitfleet[fleet]' [/] [red]"]])
    assert "'splitfleet[fleet]' [/] [red]" in capsys.readouterr().out


def test_the_verb_prints_a_table_and_says_problems_by_its_exit_code(
    home: Path, one_agent: None, start_phone: StartPhone
) -> None:
    phone = start_phone()
    phone.order("disk-full")
    command = [sys.executable, "-c", "from splitfleet.pipeline.cli import main; main()", "doctor", "--json"]
    done = subprocess.run(
        [*command, "--phone", phone.address], capture_output=True, text=True, timeout=300, env=dict(os.environ)
    )
    found = json.loads(done.stdout)
    assert {"host", phone.address} == {finding["place"] for finding in found}
    subjects = {finding["subject"] for finding in found if finding["place"] == "host"}
    assert subjects == {"python", "ray", "usb", "adb server", "adb key", "disk", "mlflow", "compiler", "opencl"}
    [ray] = [finding for finding in found if finding["subject"] == "ray"]
    assert ray["grade"] == "ok" or "overloaded" in ray["text"], ray
    problems = [finding["text"] for finding in found if finding["grade"] == "problem"]
    assert any("disk full" in text for text in problems)
    assert done.returncode == 1
