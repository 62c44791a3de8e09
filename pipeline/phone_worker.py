"""Serves one phone from a thread: connects, prepares, executes batches, reports; and again after each trouble."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from splitfleet.kernels.errors import SplitfleetError

from .batch_follower import follow_batch
from .conditions import Conditions
from .health import Cooling, Limits, spoiled
from .messages import (
    BatchReturned,
    BatchStopped,
    FollowBatch,
    PhoneArrived,
    PhoneCommand,
    PhoneLeft,
    PhoneMessage,
    RemoveBatch,
    ResultsRead,
    RetirePhone,
    StartBatch,
    StatusChanged,
)
from .pace import Pace
from .phone import Identity, NoOpenCL, Phone, prepare
from .phone_batch import AgentStopped, PhoneBatch, batches_on
from .phone_lock import PhoneLock
from .phone_state import PhoneState, PhoneStatus
from .phone_turn import Turn
from .quarantine import Quarantined, TroubleRecord
from .readings import Readings, read_readings
from .transport import (
    CommandTimeout,
    GarbledLink,
    PhoneStorageFull,
    PhoneUnauthorized,
    PhoneUnreachable,
    Transport,
)

_FRESH_S = 2.0  # readings of the end of one batch serve for the start of the next


@dataclass(frozen=True)
class PhonePlace:
    """How to reach a phone and to ask who it is. `connect` takes a function to call when the phone asks for consent."""

    address: str
    connect: Callable[[Callable[[], None]], Transport]
    identify: Callable[[Transport], Identity]


@dataclass
class _Evidence:
    """What is known of the condition that a batch is measured in; kept while the phone is away."""

    batch: str
    before: Readings
    telemetry: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class _Ahead:
    """The batch that comes after the one at work, and the offset from which its results are to be read."""

    batch: PhoneBatch
    offset: int = 0


class PhoneWorker(threading.Thread):
    """The thread of one phone. `report` is called from it with each message. `owner` marks the batches that are
    this campaign's: their ids start with it; `campaign` is its name, for those who meet it on the phone.
    `conditions` are what the campaign asks of the phone, `limits` those of its health."""

    def __init__(
        self,
        place: PhonePlace,
        owner: str,
        report: Callable[[PhoneMessage], None],
        pace: Pace | None = None,
        conditions: Conditions | None = None,
        *,
        limits: Limits | None = None,
        campaign: str = "",
    ) -> None:
        super().__init__(name=f"phone {place.address}", daemon=True)
        self._commands: queue.Queue[tuple[int, PhoneCommand]] = queue.Queue()
        self._place = place
        self._owner = owner
        self._campaign = campaign
        self._report = report
        self._pace = pace or Pace()
        self._conditions = conditions or Conditions()
        self._limits = limits or Limits()
        self._cooling = Cooling(self._limits)
        self._troubles = TroubleRecord(self._pace.quarantine_s)
        self._stopping = threading.Event()
        self._told = threading.Event()  # a command is new, or the thread shall stop
        self._status = PhoneStatus(place.address, PhoneState.CONNECTING)
        self._transport: Transport | None = None
        self._turn: Turn
        self._known: Phone | None = None
        self._session = time.monotonic_ns()  # a thread that takes this one's place has other sessions
        self._is_announced = False
        self._readings, self._readings_s = Readings(), float("-inf")
        self._evidence: _Evidence | None = None
        self._ahead: _Ahead | None = None
        self._finished = ""  # the last batch that ended well

    def command(self, session: int, command: PhoneCommand) -> None:
        """Queues a command, unless the phone has gone away since the arrival that `session` names."""
        self._commands.put((session, command))
        self._told.set()

    def stop(self) -> None:
        """Asks the thread to end; what runs on the phone goes on there."""
        self._stopping.set()
        self._told.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            self._stopping.wait(self._serve_until_trouble())
        if self._transport:
            self._transport.close()

    def _serve_until_trouble(self) -> float:
        """Returns how long to wait before the next try, in seconds."""
        pace = self._pace
        try:
            self._serve(self._arrive())
        except PhoneUnauthorized as error:
            return self._leave(PhoneState.UNAUTHORIZED, self._without_name(error), pace.retry_s)
        except (PhoneUnreachable, CommandTimeout) as error:
            if isinstance(error, GarbledLink):
                self._troubles.note(str(error), time.monotonic(), self._readings.boot_id)
            return self._leave(PhoneState.OFFLINE, self._without_name(error), pace.retry_s)
        except PhoneStorageFull as error:
            return self._leave(PhoneState.DISK_FULL, self._without_name(error), pace.blocked_s)
        except NoOpenCL as error:
            return self._leave(PhoneState.NO_OPENCL, self._without_name(error), pace.blocked_s)
        except SplitfleetError as error:
            return self._leave(PhoneState.QUARANTINED, self._without_name(error), pace.blocked_s)
        except Exception as error:
            # A fault of ours must not end the thread in silence: the phone would seem to work for ever.
            reason = f"internal error: {error!r}; report it, with the phone's model"
            return self._leave(PhoneState.QUARANTINED, reason, pace.blocked_s)
        return 0.0

    def _without_name(self, error: SplitfleetError) -> str:
        """What the error says; whoever shows a phone's state shows its address before it."""
        text = str(error)
        for name in (self._transport.name if self._transport else "", self._place.address):
            text = text.removeprefix(f"{name}: ")
        return text

    def _arrive(self) -> Phone:
        """Connects and prepares, waits until the phone may measure, and announces it."""
        if self._transport is None:
            self._transport = self._place.connect(self._prompted)
            lock = PhoneLock(self._transport, self._owner, self._campaign, self._pace.lock_stale_s)
            self._turn = Turn(lock, self._pace.poll_s, self._stopping, partial(self._set, PhoneState.LEASED))
        identity = self._place.identify(self._transport)
        self._take_readings()
        if reason := self._troubles.sentence(time.monotonic(), self._readings.boot_id):
            raise Quarantined(f"{self._place.address}: {reason}")
        known = self._prepared(self._transport, identity)
        batches = tuple(name for name in batches_on(self._transport) if name.startswith(self._owner))
        if not batches:
            self._turn.end()
            self._wait_until_fit()
        self._set(PhoneState.READY)
        self._session += 1
        self._is_announced = True
        self._report(PhoneArrived(self._place.address, self._session, identity.serial, known.profile, batches))
        return known

    def _prepared(self, transport: Transport, identity: Identity) -> Phone:
        # A phone that only was away is not asked again: a job may be running there right now.
        if self._known is None or self._known.identity != identity or not self._known.is_installed():
            self._set(PhoneState.PREPARING, "", serial=identity.serial, model=identity.model)
            self._turn.take()
            what = "puts the agent in place; where it must be built first, that takes a minute"
            self._set(PhoneState.PREPARING, what)
            try:
                self._known = prepare(transport, identity, self._conditions)
            except SplitfleetError:
                # A phone that this campaign cannot use may be right for another one.
                with suppress(SplitfleetError):
                    self._turn.end()
                raise
        self._set(PhoneState.PREPARING, device_class=self._known.profile.device_class)
        return self._known

    def _serve(self, phone: Phone) -> None:
        """Executes commands until the phone makes trouble or the thread shall stop.

        A thread that shall stop still removes what it was told to: nobody would come back for it.
        """
        while True:
            if self._ahead and not self._stopping.is_set():
                self._go_on(phone, self._ahead)
                continue
            is_last_look = self._stopping.is_set()  # seen before the look: whoever stops has given the commands before
            try:
                session, command = self._commands.get(timeout=0 if is_last_look else self._pace.poll_s)
            except queue.Empty:
                self._turn.end_kept()
                if is_last_look:
                    return
                self._look_after()
                continue
            if session == self._session:
                self._execute(phone, command)

    def _execute(self, phone: Phone, command: PhoneCommand) -> None:
        match command:
            case RetirePhone(reason=reason):
                self._turn.end_kept()
                self._known = None  # it is prepared anew, as a phone that nobody has seen before
                self._troubles.confine(reason, time.monotonic(), self._readings.boot_id)
                raise Quarantined(f"{self._place.address}: {self._troubles.sentence(time.monotonic(), '')}")
            case RemoveBatch(batch=name) if name == self._finished and self._is_to_start():
                # What has ended is in nobody's way: it is removed while the next batch is at work.
                self._commands.put((self._session, command))
            case RemoveBatch():
                phone.batch(command.batch).remove()
            case StartBatch() if not self._stopping.is_set():
                batch = self._batch(phone, command, command.jobs)
                if self._take_turn():
                    batch.put(command.job_file)
                    self._begin(phone, batch)
            case FollowBatch():
                self._turn.take()
                self._follow(phone, self._batch(phone, command), command.offset)

    def _batch(self, phone: Phone, command: StartBatch | FollowBatch, jobs: frozenset[str] | None = None) -> PhoneBatch:
        return phone.batch(command.batch, jobs, self._limits.max_celsius, command.bound_us)

    def _is_to_start(self) -> bool:
        return any(isinstance(command, StartBatch) for _, command in tuple(self._commands.queue))

    def _take_turn(self) -> bool:
        """Waits until the phone may measure and this campaign has it; False where the thread shall stop."""
        self._wait_until_fit()
        return self._turn.take_next()

    def _begin(self, phone: Phone, batch: PhoneBatch) -> None:
        self._evidence = _Evidence(batch.id, self._fresh_readings())
        batch.begin()
        self._follow(phone, batch, 0)

    def _go_on(self, phone: Phone, ahead: _Ahead) -> None:
        """The batch that was put on the phone meanwhile: it runs by now, unless another campaign wants its turn."""
        self._ahead = None
        if ahead.batch.has_begun():
            self._follow(phone, ahead.batch, ahead.offset)
        elif self._take_turn():
            self._begin(phone, ahead.batch)

    def _follow(self, phone: Phone, batch: PhoneBatch, offset: int) -> None:
        """Reads a batch to its end and reports it; takes what comes next in meanwhile."""
        self._turn.is_kept = False
        self._set(PhoneState.LEASED)
        if self._evidence is None or self._evidence.batch != batch.id:
            self._evidence = _Evidence(batch.id, self._fresh_readings())
        evidence, error = self._evidence, ""
        try:
            for news in follow_batch(batch, offset, self._pace, self._stopping, self._pause):
                self._turn.renew()
                if news.lines:
                    self._report(ResultsRead(self._place.address, batch.id, news.lines, news.offset))
                    evidence.telemetry += [line for line in news.lines if line.get("type") == "telemetry"]
                    self._show_heat(news.lines)
                self._prepare_next(phone, batch)
        except AgentStopped as stopped:
            error = str(stopped)
        if not self._stopping.is_set():
            self._conclude(evidence, error)

    def _pause(self, wait_s: float) -> None:
        """Until the next look at a batch, or a command, so that the next batch is on the phone in time."""
        self._told.wait(wait_s)
        self._told.clear()

    def _prepare_next(self, phone: Phone, batch: PhoneBatch) -> None:
        """Puts the batch that is to come next on the phone while this one is at work."""
        while self._ahead is None and not self._stopping.is_set():
            try:
                session, command = self._commands.get_nowait()
            except queue.Empty:
                return
            if session != self._session:
                continue
            match command:
                case StartBatch():
                    ahead = self._batch(phone, command, command.jobs)
                    batch.put_next(ahead, command.job_file)
                    self._ahead = _Ahead(ahead)
                case FollowBatch():
                    self._ahead = _Ahead(self._batch(phone, command), command.offset)
                case _:
                    self._execute(phone, command)

    def _conclude(self, evidence: _Evidence, error: str) -> None:
        after = self._take_readings()
        self._evidence = None
        # First how the phone is, then that it is free: nobody shall give work to a hot phone.
        is_fit = self._show_fitness()
        reason = spoiled(evidence.before, after, evidence.telemetry, self._limits)
        if self._ahead and (error or reason or not is_fit):
            # Whether the phone goes on, and with what, is to be decided anew.
            self._ahead.batch.remove()
            self._report(BatchReturned(self._place.address, self._ahead.batch.id))
            self._ahead = None
        self._turn.is_kept = True
        self._report(BatchStopped(self._place.address, evidence.batch, evidence.before, after, error, reason))
        if not error:
            self._finished = evidence.batch
            self._troubles.forgive()
            return
        self._turn.end_kept()
        self._troubles.note(error, time.monotonic(), after.boot_id)
        if sentence := self._troubles.sentence(time.monotonic(), after.boot_id):
            raise Quarantined(f"{self._place.address}: {sentence}")

    def _show_heat(self, lines: tuple[dict[str, Any], ...]) -> None:
        """While the agent waits for the phone to cool, the batch goes on, but the phone does not measure."""
        for line in lines:
            if line.get("when") == "hot":
                self._set(PhoneState.COOLING, "its agent waits between two jobs until it is cooler")
            elif line.get("when") in ("cool", "still_hot"):
                self._set(PhoneState.LEASED)

    def _wait_until_fit(self) -> None:
        """Waits while the phone is hot, low, or otherwise unfit to measure; others may have it meanwhile."""
        while not self._show_fitness() and not self._stopping.is_set():
            self._turn.end_kept()
            self._stopping.wait(self._pace.idle_s)
            self._take_readings()

    def _show_fitness(self) -> bool:
        """Sets the state by readings that are fresh; returns whether the phone may measure."""
        readings = self._fresh_readings()
        found = self._cooling.obstacle(readings, self._readings_s)
        if found:
            self._set(found.state, found.reason)
        elif self._status.state.is_unfit or self._is_announced:
            self._set(PhoneState.READY)
        return found is None

    def _look_after(self) -> None:
        """An idle phone is asked now and then: one that was unplugged is noticed, and one that got hot."""
        if time.monotonic() - self._readings_s > self._pace.idle_s:
            self._take_readings()
            self._show_fitness()

    def _fresh_readings(self) -> Readings:
        return self._readings if time.monotonic() - self._readings_s < _FRESH_S else self._take_readings()

    def _take_readings(self) -> Readings:
        assert self._transport is not None
        self._readings = read_readings(self._transport)
        self._readings_s = time.monotonic()
        self._set(
            self._status.state,
            self._status.reason,
            temperature_c=self._readings.hottest_c,
            battery_percent=self._readings.battery_percent,
        )
        return self._readings

    def _prompted(self) -> None:
        # Not settled yet: the person may confirm in a moment.
        self._set(PhoneState.CONNECTING, "it asks on its screen whether to allow USB debugging: confirm it there")

    def _leave(self, state: PhoneState, reason: str, pause_s: float) -> float:
        self._set(state, reason)
        self._ahead = None  # a phone that comes back says which batches lie on it
        if self._transport:
            self._turn.is_kept = False  # whose it is has to be asked then
        if self._is_announced:
            self._is_announced = False
            self._report(PhoneLeft(self._place.address, reason))
        return pause_s

    def _set(self, state: PhoneState, reason: str = "", **changes: object) -> None:
        status = replace(self._status, state=state, reason=reason, **changes)  # type: ignore[arg-type]
        if status != self._status:
            self._status = status
            self._report(StatusChanged(status))
