"""Whatever happens to a ledger, in whatever order and on whatever host: one accepted trace a job, and none is lost."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from splitfleet.pipeline.jobs import Job
from splitfleet.pipeline.ledger import Ledger

JOBS = [f"j{number}" for number in range(5)]
PHONES = ["a-1", "a-2"]


class LedgerStates(RuleBasedStateMachine):
    """The ledger beside a plain model of it."""

    batches = Bundle("batches")

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("splitfleet.pipeline.ledger.database.SEGMENT_BYTES", 1500)
        self.folder = Path(self.place.name) / "run"
        self.traces: dict[str, tuple[str, str, str]] = {}  # job -> phone, batch, status
        self.leased: dict[str, set[str]] = {}
        self.phone_of: dict[str, str] = {}
        self.failed = dict.fromkeys(JOBS, 0)
        self.ledger: Ledger | None = None
        self.open("here")
        for number, phone in enumerate(PHONES):
            assert self.the.label_phone(f"SERIAL {number}", "a", "class", f"127.0.0.1:{6010 + number}", "A") == phone
        self.the.plan([Job(job, {"kind": "cpu"}, ()) for job in JOBS], "class", "measure")

    def teardown(self) -> None:
        self.the.close()
        self.patch.undo()
        self.place.cleanup()

    @property
    def the(self) -> Ledger:
        assert self.ledger
        return self.ledger

    @rule(host=st.sampled_from(["here", "there"]))
    def open(self, host: str) -> None:
        """The driver goes, and another comes, on the same or another host."""
        if self.ledger:
            self.ledger.close()
        self.patch.setenv("SPLITFLEET_HOME", f"{self.place.name}/{host}")
        self.ledger = Ledger(self.folder)

    @rule(target=batches, phone=st.sampled_from(PHONES), jobs=st.sets(st.sampled_from(JOBS), min_size=1))
    def lease(self, phone: str, jobs: set[str]) -> str:
        batch = f"b{len(self.phone_of)}"
        self.the.lease(batch, sorted(jobs), phone, "measure")
        self.leased[batch], self.phone_of[batch] = set(jobs), phone
        return batch

    @rule(
        batch=batches,
        job=st.sampled_from(JOBS),
        status=st.sampled_from(["ok", "noisy", "wrong_result"]),
        accept=st.booleans(),
    )
    def record(self, batch: str, job: str, status: str, accept: bool) -> None:
        is_news = job in self.leased[batch]
        assert self.the.record(batch, {"id": job, "status": status}, accept=accept) == is_news
        if not is_news:
            return
        self.leased[batch].discard(job)
        if job in self.traces:
            return
        if accept:
            self.traces[job] = (self.phone_of[batch], batch, status)
        else:
            self.failed[job] += 1

    @rule(batch=batches, job=st.sampled_from(JOBS))
    def fail_in_the_middle(self, batch: str, job: str) -> None:
        def record_and_fail() -> None:
            with self.the.transaction():
                self.the.record(batch, {"id": job, "status": "ok"}, accept=True)
                self.the.set_offset(batch, 10**6)
                raise RuntimeError

        with pytest.raises(RuntimeError):
            record_and_fail()
        assert self.the.offset(batch) == 0

    @rule(batch=batches)
    def release(self, batch: str) -> None:
        self.the.release(batch)
        self.leased[batch].clear()

    @rule(target=batches, batch=consumes(batches), jobs=st.sets(st.sampled_from(JOBS)))
    def invalidate(self, batch: str, jobs: set[str]) -> object:
        gone = self.the.invalidate(batch, [(job, "measure") for job in sorted(jobs)], "drift")
        expected = {job for job in jobs if job in self.traces and self.traces[job][1] == batch}
        assert {attempt.job for attempt in gone} == expected
        for job in expected:
            del self.traces[job]
        return multiple(batch)

    @invariant()
    def tells_what_happened(self) -> None:
        accepted = [(row["job"], row["phone"]) for row in self.the.accepted()]
        assert sorted(accepted) == sorted((job, phone) for job, (phone, _, _) in self.traces.items())
        assert self.the.settled("measure") == {job: status for job, (_, _, status) in self.traces.items()}
        opened = {batch.id: set(batch.jobs) for batch in self.the.open_batches("measure")}
        assert opened == {batch: jobs for batch, jobs in self.leased.items() if jobs}
        assert self.the.failures("measure") == {job: count for job, count in self.failed.items() if count}
        [counts] = self.the.counts()
        assert counts["done"] + counts["rejected"] == len(self.traces)


LedgerStates.TestCase.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
TestLedgerStates = LedgerStates.TestCase
