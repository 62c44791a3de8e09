"""Serves one phone from a thread: connects, prepares, executes batches, reports; and again after each trouble."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from splitfleet.kernels.errors import DeviceError, SplitfleetError

from .conditions import Conditions
from .messages import (
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
from .phone import Identity, NoOpenCL, Phone, prepare
from .phone_batch import AgentStopped, PhoneBatch, batches_on
from .phone_state import PhoneState, PhoneStatus
from .readings import Readings, read_readings
from .transport import CommandTimeout, PhoneStorageFull, PhoneUnauthorized, PhoneUnreachable, Transport


@dataclass(frozen=True)
class Pace:
    """How often a worker looks and tries, in seconds. Polling is slow on purpose: the host must stay quiet while
    phones measure, and a shell call costs the phone something too."""

    poll_s: float = 1.0
    retry_s: float = 2.0
    idle_s: float = 10.0
    blocked_s: float = 30.0
    stall_s: float = 180.0


_MAX_STARTS_WITHOUT_PROGRESS = 3


@dataclass(frozen=True)
class PhonePlace:
    """How to reach a phone and to ask who it is. `connect` takes a function to call when the phone asks for consent."""

    address: str
    connect: Callable[[Callable[[], None]], Transport]
    identify: Callable[[Transport], Identity]


class PhoneWorker(threading.Thread):
    """The thread of one phone. `report` is called from it with each message. `owner` marks the batches that are
    this campaign's: their ids start with it. `conditions` are what the campaign asks of the phone."""

    def __init__(
        self,
        place: PhonePlace,
        owner: str,
        report: Callable[[PhoneMessage], None],
        pace: Pace | None = None,
        conditions: Conditions | None = None,
    ) -> None:
        super().__init__(name=f"phone {place.address}", daemon=True)
        self._commands: queue.Queue[tuple[int, PhoneCommand]] = queue.Queue()
        self._place = place
        self._owner = owner
        self._report = report
        self._pace = pace or Pace()
        self._conditions = conditions or Conditions()
        self._stopping = threading.Event()
        self._status = PhoneStatus(place.address, PhoneState.CONNECTING)
        self._transport: Transport | None = None
        self._known: Phone | None = None
        self._session = time.monotonic_ns()  # a thread that takes this one's place has other sessions
        self._is_announced = False
        self._last_readings = 0.0

    def command(self, session: int, command: PhoneCommand) -> None:
        """Queues a command, unless the phone has gone away since the arrival that `session` names."""
        self._commands.put((session, command))

    def stop(self) -> None:
        """Asks the thread to end; what runs on the phone goes on there."""
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            pause_s = self._pace.retry_s
            try:
                self._serve(self._arrive())
            except PhoneUnauthorized as error:
                self._leave(PhoneState.UNAUTHORIZED, str(error))
            except (PhoneUnreachable, CommandTimeout) as error:
                self._leave(PhoneState.OFFLINE, str(error))
            except NoOpenCL as error:
                self._leave(PhoneState.NO_OPENCL, str(error))
                pause_s = self._pace.blocked_s
            except SplitfleetError as error:
                self._leave(PhoneState.QUARANTINED, str(error))
                pause_s = self._pace.blocked_s
            except Exception as error:
                # A fault of ours must not end the thread in silence: the phone would seem to work for ever.
                self._leave(PhoneState.QUARANTINED, f"{self._place.address}: internal error: {error!r}")
                pause_s = self._pace.blocked_s
            self._stopping.wait(pause_s)
        if self._transport:
            self._transport.close()

    def _arrive(self) -> Phone:
        """Connects and prepares, waits until the phone may measure, and announces it."""
        if self._transport is None:
            self._transport = self._place.connect(self._prompted)
        identity = self._place.identify(self._transport)
        what = "puts the agent in place; where it must be built first, that takes a minute"
        self._set(PhoneState.PREPARING, what, serial=identity.serial, model=identity.model)
        # A phone that only was away is not asked again: a job may be running there right now.
        if self._known is None or self._known.identity != identity or not self._known.is_installed():
            self._known = prepare(self._transport, identity, self._conditions)
        self._set(PhoneState.PREPARING, device_class=self._known.profile.device_class)
        batches = self._own_batches(self._transport)
        if not batches:
            self._wait_until_fit(self._known)
        self._set(PhoneState.READY)
        self._session += 1
        self._is_announced = True
        arrival = PhoneArrived(self._place.address, self._session, identity.serial, self._known.profile, batches)
        self._report(arrival)
        return self._known

    def _own_batches(self, transport: Transport) -> tuple[str, ...]:
        """This campaign's batches on the phone. Waits while another campaign measures there."""
        while True:
            found = batches_on(transport)
            others = [name for name, is_running in found.items() if is_running and not name.startswith(self._owner)]
            if not others or self._stopping.is_set():
                return tuple(name for name in found if name.startswith(self._owner))
            self._set(PhoneState.LEASED, f"another campaign measures on it (batch {others[0]}); waits until it ends")
            self._stopping.wait(self._pace.idle_s)

    def _serve(self, phone: Phone) -> None:
        """Executes commands until the phone makes trouble or the thread shall stop.

        A thread that shall stop still removes what it was told to: nobody would come back for it.
        """
        while True:
            try:
                session, command = self._commands.get(timeout=0 if self._stopping.is_set() else self._pace.poll_s)
            except queue.Empty:
                if self._stopping.is_set():
                    return
                self._look_after(phone)
                continue
            if session != self._session:
                continue
            if isinstance(command, RetirePhone):
                self._known = None  # it is prepared anew, as a phone that nobody has seen before
                raise DeviceError(f"{self._place.address}: {command.reason}")
            batch = phone.batch(command.batch)
            match command:
                case RemoveBatch():
                    batch.remove()
                case StartBatch(job_file=job_file) if not self._stopping.is_set():
                    self._execute(phone, batch, 0, job_file)
                case FollowBatch(offset=offset):
                    self._execute(phone, batch, offset, None)

    def _execute(self, phone: Phone, batch: PhoneBatch, offset: int, job_file: str | None) -> None:
        before = self._take_readings(phone.transport)
        self._set(PhoneState.LEASED)
        if job_file is not None:
            batch.put(job_file)
            batch.start()
        error = ""
        try:
            self._follow(batch, offset)
        except AgentStopped as stopped:
            error = str(stopped)
        if self._stopping.is_set():
            return
        after = self._wait_until_fit(phone)
        self._set(PhoneState.READY)
        self._report(BatchStopped(self._place.address, batch.id, before, after, error))

    def _follow(self, batch: PhoneBatch, offset: int) -> None:
        """Reports results as they come, until the batch's last line. Starts the agent again where it died.

        Raises AgentStopped when it dies over and over at the same place, or says nothing for too long.
        """
        starts, last_news = 0, time.monotonic()
        while not self._stopping.is_set():
            news = batch.read(offset)
            if news.lines:
                offset, starts, last_news = news.offset, 0, time.monotonic()
                self._report(ResultsRead(self._place.address, batch.id, news.lines, offset))
                if news.lines[-1].get("type") == "end":
                    return
                continue
            if not batch.is_running() and not batch.read(offset).lines:
                if starts == _MAX_STARTS_WITHOUT_PROGRESS:
                    raise self._agent_stopped(batch, f"the agent ended {starts + 1} times without a new result")
                starts += 1
                batch.start()
            elif time.monotonic() - last_news > self._pace.stall_s:
                raise self._agent_stopped(batch, f"no result for {self._pace.stall_s:.0f} s")
            self._stopping.wait(self._pace.poll_s)

    def _agent_stopped(self, batch: PhoneBatch, what: str) -> DeviceError:
        log = batch.log()
        if "No space left on device" in log:
            return PhoneStorageFull(f"{self._place.address}: disk full: the agent cannot write its results; free some")
        return AgentStopped(f"{self._place.address}: batch {batch.id}: {what}; it said: {log or 'nothing'}")

    def _wait_until_fit(self, phone: Phone) -> Readings:
        """Waits while the phone is hot or low; returns the last readings."""
        while True:
            readings = self._take_readings(phone.transport)
            obstacle = readings.obstacle()
            if obstacle is None or self._stopping.is_set():
                return readings
            self._set(obstacle[0], obstacle[1])
            self._stopping.wait(self._pace.idle_s)

    def _look_after(self, phone: Phone) -> None:
        """An idle phone is asked now and then, so that one that was unplugged is noticed."""
        if time.monotonic() - self._last_readings > self._pace.idle_s:
            self._take_readings(phone.transport)

    def _take_readings(self, transport: Transport) -> Readings:
        readings = read_readings(transport)
        self._last_readings = time.monotonic()
        self._set(
            self._status.state,
            self._status.reason,
            temperature_c=readings.hottest_c,
            battery_percent=readings.battery_percent,
        )
        return readings

    def _prompted(self) -> None:
        # Not settled yet: the person may confirm in a moment.
        self._set(PhoneState.CONNECTING, "it asks on its screen whether to allow USB debugging: confirm it there")

    def _leave(self, state: PhoneState, reason: str) -> None:
        self._set(state, reason)
        if self._is_announced:
            self._is_announced = False
            self._report(PhoneLeft(self._place.address, reason))

    def _set(self, state: PhoneState, reason: str = "", **changes: object) -> None:
        status = replace(self._status, state=state, reason=reason, **changes)  # type: ignore[arg-type]
        if status != self._status:
            self._status = status
            self._report(StatusChanged(status))
