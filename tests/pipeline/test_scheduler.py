"""The scheduler against a world made by hypothesis: phones that come, go, lose batches and fail jobs at will."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from splitfleet.pipeline.scheduler import (
    MAX_ATTEMPTS,
    Arrived,
    Event,
    Follow,
    Lease,
    Left,
    Record,
    Release,
    Remove,
    Result,
    Scheduler,
    Stopped,
    StopRequested,
    Tick,
    WaitingJob,
)

CLASSES = {"a1": "A", "a2": "A", "b1": "B"}
JOBS = [WaitingJob(f"{name}{i}", name, "gpu", 1_000_000) for name in ("A", "B") for i in range(6)]
STATUSES = st.sampled_from(["ok", "ok", "ok", "wrong_result", "noisy", "crashed"])
GRACE_S = 10.0


class Fleet(RuleBasedStateMachine):
    """Keeps its own books from the instructions alone, and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(JOBS, owner="x", batch_s=2.5, grace_s=GRACE_S)
        self.now_s = 0.0
        self.present: set[str] = set()
        self.on_phone: dict[str, set[str]] = {phone: set() for phone in CLASSES}
        self.working: dict[str, str] = {}  # phone -> the batch it executes
        self.leased: dict[str, tuple[str, list[str]]] = {}  # batch -> phone, jobs without a result
        self.settled: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    def feed(self, event: Event) -> None:
        for instruction in self.scheduler.handle(event):
            match instruction:
                case Lease(phone=phone, batch=batch, jobs=jobs):
                    assert phone in self.present
                    assert phone not in self.working, "a phone has one batch at a time"
                    assert batch not in self.leased
                    assert all(job.startswith(CLASSES[phone]) for job in jobs), "wrong class"
                    taken = [job for _, held in self.leased.values() for job in held]
                    assert not set(jobs) & set(taken), "leased twice"
                    assert not any(self.settled[job] for job in jobs), "measured again"
                    self.leased[batch] = (phone, list(jobs))
                    self.on_phone[phone].add(batch)
                    self.working[phone] = batch
                case Follow(phone=phone, batch=batch):
                    assert batch in self.on_phone[phone]
                    self.working[phone] = batch
                case Remove(phone=phone, batch=batch):
                    self.on_phone[phone].discard(batch)
                    if self.working.get(phone) == batch:
                        del self.working[phone]
                case Release(batch=batch):
                    phone, _ = self.leased.pop(batch)
                case Record(batch=batch, job=job, accept=accept):
                    self.leased[batch][1].remove(job)
                    if accept:
                        self.settled[job] += 1
                    else:
                        self.failed[job] += 1

    @rule(phone=st.sampled_from(sorted(CLASSES)), keeps_files=st.booleans(), foreign=st.booleans())
    def arrive(self, phone: str, keeps_files: bool, foreign: bool) -> None:
        if phone in self.present:
            return
        if not keeps_files:
            self.on_phone[phone].clear()
        if foreign:
            self.on_phone[phone].add("x-stale")
        self.present.add(phone)
        self.feed(Arrived(phone, CLASSES[phone], frozenset(self.on_phone[phone]), self.now_s))
        assert "x-stale" not in self.on_phone[phone]

    @precondition(lambda self: self.present)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        phone = data.draw(st.sampled_from(sorted(self.present)))
        self.present.discard(phone)
        self.working.pop(phone, None)
        self.feed(Left(phone, self.now_s))

    @precondition(lambda self: self.working)
    @rule(data=st.data(), status=STATUSES)
    def report(self, data: st.DataObject, status: str) -> None:
        batch = self.working[data.draw(st.sampled_from(sorted(self.working)))]
        held = self.scheduler.leased(batch)
        if held:
            self.feed(Result(batch, held[0], status, 500_000))

    @precondition(lambda self: self.working)
    @rule(data=st.data(), status=STATUSES)
    def report_again(self, data: st.DataObject, status: str) -> None:
        """A result that was told before, or that nobody asked for, changes nothing."""
        before = (Counter(self.settled), Counter(self.failed))
        self.feed(Result(data.draw(st.sampled_from(["x-00001", "x-99999"])), "A99", status, 1))
        assert (self.settled, self.failed) == before

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def stop_batch(self, data: st.DataObject) -> None:
        phone = data.draw(st.sampled_from(sorted(self.working)))
        self.feed(Stopped(self.working[phone]))

    @rule(seconds=st.floats(0, 2 * GRACE_S))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.feed(Tick(self.now_s))

    @invariant()
    def no_job_is_lost(self) -> None:
        waiting = [job for jobs in self.scheduler.waiting().values() for job in jobs]
        held = [job for _, jobs in self.leased.values() for job in jobs]
        assert sorted(waiting + held + list(self.settled)) == sorted(job.id for job in JOBS)

    @invariant()
    def each_job_is_settled_once_and_tried_thrice_at_most(self) -> None:
        assert all(count == 1 for count in self.settled.values())
        assert all(count < MAX_ATTEMPTS for count in self.failed.values())

    @invariant()
    def no_phone_idles_while_its_jobs_wait(self) -> None:
        for phone in self.present:
            assert phone in self.working or not self.scheduler.waiting().get(CLASSES[phone])


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def first_lease(scheduler: Scheduler, phone: str = "a1") -> Lease:
    [lease] = scheduler.handle(Arrived(phone, "A", frozenset(), 0.0))
    assert isinstance(lease, Lease)
    return lease


