"""Brokers, drivers and whole Ray nodes that are killed, and drivers that meet on a phone or in a folder."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from random import Random

import psutil
import pytest

from splitfleet.kernels.errors import UserError
from splitfleet.pipeline.campaign import Phones
from splitfleet.pipeline.fleet import Fleet, FleetSettings
from splitfleet.pipeline.ledger import Ledger

from ..infra.phones import running_phone, wait_until
from . import driver
from .conftest import Record
from .lab import JOBS, Lab, Verdict, Watch, accepted, open_lab
from .record import Outcome


def ray_processes(below: int, name: str = "") -> list[psutil.Process]:
    """Ray's processes below a driver whose command line holds `name`."""
    found = []
    for process in psutil.Process(below).children(recursive=True):
        try:
            if name in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_the_broker_is_killed(lab: Lab, seed: int, record: Record) -> None:
    def strike(_: Random) -> None:
        brokers = ray_processes(os.getpid(), "ray::Broker")
        assert brokers
        for broker in brokers:
            broker.kill()

    record(lab.struck("broker killed", seed, strike))


@contextmanager
def driving(address: str, folder: Path, first: int, count: int) -> Iterator[subprocess.Popen[bytes]]:
    """A driver in a process of its own, from when some of its jobs are accepted."""
    log = folder.with_suffix(".log")
    command = [sys.executable, driver.__file__, address, str(folder), str(first), str(count)]
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        assert wait_until(lambda: process.poll() is not None or has_begun(folder)), "the driver does nothing"
        assert process.poll() is None, log.read_text()[-2000:]
        yield process
    finally:
        process.kill()
        process.wait()


def has_begun(folder: Path) -> bool:
    try:
        return bool(accepted(folder))
    except UserError:  # there is no campaign yet
        return False


@pytest.mark.parametrize("victim", ["driver", "Ray node"])
def test_whoever_drives_is_killed(
    victim: str, lab: Lab, fault_settings: FleetSettings, tmp_path: Path, seed: int, record: Record
) -> None:
    """Kills, then goes on from here. Its extra time is that of the second driver: the first one takes as long to die
    as the chance says."""
    folder, chance = tmp_path / "campaign", Random(f"{victim} {seed}")
    first, count = 1_000_000 + 1000 * seed, 3 * JOBS
    jobs = driver.tiny_jobs(lab.profile, first, count)
    verdict = Verdict(folder, [job.id for job in jobs])
    with driving(lab.phone.address, folder, first, count) as process:
        enough = chance.randrange(1, count // 2)
        assert wait_until(lambda: len(accepted(folder)) >= enough)
        victims = ray_processes(process.pid)
        if victim == "driver":
            process.kill()
        else:
            for one in victims:
                one.kill()
        verdict.before = accepted(folder)
        assert len(verdict.before) < count, "it was killed too late"
    began = time.monotonic()
    with Fleet(Phones(tcp=(lab.phone.address,)), folder, Watch(), settings=fault_settings) as fleet:
        fleet.profiles()
        fleet.run({lab.profile.device_class: jobs}, "measure")
    left = count - len(verdict.before)
    extra_s = time.monotonic() - began - lab.usual_s * left / JOBS
    record(verdict.outcome(f"{victim} killed", seed, extra_s))
    assert wait_until(lambda: not any(one.is_running() for one in victims)), "processes are left"


def test_a_second_driver_is_refused(lab: Lab, seed: int, record: Record) -> None:
    def strike(_: Random) -> None:
        command = [sys.executable, driver.__file__, lab.phone.address, str(lab.fleet.folder)]
        second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert second.returncode == 1
        assert re.search(rf"error: .*being worked on.*{os.getpid()}.*{socket.gethostname()}", second.stderr), second

    record(lab.struck("two drivers, one campaign", seed, strike))


def test_two_campaigns_share_a_phone(
    lab: Lab, fault_settings: FleetSettings, tmp_path: Path, seed: int, record: Record
) -> None:
    """The second one begins while the first one measures; their batches must not overlap."""
    errors: list[BaseException] = []
    outcomes: list[Outcome] = []

    def measure_too() -> None:
        try:
            with open_lab(lab.phone, tmp_path, fault_settings, usual_s=lab.usual_s) as second:
                outcomes.append(second.struck("two campaigns, one phone", seed))
        except BaseException as error:
            errors.append(error)

    other = threading.Thread(target=measure_too)
    outcomes.append(lab.struck("two campaigns, one phone", seed, lambda _: other.start()))
    while other.is_alive():  # the first one goes on as long as the second one measures
        outcomes.append(lab.struck("two campaigns, one phone", seed))
    assert not errors, errors
    spans = sorted([*batch_spans(lab.fleet.folder), *batch_spans(tmp_path)])
    overlaps = [(one, two) for one, two in pairwise(spans) if two[0] < one[1]]
    assert not overlaps, "two campaigns measured at once"
    for outcome in outcomes:
        record(outcome)


def batch_spans(folder: Path) -> list[tuple[int, int, str]]:
    """From when until when the phone's agent worked on each batch, in microseconds since 1970."""
    with Ledger(folder, read_only=True) as ledger:
        ends = {(row["telemetry_before"], row["telemetry_after"]) for row in ledger.accepted()}
    times = [(json.loads(before), json.loads(after)) for before, after in ends if before and after]
    return [(before["unix_us"], after["unix_us"], folder.name) for before, after in times]


def test_two_phones_say_the_same_serial(
    lab: Lab, fault_settings: FleetSettings, tmp_path: Path, seed: int, record: Record
) -> None:
    with (
        running_phone(tmp_path / "twin") as twin,
        open_lab(lab.phone, tmp_path / "campaign", fault_settings, twin, usual_s=lab.usual_s) as both,
    ):
        outcome = both.struck("two phones, one serial", seed, lambda _: both.await_state("quarantined"))
        used = [
            phone for phone in (lab.phone, twin) if f"the phone at {phone.address}: name" in str(both.watch.reasons)
        ]
        assert len(used) == 1, both.watch.reasons
        record(outcome)
