"""Errors are for people: each names the phone (or the file) and the job, and says what to do next.

Each kind of error that Splitfleet defines is provoked here through public interfaces; a kind that is added is missed.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

import splitfleet.pipeline
import splitfleet.predictors
from splitfleet.kernels import Linear
from splitfleet.kernels.errors import DeviceError, HarnessError, SplitfleetError, UserError
from splitfleet.pipeline.adb_transport import AdbTransport
from splitfleet.pipeline.batch_follower import follow_batch
from splitfleet.pipeline.campaign import Phones, Repeat, load_campaign
from splitfleet.pipeline.devices import find_devices
from splitfleet.pipeline.directory import Directory
from splitfleet.pipeline.fleet import Fleet
from splitfleet.pipeline.jobs import JobFactory
from splitfleet.pipeline.ledger import Ledger
from splitfleet.pipeline.ledger.lease import LeaseLost
from splitfleet.pipeline.messages import (
    BatchStopped,
    PhoneArrived,
    PhoneCommand,
    ResultsRead,
    StartBatch,
    StatusChanged,
)
from splitfleet.pipeline.pace import Pace
from splitfleet.pipeline.phone import NoOpenCL, identify_android, prepare
from splitfleet.pipeline.phone_batch import AgentStopped, PhoneBatch
from splitfleet.pipeline.phone_state import PhoneState, PhoneStatus
from splitfleet.pipeline.progress import PlainProgress
from splitfleet.pipeline.quarantine import Quarantined, TroubleRecord
from splitfleet.pipeline.readings import Readings
from splitfleet.pipeline.run import Run
from splitfleet.pipeline.scheduling import Pacing
from splitfleet.pipeline.statuses import ADVICE
from splitfleet.pipeline.transport import (
    CommandTimeout,
    Deadlines,
    GarbledLink,
    PhoneStorageFull,
    PhoneUnauthorized,
    PhoneUnreachable,
)
from splitfleet.predictors.package import open_package
from splitfleet.predictors.traces import read_traces

from ..conftest import StartPhone
from ..infra.phones import PHONE
from .limits import files_up_to
from .profiles import profile

DEADLINES = Deadlines(connect_s=3.0, authorize_s=5.0, transfer_s=5.0)
NEXT_STEP = re.compile(
    r"\b(adb|add|build|check|choose|confirm|correct|free|get|give|make|mend|name|plug|remove|restart|run|set|splitfleet|take|"
    r"tell|try|unlock|use|wait|write)\b",
    re.IGNORECASE,
)
"""An imperative or a command."""
PROVOKED: set[type[SplitfleetError]] = set()


def complaint(kind: type[SplitfleetError], provoke: Callable[[], object], *names: object) -> str:
    """What the error says that this raises: it must be of this very kind, name these, and say what to do."""
    with pytest.raises(kind) as caught:
        provoke()
    assert type(caught.value) is kind
    text = str(caught.value)
    for name in names:
        assert str(name) in text
    what, _, rest = text.partition(": ")
    assert what
    assert NEXT_STEP.search(rest), f"what to do next? {text}"
    return text


def provokes(kind: type[SplitfleetError]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Marks a test that brings this kind of error about."""

    def note(test: Callable[..., None]) -> Callable[..., None]:
        PROVOKED.add(kind)
        return test

    return note


def kinds(of: type[SplitfleetError]) -> Iterator[type[SplitfleetError]]:
    for kind in of.__subclasses__():
        yield kind
        yield from kinds(kind)


def test_every_kind_is_provoked() -> None:
    for package in (splitfleet.pipeline, splitfleet.predictors):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    assert {kind for kind in kinds(SplitfleetError) if kind.__module__.startswith("splitfleet.")} == PROVOKED


@pytest.fixture
def adb(start_phone: StartPhone, home: Path) -> Iterator[AdbTransport]:
    transport = AdbTransport(start_phone().address, deadlines=DEADLINES)
    yield transport
    transport.close()


# Devices


@provokes(DeviceError)
def test_a_file_that_is_not_there(adb: AdbTransport, tmp_path: Path) -> None:
    complaint(
        DeviceError, lambda: adb.pull("/data/local/tmp/none", tmp_path / "none"), adb.name, "/data/local/tmp/none"
    )


@provokes(PhoneUnreachable)
def test_a_phone_that_is_gone(start_phone: StartPhone, home: Path) -> None:
    phone = start_phone()
    phone.process.terminate()
    phone.process.wait(timeout=60)
    complaint(PhoneUnreachable, lambda: AdbTransport(phone.address, deadlines=DEADLINES).run("true", 5), phone.address)


@provokes(PhoneUnauthorized)
def test_a_phone_that_denies(start_phone: StartPhone, home: Path) -> None:
    phone = start_phone(PHONE.replace('"always"', '"never"'))
    complaint(PhoneUnauthorized, lambda: AdbTransport(phone.address, deadlines=DEADLINES).run("true", 5), phone.address)


@provokes(GarbledLink)
def test_a_link_that_brings_too_much(adb: AdbTransport) -> None:
    complaint(GarbledLink, lambda: adb.run("cat /dev/zero", 60), adb.name)


@provokes(CommandTimeout)
def test_a_command_that_hangs(adb: AdbTransport) -> None:
    complaint(CommandTimeout, lambda: adb.run("sleep 5", 0.3), adb.name)


