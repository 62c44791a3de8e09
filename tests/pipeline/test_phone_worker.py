"""A worker that serves a phone, without Ray: the real agent on a virtual phone."""

from __future__ import annotations

import json
import os
import queue
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from splitfleet.kernels.operators import Linear
from splitfleet.pipeline.adb_transport import AdbTransport
from splitfleet.pipeline.campaign import Repeat
from splitfleet.pipeline.health import Limits
from splitfleet.pipeline.jobs import Job, JobFactory
from splitfleet.pipeline.messages import (
    BatchReturned,
    BatchStopped,
    FollowBatch,
    PhoneArrived,
    PhoneLeft,
    PhoneMessage,
    RemoveBatch,
    ResultsRead,
    StartBatch,
    StatusChanged,
)
from splitfleet.pipeline.pace import Pace
from splitfleet.pipeline.phone import Phone, identify_android, prepare
from splitfleet.pipeline.phone_batch import PhoneBatch
from splitfleet.pipeline.phone_lock import PhoneLock
from splitfleet.pipeline.phone_state import PhoneState
from splitfleet.pipeline.phone_worker import PhonePlace, PhoneWorker
from splitfleet.pipeline.transport import Deadlines, PhoneStorageFull

from ..infra.phones import RunningPhone, wait_until

StartPhone = Callable[..., RunningPhone]
QUICK = Repeat(warmup=1, min_count=1, min_time_us=0, max_count=2, max_time_us=20_000)
SLOW = Repeat(warmup=1, min_count=1, min_time_us=400_000, max_count=10_000, max_time_us=800_000)
SLOWER = SLOW.model_copy(update={"min_time_us": 4_000_000, "max_time_us": 5_000_000})
PACE = Pace(poll_s=0.1, retry_s=0.2, idle_s=0.5, blocked_s=0.5, stall_s=30.0, quarantine_s=30.0, lock_stale_s=1.5)
LIMITS = Limits(steady_s=1.0)


def jobs_for(phone_or_profile: Phone | PhoneArrived, count: int, repeat: Repeat = QUICK) -> list[Job]:
    make = JobFactory(phone_or_profile.profile, repeat)
    rows, inputs = (4, 32) if repeat is QUICK else (256, 512)
    return [make.cpu(Linear(rows, inputs, 4 * (i + 1)), 1) for i in range(count)]


Message = TypeVar("Message", bound=PhoneMessage)


class Watched:
    """A worker with its messages at hand."""

    def __init__(self, address: str, owner: str = "mine", pace: Pace = PACE) -> None:
        def connect(on_prompt: Callable[[], None]) -> AdbTransport:
            return AdbTransport(address, deadlines=Deadlines(connect_s=3.0, authorize_s=5.0), on_prompt=on_prompt)

        self.messages: queue.Queue[PhoneMessage] = queue.Queue()
        self.worker = PhoneWorker(
            PhonePlace(address, connect, identify_android), owner, self.messages.put, pace, limits=LIMITS
        )
        self.lines: list[dict[str, Any]] = []
        self.offset = 0
        self.worker.start()

    def wait_for(self, kind: type[Message], where: Callable[[Message], bool] = lambda _: True) -> Message:
        """The next message of a kind; result lines on the way are kept. Fails after half a minute of silence."""
        while True:
            message = self.messages.get(timeout=120)
            if isinstance(message, ResultsRead):
                self.lines += message.lines
                self.offset = message.offset
            if isinstance(message, kind) and where(message):
                return message

    def wait_for_state(self, state: PhoneState) -> str:
        return self.wait_for(StatusChanged, lambda message: message.status.state is state).status.reason

    def begin(self, batch: str, count: int, repeat: Repeat = QUICK) -> tuple[PhoneArrived, list[Job]]:
        """Waits for the phone and gives it a batch of so many jobs."""
        arrived = self.wait_for(PhoneArrived)
        jobs = jobs_for(arrived, count, repeat)
        self.worker.command(arrived.session, StartBatch.of(batch, jobs))
        return arrived, jobs

    def results(self) -> list[str]:
        return [line["id"] for line in self.lines if line["type"] == "result"]

    def end(self) -> None:
        self.worker.stop()
        self.worker.join(timeout=60)
        assert not self.worker.is_alive()


@pytest.fixture
def watch(one_agent: None) -> Iterator[Callable[..., Watched]]:
    started: list[Watched] = []

    def start(phone: RunningPhone, owner: str = "mine", pace: Pace = PACE) -> Watched:
        started.append(Watched(phone.address, owner, pace))
        return started[-1]

    yield start
    for watched in started:
        watched.end()


