"""The scheduler against a world made by hypothesis: phones that come, go, drift, get hot, lose batches, fail jobs."""

from __future__ import annotations

from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from splitfleet.pipeline.scheduling import (
    BASE_READINGS,
    MAX_ATTEMPTS,
    MAX_TROUBLES,
    PROBE,
    SISTER,
    Added,
    Arrived,
    Fit,
    Follow,
    Instruction,
    Invalidate,
    Lease,
    Left,
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
    StopRequested,
    Task,
    Tick,
    Unfit,
    WaitingJob,
    is_sister,
)

from .scheduler_world import PACING, World

T = TypeVar("T")
PHONES = {"a1": "A", "a2": "A", "a3": "A", "b1": "B"}
JOBS = [WaitingJob(f"{name}{i}", name, "gpu", 1_000_000) for name in ("A", "B") for i in range(6)]
PROBES = [WaitingJob(f"probe-{name}{i}", name, "probe", 1) for name, i in (("A", 0), ("A", 1), ("B", 0))]
STATUSES = st.sampled_from(["ok", "ok", "ok", "wrong_result", "noisy", "crashed"])


class Fleet(RuleBasedStateMachine):
    """Whatever happens, the world's books must be right after each step, and the campaign can be ended."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(PHONES, JOBS, PROBES)

    @rule(phone=st.sampled_from(sorted(PHONES)), keeps_files=st.booleans(), has_foreign=st.booleans())
    def arrive(self, phone: str, keeps_files: bool, has_foreign: bool) -> None:
        """Also of a phone that is there: its broker was started again."""
        self.world.arrive(phone, keeps_files=keeps_files, has_foreign=has_foreign)

    @precondition(lambda self: self.world.present)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        phone = data.draw(st.sampled_from(sorted(self.world.present)))
        self.world.gone(phone)
        self.world.feed(Left(phone, self.world.now_s))

    @precondition(lambda self: self.world.present)
    @rule(data=st.data())
    def become_unfit(self, data: st.DataObject) -> None:
        phone = data.draw(st.sampled_from(sorted(self.world.present)))
        self.world.unfit.add(phone)
        self.world.feed(Unfit(phone, "hot", self.world.now_s))

    @precondition(lambda self: self.world.unfit)
    @rule(data=st.data())
    def become_fit(self, data: st.DataObject) -> None:
        self.world.become_fit(data.draw(st.sampled_from(sorted(self.world.unfit))))

    @precondition(lambda self: self.world.working)
    @rule(data=st.data(), speed=st.sampled_from([0.8, 1.0, 1.3]), batches=st.integers(1, 6))
    def work_on(self, data: st.DataObject, speed: float, batches: int) -> None:
        """A phone is undisturbed for some batches, but its speed may be another now; it may also have to rest."""
        phone = data.draw(st.sampled_from(sorted(self.world.working)))
        self.world.speed[phone] = speed
        for _ in range(batches):
            if phone in self.world.resting:
                self.world.wait(PACING.rest_s)
            if phone not in self.world.working:
                return
            while self.world.scheduler.leased(self.world.working[phone]):
                self.world.report(phone, "ok")
            self.world.stop(phone)

    @precondition(lambda self: self.world.working)
    @rule(data=st.data(), status=STATUSES)
    def report(self, data: st.DataObject, status: str) -> None:
        self.world.report(data.draw(st.sampled_from(sorted(self.world.working))), status)

    @precondition(lambda self: self.world.working)
    @rule(data=st.data(), spoiled=st.sampled_from(["", "", "it got hot"]))
    def complete_batch(self, data: st.DataObject, spoiled: str) -> None:
        phone = data.draw(st.sampled_from(sorted(self.world.working)))
        while self.world.scheduler.leased(self.world.working[phone]):
            self.world.report(phone, "ok")
        self.world.stop(phone, spoiled=spoiled)

    @precondition(lambda self: self.world.working)
    @rule(data=st.data(), spoiled=st.sampled_from(["", "it got hot"]), error=st.sampled_from(["", "it broke off"]))
    def stop_batch(self, data: st.DataObject, spoiled: str, error: str) -> None:
        self.world.stop(data.draw(st.sampled_from(sorted(self.world.working))), spoiled=spoiled, error=error)

    @precondition(lambda self: self.world.ahead)
    @rule(data=st.data())
    def return_ahead(self, data: st.DataObject) -> None:
        self.world.return_ahead(data.draw(st.sampled_from(sorted(self.world.ahead))))

    @rule(batch=st.sampled_from(["x-00001", "x-99999"]))
    def report_the_unknown(self, batch: str) -> None:
        """A result that nobody asked for, or of a batch that is over, changes nothing."""
        before = [(each.task, each.state) for each in self.world.books.attempts]
        self.world.feed(Result(batch, "A99", "ok", 1))
        self.world.feed(Stopped("x-99999"))
        self.world.feed(Returned("x-99999"))
        assert [(each.task, each.state) for each in self.world.books.attempts] == before

    @rule(seconds=st.floats(0, 2 * PACING.grace_s))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule()
    def restart(self) -> None:
        self.world.restart()

    @invariant()
    def the_books_are_right(self) -> None:
        self.world.check()

    @invariant()
    def a_job_is_tried_thrice_at_most(self) -> None:
        failed = self.world.books.count("failed")
        assert all(n < MAX_ATTEMPTS for task, n in failed.items() if task.purpose != PROBE)

    def teardown(self) -> None:
        world = self.world
        world.finish()
        measured = {each.task.job: each for each in world.books.accepted("measure")}
        assert sorted(measured) == sorted(job.id for job in JOBS)
        second = {each.task.job for each in world.books.accepted(SISTER)}
        wanted = {job for job in world.chosen if measured[job].status == "ok" and job.startswith("A")}
        assert wanted <= second, "with three phones of a class, each chosen job is measured by two"
        for phone in PHONES:
            batches = [each for each in world.books.attempts if each.phone == phone]
            last = [each for each in batches if each.batch == batches[-1].batch] if batches else []
            unproven = [each.task for each in last if each.is_accepted and not each.is_marked]
            assert not unproven, "a good probe follows all that counts"


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def started(jobs: list[WaitingJob], pacing: Pacing | None = None, **past: Any) -> Scheduler:
    """A scheduler with the jobs of class A and, where the pacing has any, its probes."""
    scheduler = Scheduler(owner="x", pacing=pacing or Pacing(probe_every_s=0, sister_fraction=0))
    probes = tuple(PROBES[:2]) if pacing and pacing.probe_every_s else ()
    scheduler.handle(Added("A", tuple(jobs), probes, past=Past(**past)))
    return scheduler


def arrive(scheduler: Scheduler, phone: str = "a1", at_s: float = 0.0) -> list[Instruction]:
    return scheduler.handle(Arrived(phone, "A", frozenset(), at_s))


def first_lease(scheduler: Scheduler, phone: str = "a1") -> Lease:
    [lease] = arrive(scheduler, phone)
    assert isinstance(lease, Lease)
    return lease


def complete(scheduler: Scheduler, lease: Lease, probe_us: float = 100.0, **stopped: Any) -> list[Instruction]:
    """Ends a batch with good results; returns what is to be done meanwhile and then, the storing of results apart.

    Behind one that went wrong the phone begins nothing that it was given ahead.
    """
    done = measure(scheduler, lease, probe_us=probe_us)
    if stopped.get("spoiled") or stopped.get("error"):
        for each in done:
            assert isinstance(each, Lease)
            scheduler.handle(Returned(each.batch))
        done = []
    return [*done, *scheduler.handle(Stopped(lease.batch, **stopped))]


def measure(
    scheduler: Scheduler, lease: Lease, elapsed_us: int = 1_000_000, probe_us: float = 100.0
) -> list[Instruction]:
    """All results of a batch; returns what is to be done meanwhile, the storing apart."""
    done: list[Instruction] = []
    for task in lease.tasks:
        probe = ProbeReading(task.job, probe_us, 0.001) if task.purpose == PROBE else None
        done += scheduler.handle(Result(lease.batch, task.job, "ok", elapsed_us, probe))
    return [each for each in done if not isinstance(each, Record)]


def measured_from(scheduler: Scheduler, lease: Lease) -> set[str]:
    """The jobs of this batch and of all that follow it, until nothing is left."""
    jobs: set[str] = set()
    leases = [lease]
    while leases:
        first = leases.pop(0)
        jobs |= {task.job for task in first.tasks}
        leases += [each for each in complete(scheduler, first) if isinstance(each, Lease)]
    assert scheduler.is_finished
    return jobs


def only(kind: type[T], instructions: list[Instruction]) -> T:
    [found] = [each for each in instructions if isinstance(each, kind)]
    return found


def purposes(lease: Lease) -> list[str]:
    return [task.purpose for task in lease.tasks]


def many(count: int) -> list[WaitingJob]:
    return [WaitingJob(f"A{i}", "A", "gpu", 1_000_000) for i in range(count)]


def test_batches_are_sized_by_measured_time() -> None:
    scheduler = started(many(200))
    lease = first_lease(scheduler)
    assert len(lease.tasks) == 10
    assert len(only(Lease, measure(scheduler, lease, 200_000)).tasks) == 50


def test_a_phone_that_has_to_wait_gets_smaller_batches() -> None:
    scheduler = started(many(200))
    ahead = only(Lease, complete(scheduler, first_lease(scheduler), wall_s=20.0))
    assert len(ahead.tasks) == 10, "it was given before the waiting was known"
    assert len(only(Lease, complete(scheduler, ahead)).tasks) == 5


def test_a_phone_whose_batch_was_spoiled_gets_smaller_ones_for_a_while() -> None:
    scheduler = started(many(200))
    lease = only(Lease, complete(scheduler, first_lease(scheduler), spoiled="it got hot"))
    assert len(lease.tasks) == 5
    assert len(only(Lease, complete(scheduler, lease)).tasks) == 10


def test_phones_of_a_class_share_what_is_left() -> None:
    scheduler = started(many(6), Pacing(batch_s=100.0, probe_every_s=0, sister_fraction=0))
    scheduler.handle(Arrived("b1", "B", frozenset(), 0.0))  # no jobs for it
    lease = only(Lease, scheduler.handle(Arrived("a1", "A", frozenset({"x-1"}), 0.0)))
    assert len(lease.tasks) == 6


def test_two_idle_phones_share_what_comes_back() -> None:
    scheduler = started(many(6))
    lease = first_lease(scheduler)
    assert arrive(scheduler, "a2") == []
    instructions = scheduler.handle(Stopped(lease.batch))
    assert sorted(each.phone for each in instructions if isinstance(each, Lease)) == ["a1", "a2"]


def test_an_absent_phone_keeps_its_batch_for_the_grace_time() -> None:
    scheduler = started(many(6), Pacing(batch_s=100.0, grace_s=10.0, probe_every_s=0))
    lease = first_lease(scheduler)
    scheduler.handle(Left("a1", 0.0))
    assert arrive(scheduler, "a2", 1.0) == []
    assert scheduler.handle(Tick(9.0)) == []
    release, again = scheduler.handle(Tick(11.0))
    assert release == Release(lease.batch)
    assert isinstance(again, Lease)
    assert (again.phone, sorted(again.tasks)) == ("a2", sorted(lease.tasks))
    assert scheduler.handle(Arrived("a1", "A", frozenset({lease.batch}), 12.0)) == [Remove("a1", lease.batch)]


def test_without_another_phone_it_keeps_its_batch_for_as_long_as_it_takes() -> None:
    scheduler = started(many(6), Pacing(batch_s=100.0, grace_s=10.0, probe_every_s=0))
    lease = first_lease(scheduler)
    scheduler.handle(Left("a1", 0.0))
    assert scheduler.handle(Tick(100.0)) == []
    assert not scheduler.is_finished
    assert arrive(scheduler, "a2", 101.0)[0] == Release(lease.batch)


def test_a_lease_of_before_is_followed_and_not_given_out() -> None:
    tasks = (Task("A0", "measure"), Task("A1", "measure"))
    scheduler = started(many(6), leases={"x-00007": ("a1", tasks)})
    assert scheduler.handle(Arrived("a1", "A", frozenset({"x-00007"}), 0.0)) == [Follow("a1", "x-00007")]
    assert scheduler.leased("x-00007") == ("A0", "A1")


def test_after_a_stop_nothing_new_begins() -> None:
    scheduler = started(many(6), Pacing(batch_s=2.0))
    lease = first_lease(scheduler)
    scheduler.handle(StopRequested())
    assert not scheduler.is_finished
    assert scheduler.handle(Stopped(lease.batch)) == [Remove("a1", lease.batch), Release(lease.batch)]
    assert scheduler.is_finished


@given(st.integers(0, 100), st.integers(0, 100))
def test_the_seed_decides_the_order(first: int, second: int) -> None:
    orders = []
    for seed in (first, second):
        scheduler = Scheduler(owner="x", seed=seed, pacing=Pacing(batch_s=100.0))
        scheduler.handle(Added("A", tuple(many(6))))
        orders.append(first_lease(scheduler).tasks)
    assert sorted(orders[0]) == sorted(orders[1])
    assert first != second or orders[0] == orders[1]


def test_building_kernels_does_not_make_the_next_jobs_look_long() -> None:
    sizes = []
    for build_us in (0, 19_000_000):
        scheduler = started(many(100))
        lease = first_lease(scheduler)
        done: list[Instruction] = []
        for number, task in enumerate(lease.tasks):
            elapsed_us, building_us = (20_000_000, build_us) if number == 0 else (1_000_000, 0)
            done += scheduler.handle(Result(lease.batch, task.job, "ok", elapsed_us, None, building_us))
        sizes.append(len(only(Lease, done).tasks))
    assert sizes == [1, 10], "given when four jobs took 23 s in all, and when 19 s of that were building"


def test_the_next_batch_is_given_while_the_present_one_is_at_work() -> None:
    scheduler = started(many(30))
    lease = first_lease(scheduler)
    done = [scheduler.handle(Result(lease.batch, task.job, "ok", 1_000_000)) for task in lease.tasks]
    assert [len(each) for each in done] == [1, 1, 1, 2, 1, 1, 1, 1, 1, 1], "when a third of it is done"
    ahead = only(Lease, done[3])
    assert scheduler.handle(Stopped(lease.batch)) == [Remove("a1", lease.batch), Release(lease.batch)]
    assert only(Lease, measure(scheduler, ahead)).phone == "a1", "it is the present one now"


def test_a_phone_takes_nothing_ahead_that_the_others_of_its_class_will_want() -> None:
    scheduler = started(many(30))
    first, second = first_lease(scheduler), first_lease(scheduler, "a2")
    assert not measure(scheduler, first), "ten jobs are left for two"
    assert only(Lease, scheduler.handle(Stopped(first.batch))).phone == "a1"
    assert not measure(scheduler, second)


def test_what_was_given_ahead_and_returned_waits_again() -> None:
    scheduler = started(many(20))
    lease = first_lease(scheduler)
    ahead = only(Lease, measure(scheduler, lease))
    assert len(lease.tasks + ahead.tasks) == 20
    assert scheduler.handle(Returned(ahead.batch)) == [Remove("a1", ahead.batch), Release(ahead.batch)]
    again = only(Lease, scheduler.handle(Stopped(lease.batch, spoiled="it got hot")))
    assert len(again.tasks) == 5, "of those that were spoiled and those that came back"
    assert len(measured_from(scheduler, again)) == 20


def test_both_batches_of_a_phone_that_was_away_are_followed_in_turn() -> None:
    scheduler = started(many(40))
    lease = first_lease(scheduler)
    ahead = only(Lease, measure(scheduler, lease))
    scheduler.handle(Left("a1", 1.0))
    lying = frozenset({lease.batch, ahead.batch, "x-00099"})
    back = scheduler.handle(Arrived("a1", "A", lying, 2.0))
    removed = [Remove("a1", lease.batch), Remove("a1", "x-00099")]
    assert back == [*removed, Follow("a1", ahead.batch)], "all results of the first one were there"
    scheduler = started(many(40), leases={lease.batch: ("a1", lease.tasks[5:]), ahead.batch: ("a1", ahead.tasks)})
    assert scheduler.handle(Arrived("a1", "A", lying, 0.0)) == [
        Remove("a1", "x-00099"),
        Follow("a1", lease.batch),
        Follow("a1", ahead.batch),
    ]


def test_nothing_is_given_ahead_of_a_probe_that_is_off() -> None:
    scheduler = started(many(60), PROBED, probes=KNOWN)
    good = first_lease(scheduler)
    ahead = only(Lease, measure(scheduler, good))
    assert purposes(ahead).count(PROBE) == 2, "ten seconds of work have passed by then"
    scheduler.handle(Stopped(good.batch))
    assert not measure(scheduler, ahead, probe_us=120.0)
    assert purposes(only(Lease, scheduler.handle(Stopped(ahead.batch)))).count(PROBE) == 2


def test_an_unfit_phone_gets_nothing_new_but_goes_on_with_what_it_has() -> None:
    scheduler = started(many(20))
    lease = first_lease(scheduler)
    scheduler.handle(Unfit("a1", "hot", 1.0))
    assert complete(scheduler, lease) == [Remove("a1", lease.batch), Release(lease.batch)]
    assert scheduler.is_busy, "it will be well again"
    assert isinstance(scheduler.handle(Fit("a1", 2.0))[0], Lease)


def test_a_phone_that_fails_over_and_over_is_retired_until_it_arrives_again() -> None:
    scheduler = started(many(20))
    lease = first_lease(scheduler)
    for _ in range(MAX_TROUBLES - 1):
        lease = only(Lease, scheduler.handle(Stopped(lease.batch, error="the agent died")))
    instructions = scheduler.handle(Stopped(lease.batch, error="the agent died"))
    assert only(Retire, instructions).reason == "5 batches in a row went wrong, the last one so: the agent died"
    assert not scheduler.is_busy
    assert scheduler.handle(Left("a1", 3.0)) == []
    assert len(measured_from(scheduler, first_lease(scheduler))) == 20


PROBED = Pacing(batch_s=10.0, probe_every_s=10.0, sister_fraction=0, rest_s=30.0)
BASE = {job.id: (100.0,) * BASE_READINGS for job in PROBES}
KNOWN = {"a1": ProbeState(BASE, BASE)}


def test_until_a_phone_has_a_base_each_batch_is_probed() -> None:
    scheduler = started(many(200), Pacing(batch_s=5.0, probe_every_s=100.0, sister_fraction=0))
    lease = first_lease(scheduler)
    counts = []
    for _ in range(BASE_READINGS + 2):
        counts.append(purposes(lease).count(PROBE))
        lease = only(Lease, complete(scheduler, lease))
    assert counts == [2] * BASE_READINGS + [0] * 2


def test_a_probe_comes_first_and_then_whenever_enough_work_has_passed() -> None:
    scheduler = started(many(60), Pacing(batch_s=5.0, probe_every_s=9.0, sister_fraction=0), probes=KNOWN)
    lease = first_lease(scheduler)
    counts = [purposes(lease).count(PROBE)]
    for _ in range(4):
        lease = only(Lease, complete(scheduler, lease))
        counts.append(purposes(lease).count(PROBE))
    assert counts == [2, 0, 2, 0, 2]


def test_the_last_batch_is_followed_by_a_probe() -> None:
    scheduler = started(many(5), PROBED)
    closing = only(Lease, complete(scheduler, first_lease(scheduler)))
    assert purposes(closing) == [PROBE, PROBE]
    assert not scheduler.is_finished
    complete(scheduler, closing)
    assert scheduler.is_finished


def test_drift_throws_away_what_lies_between_and_rests_the_phone() -> None:
    scheduler = started(many(60), PROBED, probes=KNOWN)
    good = only(Lease, complete(scheduler, first_lease(scheduler)))
    unproven = only(Lease, complete(scheduler, good))
    suspect = complete(scheduler, unproven, probe_us=120.0)
    assert not [each for each in suspect if isinstance(each, Invalidate | Rest)], "one reading may be a chance"
    confirmed = complete(scheduler, only(Lease, suspect), probe_us=120.0)
    thrown = [each for each in confirmed if isinstance(each, Invalidate)]
    assert [each.batch for each in thrown] == [good.batch, unproven.batch, only(Lease, suspect).batch]
    assert {task for each in thrown for task in each.tasks} >= {t for t in good.tasks if t.purpose == "measure"}
    assert only(Rest, confirmed).reason.endswith("is 20% slower than its base of 100 us")
    assert not [each for each in confirmed if isinstance(each, Lease)]
    assert scheduler.is_busy
    assert scheduler.handle(Tick(29.0)) == []
    probing = only(Lease, scheduler.handle(Tick(31.0)))
    assert set(purposes(probing)) == {PROBE}
    assert "measure" in purposes(only(Lease, complete(scheduler, probing, probe_us=101.0)))


def test_a_single_bad_probe_costs_nothing() -> None:
    scheduler = started(many(60), PROBED, probes=KNOWN)
    lease = first_lease(scheduler)
    for probe_us in (100.0, 120.0, 100.0, 85.0, 100.0):
        instructions = complete(scheduler, lease, probe_us=probe_us)
        assert not [each for each in instructions if isinstance(each, Invalidate | Rest)]
        lease = only(Lease, instructions)


def test_a_phone_that_stays_at_a_new_level_works_on_with_it() -> None:
    scheduler = started(many(200), PROBED, probes=KNOWN)
    lease, now_s = first_lease(scheduler), 0.0
    for probe_us in (100.0, 100.0, 100.0, 120.0):
        lease = only(Lease, complete(scheduler, lease, probe_us=probe_us))
    instructions = complete(scheduler, lease, probe_us=120.0)
    while not any(isinstance(each, Settled) for each in instructions):
        now_s += PROBED.rest_s + 1
        instructions = complete(scheduler, only(Lease, scheduler.handle(Tick(now_s))), probe_us=120.0)
    assert now_s < 5 * (PROBED.rest_s + 1)
    lease = only(Lease, instructions)
    assert "measure" in purposes(lease)
    assert not [each for each in complete(scheduler, lease, probe_us=120.0) if isinstance(each, Rest)]


def test_the_base_outlives_a_restart() -> None:
    scheduler = started(many(60), PROBED)
    lease = first_lease(scheduler)
    for _ in range(BASE_READINGS):
        instructions = complete(scheduler, lease)
        lease = only(Lease, instructions)
    again = started(many(60), PROBED, probes={"a1": only(Remember, instructions).state})
    suspect = complete(again, first_lease(again), probe_us=120.0)
    assert only(Rest, complete(again, only(Lease, suspect), probe_us=120.0))


def test_a_spoiled_batch_is_repeated_twice_and_then_counts_marked() -> None:
    scheduler = started(many(1))
    lease = first_lease(scheduler)
    for _ in range(2):
        instructions = complete(scheduler, lease, spoiled="it got hot")
        assert only(Invalidate, instructions).reason == "spoiled: it got hot"
        lease = only(Lease, instructions)
    assert only(Mark, complete(scheduler, lease, spoiled="it got hot")).tasks == lease.tasks
    assert scheduler.is_finished


SISTERS = Pacing(probe_every_s=0, sister_fraction=1.0)


def test_each_chosen_job_is_measured_by_a_second_phone() -> None:
    scheduler = started(many(4), SISTERS)
    lease = first_lease(scheduler)
    complete(scheduler, lease)
    assert scheduler.is_finished, "there is no second phone"
    assert scheduler.waiting_sisters() == {"A": 4}
    [second] = arrive(scheduler, "a2")
    while isinstance(second, Lease):
        assert not scheduler.is_finished
        assert set(purposes(second)) == {SISTER}
        *_, second = complete(scheduler, second)
    assert scheduler.is_finished
    assert scheduler.waiting_sisters() == {}


def test_a_job_without_a_time_needs_no_second_phone() -> None:
    scheduler = started(many(1), SISTERS)
    lease = first_lease(scheduler)
    scheduler.handle(Result(lease.batch, "A0", "unsupported", 1000))
    scheduler.handle(Stopped(lease.batch))
    assert arrive(scheduler, "a2") == []


def test_a_sister_goes_to_whichever_idle_phone_may_take_it() -> None:
    scheduler = started(many(1), SISTERS)
    lease = first_lease(scheduler, "a1")
    assert arrive(scheduler, "a3") == []
    [_, second] = scheduler.handle(Result(lease.batch, "A0", "ok", 1_000_000))
    assert isinstance(second, Lease)
    assert second.phone == "a3"
    scheduler.handle(Stopped(lease.batch))
    assert arrive(scheduler, "a2") == []
    scheduler.handle(Left("a3", 0.0))
    assert only(Lease, scheduler.handle(Tick(SISTERS.grace_s + 1))).phone == "a2", "a1 has measured the job itself"


def test_a_job_and_its_sister_never_come_from_one_phone() -> None:
    scheduler = started(many(1), SISTERS)
    lease = first_lease(scheduler, "a1")
    arrive(scheduler, "a2")
    [_, second] = scheduler.handle(Result(lease.batch, "A0", "ok", 1_000_000))
    assert isinstance(second, Lease)
    complete(scheduler, second)
    scheduler.handle(Unfit("a1", "hot", 1.0))
    again = only(Lease, scheduler.handle(Stopped(lease.batch, spoiled="it got hot")))
    assert (again.phone, again.tasks) == ("a2", (Task("A0", "measure"),))
    superseded = only(Invalidate, scheduler.handle(Result(again.batch, "A0", "ok", 1_000_000)))
    assert (superseded.batch, superseded.tasks) == (second.batch, (Task("A0", SISTER),))
    assert only(Lease, scheduler.handle(Fit("a1", 2.0))).tasks == (Task("A0", SISTER),)


def test_sisters_are_chosen_by_their_ids_alone() -> None:
    names = [f"job{i}" for i in range(4000)]
    chosen = {name for name in names if is_sister(name, 7, 0.05)}
    assert 150 < len(chosen) < 250
    assert chosen == {name for name in reversed(names) if is_sister(name, 7, 0.05)}
    assert chosen <= {name for name in names if is_sister(name, 7, 0.1)}
    assert chosen != {name for name in names if is_sister(name, 8, 0.05)}
