"""Whole campaigns: Ray, virtual phones, the real agent, and what may go wrong in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from splitfleet.kernels.errors import DeviceError, UserError
from splitfleet.pipeline.campaign_run import CampaignSummary, campaign_of, campaign_status, run_campaign
from splitfleet.pipeline.campaign_status import stop_campaign
from splitfleet.pipeline.fleet import FleetSettings
from splitfleet.pipeline.ingestion import ingest
from splitfleet.pipeline.ledger import Ledger
from splitfleet.pipeline.progress import PlainProgress
from splitfleet.predictors.traces import read_traces

from ..infra.phones import PHONE, RunningPhone, wait_until
from .campaigns import write_campaign

StartPhone = Callable[..., RunningPhone]
Run = Callable[..., CampaignSummary]

PHONE_B = PHONE.replace("test-phone", "other-phone").replace("Test Phone", "Other Phone")
PHONE_B += "[gpu]\nmax_work_group_size = 16\n"


@pytest.fixture
def said(tmp_path: Path) -> Path:
    """What the campaign printed."""
    return tmp_path / "said"


@pytest.fixture
def run(ray: None, settings: FleetSettings, said: Path) -> Run:
    def run(file: Path, folder: Path) -> CampaignSummary:
        with said.open("a") as output:
            progress = PlainProgress(Console(file=output, width=200))
            return run_campaign(file, folder, progress=progress, settings=settings)

    return run


def accepted(folder: Path) -> dict[str, str]:
    """Each accepted trace's key and content."""
    with Ledger(folder, read_only=True) as ledger:
        return {f"{row['job']} {row['purpose']} {row['attempt']}": row["result"] for row in ledger.accepted()}


def assert_complete(summary: CampaignSummary, folder: Path, classes: int) -> pd.DataFrame:
    """Every job of every class has exactly one trace."""
    assert len(summary.counts) == classes
    assert all(row.done + row.rejected == row.jobs > 0 for row in summary.counts)
    traces = read_traces(folder)
    assert len(traces) == sum(row.jobs for row in summary.counts)
    assert not traces.duplicated(["job_id", "purpose"]).any()
    return traces


def test_two_phones_of_two_classes(run: Run, start_phone: StartPhone, tmp_path: Path) -> None:
    phones = [start_phone(PHONE, "a"), start_phone(PHONE_B, "b")]
    folder = tmp_path / "run"
    file = write_campaign(tmp_path, *(phone.address for phone in phones), samples=20, job_us=50_000)
    summary = run(file, folder)
    traces = assert_complete(summary, folder, classes=2)
    assert set(traces["phone"]) == {"test-phone-1", "other-phone-1"}
    assert set(traces["kind"]) == {"gpu", "cpu", "sync"}
    assert set(traces.loc[traces["status"] == "ok", "kind"]) == {"gpu", "cpu", "sync"}
    spans = traces.groupby("phone")["started_unix_us"].agg(["min", "max"])
    assert spans["min"].max() < spans["max"].min(), "the phones were served one after the other"
    assert campaign_of(folder).name == campaign_status(folder).name == "tiny"
    for phone in phones:
        assert list((phone.root / "data/local/tmp/splitfleet/batches").iterdir()) == []
    for path in [*(folder / "profiles").iterdir(), *(folder / "traces").rglob("*.parquet")]:
        assert b"other-phone" not in path.read_bytes().replace(b"other-phone-", b""), "a serial"
    assert {phone["serial"] for phone in json.loads((folder / "phones.json").read_text())["phones"]} == {
        "test-phone",
        "other-phone",
    }


def test_nothing_is_measured_again(run: Run, start_phone: StartPhone, tmp_path: Path) -> None:
    file = write_campaign(tmp_path, start_phone().address)
    folder = tmp_path / "run"
    run(file, folder)
    before = accepted(folder)
    parquet = next((folder / "traces").rglob("*.parquet"))
    content = parquet.read_bytes()
    parquet.unlink()
    run(file, folder)
    assert accepted(folder) == before
    assert parquet.read_bytes() == content, "traces can be derived again"


DRIVER = """
import json, sys
from pathlib import Path
from rich.console import Console
from splitfleet.pipeline.campaign_run import run_campaign
from splitfleet.pipeline.fleet import FleetSettings
from splitfleet.pipeline.pace import Pace
from splitfleet.pipeline.progress import PlainProgress
run_campaign(Path(sys.argv[1]), Path(sys.argv[2]), progress=PlainProgress(Console(stderr=True)),
             settings=FleetSettings(pace=Pace(poll_s=0.1)))
"""


def under_way(folder: Path) -> bool:
    """Whether some results have been accepted."""
    try:
        return sum(row.done + row.rejected for row in campaign_status(folder).counts) >= 3
    except UserError:
        return False


@contextmanager
def once_under_way(folder: Path, action: Callable[[], object]) -> Iterator[None]:
    """While the block runs, does something as soon as the campaign is under way."""

    def wait_and_act() -> None:
        if wait_until(lambda: under_way(folder)):
            action()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    yield
    thread.join()


