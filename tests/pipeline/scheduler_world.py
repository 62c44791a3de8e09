"""A world for the scheduler: phones at hypothesis' mercy, and books kept from the instructions alone, as a ledger does.

The books are what a restarted scheduler gets.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from splitfleet.pipeline.scheduling import (
    BASE_READINGS,
    MAX_REPEATS,
    PROBE,
    SISTER,
    Added,
    Arrived,
    Event,
    Fit,
    Follow,
    Invalidate,
    Lease,
    Mark,
    Pacing,
    Past,
    ProbeReading,
    ProbeState,
    Record,
    Release,
    Remember,
    Remove,
    Rest,
    Result,
    Retire,
    Returned,
    Scheduler,
    Settled,
    Stopped,
    Task,
    Tick,
    WaitingJob,
    is_sister,
)

SEED = 3
PACING = Pacing(batch_s=2.5, probe_every_s=3.0, drift=0.05, sister_fraction=0.5, grace_s=10.0, rest_s=5.0)


@dataclass
class Attempt:
    task: Task
    phone: str
    batch: str
    state: Literal["leased", "done", "failed", "superseded", "invalidated"] = "leased"
    status: str = ""
    is_accepted: bool = False
    is_marked: bool = False


@dataclass
class Books:
    """What a ledger would hold."""

    attempts: list[Attempt] = field(default_factory=list)
    probes: dict[str, ProbeState] = field(default_factory=dict)
    batches: int = 0

    def accepted(self, purpose: str) -> list[Attempt]:
        return [each for each in self.attempts if each.is_accepted and each.task.purpose == purpose]

    def leased(self, purpose: str) -> list[Attempt]:
        return [each for each in self.attempts if each.state == "leased" and each.task.purpose == purpose]

    def find(self, batch: str, task: Task) -> Attempt:
        return next(each for each in reversed(self.attempts) if each.batch == batch and each.task == task)

    def count(self, state: str) -> Counter[Task]:
        return Counter(each.task for each in self.attempts if each.state == state)


class World:
    """`phones` are all phones, by label, with their classes; `jobs` all jobs."""

    def __init__(self, phones: dict[str, str], jobs: list[WaitingJob], probes: list[WaitingJob]) -> None:
        self.phones = phones
        self.jobs = jobs
        self.probes = probes
        self.books = Books()
        for phone, name in phones.items():
            mine = {job.id: (100.0,) * BASE_READINGS for job in probes if job.device_class == name}
            self.books.probes[phone] = ProbeState(mine, mine)
        self.now_s = 0.0
        self.present: set[str] = set()
        self.unfit: set[str] = set()
        self.resting: dict[str, float] = {}
        self.on_phone: dict[str, set[str]] = {phone: set() for phone in phones}
        self.working: dict[str, str] = {}  # phone -> the batch it executes
        self.ahead: dict[str, str] = {}  # phone -> the batch that it executes next
        self.speed: dict[str, float] = dict.fromkeys(phones, 1.0)
        self.retired: list[Retire] = []
        self.chosen = {job.id for job in jobs if is_sister(job.id, SEED, PACING.sister_fraction)}
        self.restart()

    def restart(self) -> None:
        """The driver dies, and is started again on its books."""
        self.present.clear()
        self.unfit.clear()
        self.resting.clear()
        self.working.clear()
        self.ahead.clear()
        self.scheduler = Scheduler(owner="x", next_batch=self.books.batches + 1, seed=SEED, pacing=PACING)
        for name in sorted(set(self.phones.values())):
            self.feed(self._added(name))
        self.feed(Tick(self.now_s))

    def _added(self, name: str) -> Added:
        of_class = [job for job in self.jobs if job.device_class == name]
        rows = [each for each in self.books.attempts if each.task.job in {job.id for job in of_class}]
        measured = {each.task.job: each for each in rows if each.is_accepted and each.task.purpose == "measure"}
        leases: dict[str, tuple[str, tuple[Task, ...]]] = {}
        accepted: dict[str, tuple[str, tuple[Task, ...]]] = {}
        all_rows = [each for each in self.books.attempts if self.phones[each.phone] == name]
        for each in all_rows:
            if each.state == "leased":
                leases[each.batch] = (each.phone, (*leases.get(each.batch, ("", ()))[1], each.task))
        for each in rows:
            state = self.books.probes.get(each.phone)
            if each.is_accepted and (each.batch in leases or not state or each.batch >= (state.since or "")):
                accepted[each.batch] = (each.phone, (*accepted.get(each.batch, ("", ()))[1], each.task))
        on = {job: each.phone for job, each in measured.items() if job in self.chosen and each.status == "ok"}
        past = Past(
            leases=leases,
            accepted=accepted,
            measured_on=on,
            sisters={
                each.task.job: (each.phone, each.batch)
                for each in rows
                if each.is_accepted and each.task.purpose == SISTER
            },
            failures={task: n for task, n in self.books.count("failed").items() if task.purpose != PROBE},
            repeats=self.books.count("invalidated"),
            probes={phone: state for phone, state in self.books.probes.items() if self.phones[phone] == name},
        )
        return Added(
            name,
            tuple(job for job in of_class if job.id not in measured),
            tuple(job for job in self.probes if job.device_class == name),
            tuple(job for job in of_class if job.id in measured),
            past,
        )

    # What phones do

    def arrive(self, phone: str, *, keeps_files: bool = True, has_foreign: bool = False) -> None:
        if not keeps_files:
            self.on_phone[phone].clear()
        if has_foreign:
            self.on_phone[phone].add("x-stale")
        self.gone(phone)
        self.present.add(phone)
        self.feed(Arrived(phone, self.phones[phone], frozenset(self.on_phone[phone]), self.now_s))
        assert "x-stale" not in self.on_phone[phone]

    def gone(self, phone: str) -> None:
        """Forgets that the phone was there."""
        self.present.discard(phone)
        self.unfit.discard(phone)
        for states in (self.resting, self.working, self.ahead):
            states.pop(phone, None)

    def become_fit(self, phone: str) -> None:
        self.unfit.discard(phone)
        self.feed(Fit(phone, self.now_s))

    def report(self, phone: str, status: str) -> None:
        """The phone has a result of the job at work."""
        batch = self.working[phone]
        held = self.scheduler.leased(batch)
        if not held:
            return
        probe = None
        if status == "ok" and held[0].startswith("probe"):
            probe = ProbeReading(held[0], 100.0 * self.speed[phone], 0.001)
        self.feed(Result(batch, held[0], status, 500_000, probe), status)

    def stop(self, phone: str, *, spoiled: str = "", error: str = "") -> None:
        self.feed(Stopped(self.working[phone], 1.0, spoiled, error))

    def return_ahead(self, phone: str) -> None:
        """The phone does not begin what it has been given ahead."""
        self.feed(Returned(self.ahead[phone]))

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.resting = {phone: until for phone, until in self.resting.items() if until > self.now_s}
        self.feed(Tick(self.now_s))

    def feed(self, event: Event, status: str = "") -> None:
        """Hands on an event, and does what is to be done."""
        for instruction in self.scheduler.handle(event):
            match instruction:
                case Lease():
                    self._lease(instruction)
                case Follow(phone=phone, batch=batch):
                    assert batch in self.on_phone[phone]
                    self._give(phone, batch)
                case Remove(phone=phone, batch=batch):
                    self._remove(phone, batch)
                case Release(batch=batch):
                    rows = self.books.attempts
                    self.books.attempts = [each for each in rows if each.batch != batch or each.state != "leased"]
                case Record(batch=batch, task=task, accept=accept):
                    self._record(self.books.find(batch, task), accept, status)
                case Invalidate(batch=batch, tasks=tasks, reason=reason):
                    for task in tasks:
                        self._invalidate(batch, task, reason)
                case Mark(batch=batch, tasks=tasks):
                    for task in tasks:
                        assert self.books.find(batch, task).is_accepted
                        self.books.find(batch, task).is_marked = True
                case Remember(phone=phone, state=state):
                    self.books.probes[phone] = state
                case Rest(phone=phone, until_s=until_s):
                    assert phone in self.present
                    self.resting[phone] = until_s
                case Settled(phone=phone):
                    assert phone in self.phones
                case Retire(phone=phone):
                    assert phone not in self.working
                    self.gone(phone)
                    self.retired.append(instruction)

    def _lease(self, lease: Lease) -> None:
        phone, jobs = lease.phone, [task.job for task in lease.tasks]
        assert phone in self.present
        assert phone not in self.unfit
        assert phone not in self.resting
        assert phone not in self.ahead, "a phone has one batch at work and one ahead"
        assert lease.batch not in {each.batch for each in self.books.attempts}
        assert len(set(jobs)) == len(jobs) > 0
        known = {job.id: job for job in (*self.jobs, *self.probes)}
        assert all(known[job].device_class == self.phones[phone] for job in jobs), "wrong class"
        kinds = [task.purpose != PROBE for task in lease.tasks]
        assert kinds == sorted(kinds), "probes come first"
        for task in lease.tasks:
            if task.purpose != PROBE:
                taken = [each for each in self.books.attempts if each.task == task]
                assert not any(each.is_accepted or each.state == "leased" for each in taken), "twice"
            if task.purpose == SISTER:
                assert any(each.task.job == task.job and each.phone != phone for each in self.books.accepted("measure"))
            self.books.attempts.append(Attempt(task, phone, lease.batch))
        self.books.batches += 1
        self.on_phone[phone].add(lease.batch)
        self._give(phone, lease.batch)

    def _give(self, phone: str, batch: str) -> None:
        """The phone executes the batch, after the one that it has."""
        (self.ahead if phone in self.working else self.working)[phone] = batch

    def _remove(self, phone: str, batch: str) -> None:
        self.on_phone[phone].discard(batch)
        if self.ahead.get(phone) == batch:
            del self.ahead[phone]
        elif self.working.get(phone) == batch:
            del self.working[phone]
            if phone in self.ahead:
                self.working[phone] = self.ahead.pop(phone)

    def _record(self, attempt: Attempt, accept: bool, status: str) -> None:
        assert attempt.state == "leased"
        attempt.state = "done" if accept else "failed"
        attempt.status = status
        attempt.is_accepted = accept and attempt.task.purpose != PROBE

    def _invalidate(self, batch: str, task: Task, reason: str) -> None:
        attempt = self.books.find(batch, task)
        assert attempt.is_accepted or task.purpose == PROBE
        if attempt.state == "done":
            attempt.state = "superseded" if reason.startswith("superseded") else "invalidated"
        attempt.is_accepted = False

    # What must hold

    def check(self) -> None:
        """Raises AssertionError where a job is lost or doubled, or a phone is idle while work waits for it."""
        main, sisters = self.books.accepted("measure"), self.books.accepted(SISTER)
        for rows in (main, sisters):
            assert max(Counter(each.task for each in rows).values(), default=1) == 1, "accepted twice"
        where = {each.task.job: each.phone for each in main}
        assert all(where.get(each.task.job) != each.phone for each in sisters), "no second phone"
        repeats = self.books.count("invalidated")
        assert all(n <= MAX_REPEATS for task, n in repeats.items() if task.purpose != PROBE)
        assert not (self.scheduler.is_finished and self.leases()), "ended while something is leased"
        waiting = {job.device_class for job in self.waiting()}
        assert not (self.scheduler.is_finished and waiting), "a job is lost"
        for phone in self.present - self.unfit - self.resting.keys() - self.working.keys():
            assert self.phones[phone] not in waiting, f"{phone} is idle while jobs wait, or one is lost"
            assert not self.sisters_for(phone), f"{phone} is idle while sisters wait"

    def waiting(self) -> list[WaitingJob]:
        """The jobs that are neither measured nor on a phone."""
        taken = {each.task.job for each in (*self.books.accepted("measure"), *self.books.leased("measure"))}
        return [job for job in self.jobs if job.id not in taken]

    def leases(self) -> list[Attempt]:
        return [each for each in self.books.attempts if each.state == "leased"]

    def sisters_for(self, phone: str) -> list[str]:
        """The chosen jobs that the phone could measure a second time."""
        taken = {each.task.job for each in (*self.books.accepted(SISTER), *self.books.leased(SISTER))}
        return [
            each.task.job
            for each in self.books.accepted("measure")
            if self.phones[each.phone] == self.phones[phone] and each.phone != phone and each.status == "ok"
            if each.task.job in self.chosen - taken
        ]

    def finish(self) -> None:
        """All phones are well and there until nothing is left to do."""
        for _ in range(1000):
            for phone in sorted(self.phones.keys() - self.present):
                self.arrive(phone)
            for phone in sorted(self.unfit):
                self.become_fit(phone)
            for phone in sorted(self.working):
                self.speed[phone] = 1.0
                while self.scheduler.leased(self.working[phone]):
                    self.report(phone, "ok")
                self.stop(phone)
                self.check()
            if self.scheduler.is_finished:
                return
            self.wait(PACING.rest_s)
        raise AssertionError("it does not end")
