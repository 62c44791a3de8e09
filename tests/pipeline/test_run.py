"""A run between a real ledger and phones that answer at once: what drift, spoiled batches, sisters and restarts do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from splitfleet.kernels import Linear
from splitfleet.pipeline.campaign import Repeat
from splitfleet.pipeline.directory import Directory
from splitfleet.pipeline.jobs import Job, JobFactory
from splitfleet.pipeline.ledger import Ledger
from splitfleet.pipeline.messages import (
    BatchStopped,
    FollowBatch,
    PhoneArrived,
    PhoneCommand,
    PhoneLeft,
    ResultsRead,
    RetirePhone,
    StartBatch,
    StatusChanged,
)
from splitfleet.pipeline.phone_state import PhoneState, PhoneStatus
from splitfleet.pipeline.probe_jobs import plan_probes
from splitfleet.pipeline.readings import Readings
from splitfleet.pipeline.run import Run
from splitfleet.pipeline.scheduling import BASE_READINGS, Pacing

from .profiles import profile

PROFILE = profile()
CLASS = PROFILE.device_class
JOBS = [JobFactory(PROFILE, Repeat()).cpu(Linear(4, 8, 4 * n), 1) for n in range(1, 25)]
PROBES = {job.id for job in plan_probes(PROFILE)}


class Phones:
    """Phones at addresses 1, 2, ...: they execute what they are given when `work` is called."""

    def __init__(self, folder: Path, pacing: Pacing) -> None:
        self.folder = folder
        self.pacing = pacing
        self.given: dict[str, list[StartBatch]] = {}
        self.retired: list[str] = []
        self.followed: list[FollowBatch] = []
        self.probe_ns = 1_000_000

    def open(self) -> None:
        """A driver starts on the folder."""
        self.given.clear()
        self.ledger = Ledger(self.folder)
        directory = Directory(self.ledger)
        self.ledger.put(f"profile {CLASS}", json.dumps(PROFILE.to_json()))
        self.run = Run(
            {CLASS: JOBS}, "measure", self.ledger, directory, self, seed=1, pacing=self.pacing, probes=plan_probes
        )

    def command(self, address: str, session: int, command: PhoneCommand) -> None:
        if isinstance(command, StartBatch):
            self.given.setdefault(address, []).append(command)
        elif isinstance(command, RetirePhone):
            self.retired.append(address)
        elif isinstance(command, FollowBatch):
            self.followed.append(command)

    def arrive(self, address: str, *batches: str) -> None:
        self.run.take(StatusChanged(PhoneStatus(address, PhoneState.READY)))
        self.run.take(PhoneArrived(address, 1, f"serial-{address}", PROFILE, batches))

    def work(self, address: str, *, spoiled: str = "", error: str = "") -> list[str]:
        """The phone executes its batch; returns the jobs."""
        batch = self.given[address].pop(0)
        jobs = [line["id"] for line in map(json.loads, batch.job_file.splitlines()) if line["type"] == "job"]
        if not error:
            lines = tuple(self._result(job) for job in jobs)
            self.run.take(ResultsRead(address, batch.batch, lines, 1))
        self.run.take(BatchStopped(address, batch.batch, Readings(), Readings(), error, spoiled))
        return jobs

    def work_on(self, address: str) -> None:
        """Until the phone has no batch."""
        while self.given.get(address):
            self.work(address)

    def _result(self, job: str) -> dict[str, Any]:
        samples = {"wall_ns": [self.probe_ns] * 9} if job in PROBES else {}
        return {"type": "result", "id": job, "status": "ok", "elapsed_us": 1_000_000, "samples": samples}

    def accepted(self, purpose: str) -> dict[str, str]:
        """Which phone has measured each job."""
        rows = [row for row in self.ledger.accepted() if row["purpose"] == purpose]
        assert max(Counter(row["job"] for row in rows).values(), default=1) == 1 or purpose == "probe"
        return {row["job"]: row["phone"] for row in rows}


@pytest.fixture
def phones(tmp_path: Path) -> Iterator[Phones]:
    phones = Phones(tmp_path, Pacing(batch_s=3.0, probe_every_s=4.0, drift=0.05, sister_fraction=0))
    phones.open()
    yield phones
    phones.ledger.close()


@pytest.fixture
def small_batches(phones: Phones) -> Phones:
    """The same with batches of one or two jobs."""
    phones.pacing = Pacing(batch_s=1.0, probe_every_s=1.0, drift=0.05, sister_fraction=0)
    phones.ledger.close()
    phones.open()
    return phones


def test_a_batch_that_is_taken_up_again_has_its_jobs_time(phones: Phones) -> None:
    phones.arrive("1")
    [batch, *_] = phones.given["1"]
    phones.run.take(PhoneLeft("1", "unplugged"))
    phones.arrive("1", batch.batch)
    assert batch.bound_us == JOBS[0].bound_us > 0
    assert phones.followed == [FollowBatch(batch.batch, 0, batch.bound_us)]


def all_ids(jobs: list[Job]) -> list[str]:
    return sorted(job.id for job in jobs)


def test_each_job_has_one_trace_and_all_probes_are_kept(phones: Phones) -> None:
    phones.arrive("1")
    phones.work_on("1")
    assert phones.run.scheduler.is_finished
    assert phones.run.unsettled() == {}
    assert sorted(phones.accepted("measure")) == all_ids(JOBS)
    [phone] = phones.ledger.phones()
    traces = [row for row in phones.ledger.accepted() if row["purpose"] == "probe"]
    assert sorted(row["job"] for row in traces) == sorted(PROBES)
    probes = list(phones.ledger.probes(phone["label"]))
    assert {row["job"] for row in probes} == PROBES
    attempts = [row["attempt"] for row in probes if row["job"] == min(PROBES)]
    assert attempts == list(range(1, len(attempts) + 1))
    assert len(attempts) >= BASE_READINGS
    assert [(row["purpose"], row["jobs"], row["done"]) for row in phones.ledger.counts()] == [("measure", 24, 24)]


def test_what_lies_before_a_drifted_probe_is_measured_again(small_batches: Phones) -> None:
    phones = small_batches
    phones.arrive("1")
    for _ in range(BASE_READINGS):
        proven = phones.accepted("measure").keys()
        unproven = set(phones.work("1")) - PROBES
    phones.probe_ns = 1_200_000
    unproven |= {job for _ in range(2) for job in phones.work("1")} - PROBES
    assert phones.accepted("measure").keys() == proven
    assert phones.ledger.repeats("measure") == dict.fromkeys(unproven, 1)
    assert phones.ledger.failures("measure") == {}
    [line] = phones.run.lines()
    assert line.done == len(proven)
    assert phones.run.unsettled() == {CLASS: len(JOBS) - len(proven)}
    assert "is 20% slower than its base of 1000 us" in line.trouble
    assert not phones.given["1"]


def test_a_phone_s_base_outlives_the_driver(small_batches: Phones) -> None:
    phones = small_batches
    phones.arrive("1")
    for _ in range(BASE_READINGS):
        proven = phones.accepted("measure").keys()
        phones.work("1")
    phones.ledger.close()
    phones.open()
    phones.probe_ns = 1_200_000
    phones.arrive("1")
    phones.work_on("1")
    assert phones.accepted("measure").keys() == proven, "what the first driver saw is thrown away, too"


def test_a_spoiled_batch_is_measured_again_and_counts_at_last(phones: Phones) -> None:
    phones.arrive("1")
    spoiled = [set(phones.work("1", spoiled="it got hot")) - PROBES]
    assert phones.accepted("measure") == {}
    assert phones.accepted("probe") == {}
    phones.work_on("1")
    assert sorted(phones.accepted("measure")) == all_ids(JOBS)
    assert phones.ledger.repeats("measure") == dict.fromkeys(spoiled[0], 1)


def test_sisters_wait_for_a_second_phone_over_restarts(phones: Phones) -> None:
    phones.pacing = Pacing(batch_s=3.0, probe_every_s=4.0, sister_fraction=1.0)
    phones.ledger.close()
    phones.open()
    phones.arrive("1")
    phones.work_on("1")
    assert phones.run.scheduler.is_finished
    assert phones.run.scheduler.waiting_sisters() == {CLASS: len(JOBS)}
    phones.ledger.close()
    phones.open()
    assert phones.run.scheduler.is_finished, "nobody is there who could"
    phones.arrive("1")
    phones.arrive("2")
    assert not phones.run.scheduler.is_finished
    phones.work("2")
    phones.ledger.close()
    phones.open()
    phones.arrive("2")
    phones.work_on("2")
    assert phones.run.scheduler.is_finished
    assert set(phones.accepted("measure").values()) == {"test-phone-1"}
    assert phones.accepted("sister") == dict.fromkeys(all_ids(JOBS), "test-phone-2")


def test_a_hot_phone_gets_nothing_new(phones: Phones) -> None:
    phones.arrive("1")
    phones.run.take(StatusChanged(PhoneStatus("1", PhoneState.COOLING, "hot")))
    phones.work("1")
    assert not phones.given["1"]
    assert phones.run.scheduler.is_busy
    phones.run.take(StatusChanged(PhoneStatus("1", PhoneState.READY)))
    assert phones.given["1"]


def test_a_phone_that_fails_over_and_over_is_taken_away(phones: Phones) -> None:
    phones.arrive("1")
    while phones.given.get("1"):
        phones.work("1", error="the agent died")
    assert phones.retired == ["1"]
    phones.run.take(PhoneLeft("1", "retired"))
    phones.arrive("1")
    phones.work_on("1")
    assert sorted(phones.accepted("measure")) == all_ids(JOBS)