@provokes(PhoneStorageFull)
def test_a_full_phone(start_phone: StartPhone, home: Path) -> None:
    phone = start_phone(PHONE + "[storage]\nfree_bytes = 100000\n")
    transport = AdbTransport(phone.address, deadlines=DEADLINES)
    remote = "/data/local/tmp/big"
    complaint(PhoneStorageFull, lambda: transport.push(bytes(200_000), remote), phone.address, remote)
    transport.close()


@provokes(NoOpenCL)
def test_a_phone_without_opencl(one_agent: None, start_phone: StartPhone) -> None:
    phone = start_phone(PHONE + "[gpu]\nopencl = false\n")
    transport = AdbTransport(phone.address, deadlines=DEADLINES)
    complaint(NoOpenCL, lambda: prepare(transport, identify_android(transport)), phone.address)
    transport.close()


@provokes(AgentStopped)
def test_a_batch_that_breaks_off(adb: AdbTransport) -> None:
    [job] = [JobFactory(profile(), Repeat()).cpu(Linear(4, 8, 16), 1)]
    result = {"type": "result", "schema": 2, "id": job.id, "kind": "cpu", "status": "noisy", "error": "x"}
    batch = PhoneBatch(adb, "/no/agent", "mine-1")
    folder = f"{adb.folder}/batches/mine-1"
    adb.run(f"mkdir -p {folder}", 5)
    adb.push(f"{json.dumps(result)}\n[[[[\n".encode(), f"{folder}/results.jsonl")

    def follow() -> None:
        for _ in follow_batch(batch, 0, Pace(), threading.Event(), time.sleep):
            pass

    complaint(AgentStopped, follow, adb.name, "mine-1", job.id)


@provokes(Quarantined)
def test_a_phone_in_quarantine() -> None:
    """The worker puts the phone's address before it, as before each state's reason."""
    record = TroubleRecord(600.0)
    for number in range(3):
        record.note(f"batch mine-{number}: its agent said nothing", 0.0, "")

    def refuse() -> None:
        raise Quarantined(f"phone a: {record.sentence(0.0, '')}")

    complaint(Quarantined, refuse, "phone a", "batch mine-2")


def test_the_reason_of_a_state_does_not_repeat_the_address(start_phone: StartPhone, home: Path) -> None:
    phone = start_phone(PHONE.replace('"always"', '"never"'))
    [status] = find_devices(Phones(tcp=(phone.address,)))
    assert status.state is PhoneState.UNAUTHORIZED
    assert phone.address not in status.reason
    assert NEXT_STEP.search(status.reason)


# Users


@provokes(UserError)
def test_mistakes_in_files(tmp_path: Path) -> None:
    campaign, package = tmp_path / "bad.toml", tmp_path / "package.zip"
    campaign.write_text('name = "bad"\nlayers = 3\n')
    package.write_bytes(b"no zip")
    complaint(UserError, lambda: load_campaign(campaign), campaign)
    complaint(UserError, lambda: load_campaign(tmp_path / "none.toml"), tmp_path / "none.toml")
    complaint(UserError, lambda: open_package(package), package)
    complaint(UserError, lambda: read_traces(tmp_path), tmp_path)
    complaint(UserError, lambda: Ledger(tmp_path, read_only=True), tmp_path)


def test_no_phone_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no phone is named: add \[phones\]"):
        Fleet(Phones(), tmp_path, PlainProgress(Console()), cluster="")


def test_a_folder_that_another_driver_has(home: Path, tmp_path: Path) -> None:
    with Ledger(tmp_path):
        complaint(UserError, lambda: Ledger(tmp_path), tmp_path)


@provokes(LeaseLost)
def test_a_driver_whose_folder_was_taken_over(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger(tmp_path) as first:
        monkeypatch.setenv("SPLITFLEET_HOME", str(tmp_path / "another-host"))
        with Ledger(tmp_path, take_over=True):
            complaint(LeaseLost, lambda: first.put("key", "value"), tmp_path)


# The harness


@provokes(HarnessError)
def test_a_folder_that_cannot_be_written(home: Path, tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger, files_up_to(1):
        complaint(HarnessError, lambda: ledger.put("key", "value"), tmp_path)


# Kernels that fail on a phone are results


class Silent:
    """Takes commands, and does nothing."""

    def __init__(self) -> None:
        self.given: list[StartBatch] = []

    def command(self, address: str, session: int, command: PhoneCommand) -> None:
        if isinstance(command, StartBatch):
            self.given.append(command)


@pytest.mark.parametrize("status", sorted(ADVICE))
def test_a_job_without_a_time_names_itself_and_what_to_do(status: str, tmp_path: Path, home: Path) -> None:
    found, broker = profile(), Silent()
    jobs = [JobFactory(found, Repeat()).cpu(Linear(4, 8, 16), 1)]
    result = {"type": "result", "id": jobs[0].id, "status": status, "error": "the agent's words", "elapsed_us": 1}
    pacing = Pacing(probe_every_s=0, sister_fraction=0)
    with Ledger(tmp_path) as ledger:
        run = Run({found.device_class: jobs}, "measure", ledger, Directory(ledger), broker, seed=0, pacing=pacing)
        run.take(StatusChanged(PhoneStatus("a", PhoneState.READY)), PhoneArrived("a", 1, "serial", found, ()))
        while broker.given:
            batch = broker.given.pop().batch
            run.take(ResultsRead("a", batch, (result,), 1), BatchStopped("a", batch, Readings(), Readings()))
        assert run.scheduler.is_finished
        [line] = run.lines()
    assert line.label == "test-phone-1"
    assert line.trouble == f"job {jobs[0].id[:8]}: {status}: the agent's words; {ADVICE[status]}"
    assert NEXT_STEP.search(ADVICE[status])