@contextmanager
def driver_of(file: Path, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A campaign in a process of its own, once it is under way."""
    with subprocess.Popen([sys.executable, "-c", DRIVER, str(file), str(folder)]) as process:
        try:
            assert wait_until(lambda: process.poll() is not None or under_way(folder))
            assert process.poll() is None
            yield process
        finally:
            process.kill()


def ray_processes(driver: int) -> list[str]:
    """Processes, not yet dead, that carry the driver's Ray folder in their environment or arguments."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                state = (path / "stat").read_text().rpartition(") ")[2][0]
                text = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
            except OSError:
                continue
            if f"splitfleet-ray-{driver}-".encode() in text and state != "Z":
                found.append(path.name)
    return found


def test_killed_in_the_middle_it_goes_on(run: Run, start_phone: StartPhone, tmp_path: Path) -> None:
    phone = start_phone()
    folder = tmp_path / "run"
    file = write_campaign(tmp_path, phone.address, samples=40, job_us=50_000)
    with driver_of(file, folder) as driver:
        with pytest.raises(UserError, match=f"is being worked on by process {driver.pid} on host"):
            run(file, folder)
        driver.kill()
    before = accepted(folder)
    summary = run(file, folder)
    assert_complete(summary, folder, classes=1)
    after = accepted(folder)
    assert len(before) < len(after)
    assert before.items() <= after.items(), "something done before was measured again"
    assert wait_until(lambda: not ray_processes(driver.pid))


def test_ctrl_c_keeps_what_was_measured(run: Run, start_phone: StartPhone, tmp_path: Path) -> None:
    phone = start_phone()
    folder = tmp_path / "run"
    file = write_campaign(tmp_path, phone.address, samples=80, job_us=50_000)
    with driver_of(file, folder) as driver:
        os.kill(driver.pid, signal.SIGINT)
        assert driver.wait(timeout=240) == 0
    before = accepted(folder)
    with Ledger(folder, read_only=True) as ledger:
        assert ledger.open_batches("measure") == [], "the batch at work was finished"
    run(file, folder)
    assert before.items() < accepted(folder).items()


def test_stopped_from_a_second_terminal(start_phone: StartPhone, one_agent: None, tmp_path: Path) -> None:
    phone = start_phone()
    folder = tmp_path / "run"
    with driver_of(write_campaign(tmp_path, phone.address, samples=80, job_us=50_000), folder) as driver:
        assert wait_until(lambda: bool(campaign_status(folder).phones))
        status = campaign_status(folder)
        assert (status.state, status.driver.split(" on ")[0]) == ("running", f"process {driver.pid}")
        assert [row["address"] for row in status.phones] == [phone.address]
        stop_campaign(folder, wait=True)
        assert driver.wait(timeout=240) == 0
    status = campaign_status(folder)
    assert (status.state, status.settled < status.jobs) == ("stopped", True)
    with Ledger(folder, read_only=True) as ledger:
        assert ledger.open_batches("measure") == [], "the batch at work was finished"


def test_a_phone_that_vanishes_costs_only_time(run: Run, start_phone: StartPhone, tmp_path: Path, said: Path) -> None:
    phone = start_phone()
    folder = tmp_path / "run"
    with once_under_way(folder, lambda: phone.order("vanish", seconds=10)):
        summary = run(write_campaign(tmp_path, phone.address, samples=40, job_us=50_000), folder)
    assert_complete(summary, folder, classes=1)
    assert "  offline  " in said.read_text()


def test_it_goes_on_with_the_phones_that_work(run: Run, start_phone: StartPhone, tmp_path: Path, said: Path) -> None:
    good = start_phone()
    denied = start_phone(PHONE_B.replace('"always"', '"never"'), "b")
    summary = run(write_campaign(tmp_path, good.address, denied.address), tmp_path / "run")
    assert_complete(summary, tmp_path / "run", classes=1)
    assert f"goes on without {denied.address}: unauthorized" in said.read_text()
    assert [trouble.startswith(denied.address) for trouble in summary.troubles] == [True]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({'"always"': '"never"'}, 'unauthorized: .*confirm "Allow USB debugging"'),
        ({"\n\n": "\n", "$": "[gpu]\nopencl = false\n"}, "no-opencl: .*has no usable OpenCL"),
        ({"$": "[storage]\nfree_bytes = 50000\n"}, "disk-full: .*disk full"),
    ],
)
def test_a_phone_that_cannot_work_is_explained(
    changes: dict[str, str], expected: str, run: Run, start_phone: StartPhone, tmp_path: Path
) -> None:
    description = PHONE + "$"
    for old, new in changes.items():
        description = description.replace(old, new)
    phone = start_phone(description.rstrip("$"))
    with pytest.raises(DeviceError, match=f"(?s)no phone can be used:.*{phone.address}: {expected}"):
        run(write_campaign(tmp_path, phone.address), tmp_path / "run")


def test_no_phone_answers(run: Run, start_phone: StartPhone, tmp_path: Path) -> None:
    phone = start_phone()
    phone.process.terminate()
    phone.process.wait(timeout=60)
    with pytest.raises(DeviceError, match=f"(?s)no phone can be used:.*{phone.address}: offline"):
        run(write_campaign(tmp_path, phone.address), tmp_path / "run")


def test_no_phone_is_named(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no phone is named"):
        run(write_campaign(tmp_path), tmp_path / "run")


def test_a_disk_that_fills_up_in_the_middle(run: Run, start_phone: StartPhone, tmp_path: Path) -> None:
    phone = start_phone()
    folder = tmp_path / "run"
    file = write_campaign(tmp_path, phone.address, samples=40, job_us=50_000)
    expected = pytest.raises(DeviceError, match=r"(?s)jobs are left that no phone can take now.*disk full")
    with once_under_way(folder, lambda: phone.order("disk-full")), expected:
        run(file, folder)
    before = accepted(folder)
    assert before
    assert len(read_traces(folder)) == len(before)


def test_a_changed_campaign_needs_another_folder(run: Run, start_phone: StartPhone, tmp_path: Path) -> None:
    phone = start_phone()
    folder = tmp_path / "run"
    run(write_campaign(tmp_path, phone.address), folder)
    with pytest.raises(UserError, match=r"is not the campaign that .* was begun with"):
        run(write_campaign(tmp_path, phone.address, samples=4), folder)
    with Ledger(folder) as ledger:
        assert ingest(ledger, folder) == 0, "all traces are there"