def agent_pid(phone: RunningPhone, batch: str) -> int:
    return int((phone.root / "data/local/tmp/splitfleet/batches" / batch / "pid").read_text())


def batches(phone: RunningPhone) -> list[str]:
    return sorted(path.name for path in (phone.root / "data/local/tmp/splitfleet/batches").iterdir())


def test_a_batch_is_measured_and_removed(watch: Callable[..., Watched], start_phone: StartPhone) -> None:
    phone = start_phone()
    watched = watch(phone)
    arrived, jobs = watched.begin("mine-1", 3)
    stopped = watched.wait_for(BatchStopped)
    assert stopped.error == ""
    assert stopped.after.hottest_c is not None
    assert watched.results() == [job.id for job in jobs]
    assert watched.lines[0]["type"] == "agent"
    watched.worker.command(arrived.session, RemoveBatch("mine-1"))
    assert wait_until(lambda: batches(phone) == [])


def test_what_was_told_before_the_end_is_still_done(
    watch: Callable[..., Watched], start_phone: StartPhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver has the batch removed and ends while the thread gives the phone back: it had looked for commands."""
    phone = start_phone()
    watched = watch(phone)
    arrived = watched.wait_for(PhoneArrived)
    release = PhoneLock.release

    def release_while_the_driver_ends(lock: PhoneLock) -> None:
        release(lock)
        watched.worker.command(arrived.session, RemoveBatch("mine-1"))
        watched.worker.stop()

    monkeypatch.setattr(PhoneLock, "release", release_while_the_driver_ends)
    watched.worker.command(arrived.session, StartBatch.of("mine-1", jobs_for(arrived, 1)))
    watched.wait_for(BatchStopped)
    watched.worker.join(timeout=60)
    assert batches(phone) == []


def test_a_killed_agent_is_started_again(watch: Callable[..., Watched], start_phone: StartPhone) -> None:
    phone = start_phone()
    watched = watch(phone)
    _, jobs = watched.begin("mine-1", 4, SLOW)
    watched.wait_for(ResultsRead, lambda message: any(line["type"] == "result" for line in message.lines))
    os.kill(agent_pid(phone, "mine-1"), signal.SIGKILL)
    assert watched.wait_for(BatchStopped).error == ""
    assert watched.results() == [job.id for job in jobs], "each once, in order"


def test_a_vanished_phone_goes_on_and_is_read_on(watch: Callable[..., Watched], start_phone: StartPhone) -> None:
    phone = start_phone()
    watched = watch(phone)
    arrived, jobs = watched.begin("mine-1", 5, SLOW)
    watched.wait_for(ResultsRead, lambda message: any(line["type"] == "result" for line in message.lines))
    pid = agent_pid(phone, "mine-1")
    phone.order("vanish", seconds=1.5)
    watched.wait_for(PhoneLeft)
    back = watched.wait_for(PhoneArrived)
    assert back.batches == ("mine-1",)
    assert agent_pid(phone, "mine-1") == pid
    watched.worker.command(arrived.session, StartBatch("mine-9", "an order from before it left", frozenset()))
    watched.worker.command(back.session, FollowBatch("mine-1", watched.offset))
    assert watched.wait_for(BatchStopped).batch == "mine-1"
    assert watched.results() == [job.id for job in jobs]


def test_the_next_batch_begins_without_the_host(watch: Callable[..., Watched], start_phone: StartPhone) -> None:
    phone = start_phone()
    watched = watch(phone)
    arrived = watched.wait_for(PhoneArrived)
    jobs = jobs_for(arrived, 8, SLOW)
    watched.worker.command(arrived.session, StartBatch.of("mine-1", jobs[:6]))
    watched.wait_for(ResultsRead)
    watched.worker.command(arrived.session, StartBatch.of("mine-2", jobs[6:]))
    folder = phone.root / "data/local/tmp/splitfleet/batches"
    assert wait_until((folder / "mine-1/next").exists)
    phone.order("vanish", seconds=4.0)
    watched.wait_for(PhoneLeft)
    assert wait_until((folder / "mine-2/results.jsonl").exists)
    back = watched.wait_for(PhoneArrived)
    assert back.batches == ("mine-1", "mine-2")
    watched.worker.command(back.session, FollowBatch("mine-1", watched.offset))
    watched.worker.command(back.session, FollowBatch("mine-2", 0))
    assert [watched.wait_for(BatchStopped).batch for _ in range(2)] == ["mine-1", "mine-2"]
    assert watched.results() == [job.id for job in jobs], "each once, in order"


def test_what_comes_next_does_not_wait_for_the_next_look(
    watch: Callable[..., Watched], start_phone: StartPhone
) -> None:
    phone = start_phone()
    transport = AdbTransport(phone.address)
    ready = prepare(transport, identify_android(transport))
    jobs = jobs_for(ready, 31, SLOW)
    batch = ready.batch("mine-1")
    batch.put(StartBatch.of("mine-1", jobs[:30]).job_file)
    batch.begin()
    transport.close()
    watched = watch(phone, pace=replace(PACE, poll_s=1000.0))
    arrived = watched.wait_for(PhoneArrived)
    watched.worker.command(arrived.session, FollowBatch("mine-1", 0))
    watched.wait_for(ResultsRead)  # of a batch whose length is not known: the next look is far away
    watched.worker.command(arrived.session, StartBatch.of("mine-2", jobs[30:]))
    assert wait_until((phone.root / "data/local/tmp/splitfleet/batches/mine-1/next").exists)


def test_a_disk_that_fills_up_before_the_next_batch_is_named(
    start_phone: StartPhone, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = start_phone()
    transport = AdbTransport(phone.address)
    batch, following = (PhoneBatch(transport, "agent", f"mine-{number}") for number in (1, 2))
    transport.run(f"mkdir -p {transport.folder}/batches/mine-1", 10)
    put = following.put

    def put_then_fill(job_file: str) -> None:
        put(job_file)
        phone.order("disk-full")

    monkeypatch.setattr(following, "put", put_then_fill)
    with pytest.raises(PhoneStorageFull, match=f"{phone.address}: disk full"):
        batch.put_next(following, "{}\n")
    transport.close()


def test_what_was_given_ahead_is_returned_when_the_phone_becomes_unfit(
    watch: Callable[..., Watched], start_phone: StartPhone
) -> None:
    phone = start_phone()
    watched = watch(phone)
    arrived = watched.wait_for(PhoneArrived)
    jobs = jobs_for(arrived, 9, SLOW)
    watched.worker.command(arrived.session, StartBatch.of("mine-1", jobs[:8]))
    watched.wait_for(ResultsRead)
    watched.worker.command(arrived.session, StartBatch.of("mine-2", jobs[8:]))
    phone.order("load", load=9.0)
    assert watched.wait_for(BatchReturned).batch == "mine-2"
    assert watched.wait_for(BatchStopped).batch == "mine-1"
    assert batches(phone) == ["mine-1"]
    assert watched.results() == [job.id for job in jobs[:8]]


def test_another_campaigns_work_is_not_disturbed(watch: Callable[..., Watched], start_phone: StartPhone) -> None:
    phone = start_phone()
    first = watch(phone, "first")
    first.begin("first-1", 12, SLOW)
    first.wait_for(ResultsRead)
    second = watch(phone, "second")
    assert "another campaign (first), process" in second.wait_for_state(PhoneState.LEASED)
    assert first.wait_for(BatchStopped).error == ""
    assert second.wait_for(PhoneArrived).batches == ()


def test_an_agent_that_cannot_work_is_given_up(watch: Callable[..., Watched], start_phone: StartPhone) -> None:
    phone = start_phone()
    watched = watch(phone)
    arrived = watched.wait_for(PhoneArrived)
    (phone.root / "data/local/tmp/splitfleet/batches/mine-1").mkdir()
    watched.worker.command(arrived.session, FollowBatch("mine-1", 0))
    stopped = watched.wait_for(BatchStopped)
    assert "the agent ended 4 times without a new result" in stopped.error


def test_campaigns_take_turns_batch_by_batch(watch: Callable[..., Watched], start_phone: StartPhone) -> None:
    phone = start_phone()
    # On a busy host more than PACE's stale time may lie between two batches, and no agent runs then.
    # The second one has ten looks to take the phone when it is let in.
    pace = replace(PACE, lock_stale_s=60.0, poll_s=1.0)
    first, second = watch(phone, "first", pace), watch(phone, "second", pace)
    arrived, other = first.wait_for(PhoneArrived), second.wait_for(PhoneArrived)
    first.worker.command(arrived.session, StartBatch.of("first-1", jobs_for(arrived, 6, SLOW)))
    first.wait_for(ResultsRead)
    second.worker.command(other.session, StartBatch.of("second-1", jobs_for(other, 6, SLOW)))
    assert "another campaign (first), process" in second.wait_for_state(PhoneState.LEASED)
    first.worker.command(arrived.session, StartBatch.of("first-2", jobs_for(arrived, 2, SLOW)))
    assert first.wait_for(BatchStopped).error == ""
    assert "another campaign (second), process" in first.wait_for_state(PhoneState.LEASED)
    assert second.wait_for(BatchStopped).spoiled == ""
    assert first.wait_for(BatchStopped).batch == "first-2"
    assert wait_until(lambda: not (phone.root / "data/local/tmp/splitfleet/lock").exists())


def test_what_is_no_result_ends_the_batch_and_three_such_the_phones_work(
    watch: Callable[..., Watched], start_phone: StartPhone
) -> None:
    phone = start_phone()
    watched = watch(phone)
    arrived = watched.wait_for(PhoneArrived)
    [good, never] = jobs_for(arrived, 2)
    for number in range(3):
        folder = phone.root / f"data/local/tmp/splitfleet/batches/mine-{number}"
        folder.mkdir()
        result = {"type": "result", "schema": 2, "id": good.id, "kind": "cpu", "status": "noisy", "error": "x"}
        (folder / "results.jsonl").write_text(f"{json.dumps(result)}\n[[[[ {never.id}\n")
        watched.worker.command(arrived.session, FollowBatch(f"mine-{number}", 0))
        stopped = watched.wait_for(BatchStopped)
        who = f"phone {phone.address}: batch mine-{number}: behind job {good.id}: its result file holds a line that is"
        assert stopped.error.startswith(who)
        assert watched.results() == [good.id] * (number + 1), "what came before is kept"
    reason = watched.wait_for_state(PhoneState.QUARANTINED)
    assert "3 troubles in a row, the last: " in reason
    assert "restart the phone to try it at once" in reason
    phone.order("reboot", seconds=0.2)
    assert watched.wait_for(PhoneArrived).batches == ("mine-0", "mine-1", "mine-2")


def test_a_batch_in_whose_middle_the_phone_got_hot_is_spoiled(
    watch: Callable[..., Watched], start_phone: StartPhone
) -> None:
    phone = start_phone()
    watched = watch(phone)
    arrived = watched.wait_for(PhoneArrived)
    jobs = [*jobs_for(arrived, 2, SLOW), *jobs_for(arrived, 1, SLOWER)]
    watched.worker.command(arrived.session, StartBatch.of("mine-1", jobs))
    # The last job is at work: before one, the agent itself would wait until the phone is cooler.
    watched.wait_for(ResultsRead, lambda _: len(watched.results()) >= 2)
    phone.order("thermal-status", status=2)
    stopped = watched.wait_for(BatchStopped)
    assert stopped.error == ""
    assert "thermal status 2" in stopped.spoiled
    phone.order("clear")
    watched.wait_for_state(PhoneState.READY)


def test_a_phone_that_restarts_in_the_middle_goes_on_and_says_so(
    watch: Callable[..., Watched], start_phone: StartPhone
) -> None:
    phone = start_phone()
    watched = watch(phone)
    _, jobs = watched.begin("mine-1", 4, SLOW)
    watched.wait_for(ResultsRead, lambda message: any(line["type"] == "result" for line in message.lines))
    phone.order("reboot", seconds=0.5)
    back = watched.wait_for(PhoneArrived)
    watched.worker.command(back.session, FollowBatch("mine-1", watched.offset))
    assert "was restarted in the middle" in watched.wait_for(BatchStopped).spoiled
    assert watched.results() == [job.id for job in jobs], "each once, in order"


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        ({"kind": "battery", "level": 9, "status": "discharging", "powered_by": "none"}, PhoneState.LOW_BATTERY),
        ({"kind": "load", "load": 9.0}, PhoneState.BUSY),
    ],
)
def test_an_idle_phone_that_becomes_unfit_is_noticed_and_starts_nothing(
    watch: Callable[..., Watched], start_phone: StartPhone, fault: dict[str, Any], state: PhoneState
) -> None:
    phone = start_phone()
    watched = watch(phone)
    arrived = watched.wait_for(PhoneArrived)
    phone.order(**fault)
    watched.wait_for_state(state)
    watched.worker.command(arrived.session, StartBatch.of("mine-1", jobs_for(arrived, 1)))
    assert batches(phone) == []
    phone.order("battery", level=100, status="full", powered_by="usb")
    phone.order("load", load=0.1)
    stopped = watched.wait_for(BatchStopped)
    assert (stopped.error, stopped.spoiled) == ("", "")


def test_a_hot_phone_cools_first(watch: Callable[..., Watched], start_phone: StartPhone) -> None:
    phone = start_phone()
    phone.order("temperature", millidegrees=60_000)
    watched = watch(phone)
    watched.wait_for_state(PhoneState.COOLING)
    phone.order("temperature", millidegrees=30_000)
    watched.wait_for(PhoneArrived)