def test_batches_are_sized_by_measured_time() -> None:
    jobs = [WaitingJob(f"A{i}", "A", "gpu", 1_000_000) for i in range(200)]
    scheduler = Scheduler(jobs, owner="x", batch_s=10.0)
    lease = first_lease(scheduler)
    assert len(lease.jobs) == 10
    for job in lease.jobs:
        scheduler.handle(Result(lease.batch, job, "ok", 200_000))
    _, lease = scheduler.handle(Stopped(lease.batch))
    assert isinstance(lease, Lease)
    assert len(lease.jobs) == 50


def test_phones_of_a_class_share_what_is_left() -> None:
    scheduler = Scheduler(JOBS[:6], owner="x", batch_s=100.0)
    scheduler.handle(Arrived("a1", "B", frozenset(), 0.0))  # no jobs for it
    assert len(first_lease(scheduler, "a2").jobs) == 6


def test_an_absent_phone_keeps_its_batch_for_the_grace_time() -> None:
    scheduler = Scheduler(JOBS[:6], owner="x", batch_s=100.0, grace_s=10.0)
    lease = first_lease(scheduler)
    scheduler.handle(Left("a1", 0.0))
    assert scheduler.handle(Arrived("a2", "A", frozenset(), 1.0)) == []
    assert scheduler.handle(Tick(9.0)) == []
    release, again = scheduler.handle(Tick(11.0))
    assert release == Release(lease.batch)
    assert isinstance(again, Lease)
    assert (again.phone, sorted(again.jobs)) == ("a2", sorted(lease.jobs))
    assert scheduler.handle(Arrived("a1", "A", frozenset({lease.batch}), 12.0)) == [Remove("a1", lease.batch)]


def test_a_lease_of_before_is_followed_and_not_given_out() -> None:
    scheduler = Scheduler(JOBS[:6], owner="x", next_batch=8, leases={"x-00007": ("a1", ("A0", "A1"))})
    instructions = scheduler.handle(Arrived("a1", "A", frozenset({"x-00007"}), 0.0))
    assert instructions == [Follow("a1", "x-00007")]
    assert scheduler.leased("x-00007") == ("A0", "A1")


def test_after_a_stop_nothing_new_begins() -> None:
    scheduler = Scheduler(JOBS[:6], owner="x", batch_s=2.0)
    lease = first_lease(scheduler)
    scheduler.handle(StopRequested())
    assert not scheduler.is_finished
    assert scheduler.handle(Stopped(lease.batch)) == [Remove("a1", lease.batch), Release(lease.batch)]
    assert scheduler.is_finished


@given(st.integers(0, 100), st.integers(0, 100))
def test_the_seed_decides_the_order(first: int, second: int) -> None:
    orders = [first_lease(Scheduler(JOBS[:6], owner="x", seed=seed, batch_s=100.0)).jobs for seed in (first, second)]
    assert sorted(orders[0]) == sorted(orders[1])
    assert first != second or orders[0] == orders[1]


def test_a_phone_that_has_to_wait_gets_smaller_batches() -> None:
    jobs = [WaitingJob(f"A{i}", "A", "gpu", 1_000_000) for i in range(200)]
    scheduler = Scheduler(jobs, owner="x", batch_s=10.0)
    lease = first_lease(scheduler)
    for job in lease.jobs:
        scheduler.handle(Result(lease.batch, job, "ok", 1_000_000))
    _, lease = scheduler.handle(Stopped(lease.batch, wall_s=20.0))
    assert isinstance(lease, Lease)
    assert len(lease.jobs) == 5
