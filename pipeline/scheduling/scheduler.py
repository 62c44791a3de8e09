"""Which job next, and where: a pure state machine. Events go in, instructions come out; no I/O and no clock.

A job waits, or is leased in a batch to one phone, or is settled. Phones of one device class share its jobs. A phone
has a batch at work and, where nothing is to be decided between them, the next one ahead (assigning.py). A phone that
leaves keeps its batches, on which its agent goes on (absence.py).

Probes ride at the beginning of batches. What a phone has measured is unproven until a good probe follows it; when the
phone turns out to have drifted (drift.py), or the phone says that a batch was spoiled, it is measured again, at most
`MAX_REPEATS` times. The cost of an event grows neither with the number of phones nor with that of waiting jobs.
"""

from __future__ import annotations

import heapq
from collections import Counter
from random import Random

from .absence import Absence
from .assigning import Assigner
from .batches import Batch, Entry, batch_of
from .board import Board
from .events import (
    PROBE,
    SISTER,
    Added,
    Arrived,
    Event,
    Fit,
    Instruction,
    Left,
    Record,
    Release,
    Remove,
    Rest,
    Result,
    Retire,
    Returned,
    Stopped,
    StopRequested,
    Task,
    Tick,
    Unfit,
    WaitingJob,
)
from .evidence import MAX_TROUBLES
from .pacing import Pacing
from .present import PresentPhone

FINAL_STATUSES = frozenset({"ok", "build_failed", "out_of_resources", "wrong_result", "unsupported", "invalid_job"})
"""Results that another attempt would repeat; the others (noisy, timeout, crashed) are tried again."""
MAX_ATTEMPTS = 3


class Scheduler:
    """See the module. Batch ids are `owner` and a number from `next_batch` on; `purpose` is what jobs are measured for,
    sisters and probes apart. The seed decides the order of jobs and which are sisters."""

    def __init__(
        self, *, owner: str, purpose: str = "measure", next_batch: int = 1, seed: int = 0, pacing: Pacing | None = None
    ) -> None:
        self._purpose = purpose
        self._random = Random(seed)
        self._pacing = pacing or Pacing()
        self._board = Board(purpose, seed, self._pacing)
        self._assigner = Assigner(self._board, owner, next_batch)
        self._absence = Absence(self._board)
        self._failures: Counter[Task] = Counter()
        self._resting: list[tuple[float, str]] = []  # a heap: until when, which phone
        self._now_s = 0.0

    @property
    def is_finished(self) -> bool:
        """Nothing is leased, and nothing waits or may be started. Sisters that no phone present could take, and the
        last probe of a phone that is away or unfit, are not waited for."""
        return not self._board.batches and (self._assigner.is_stopping or not self._board.has_work)

    @property
    def is_busy(self) -> bool:
        """Whether some phone that is there has a batch, or will take one by itself: it is unfit or rests."""
        return self._board.phones.is_busy

    def waiting_sisters(self) -> dict[str, int]:
        """By device class, how many jobs wait for a second phone."""
        return {name: found.waiting_sisters for name, found in self._board.classes.items() if found.waiting_sisters}

    def leased(self, batch: str) -> tuple[str, ...]:
        """The jobs of a batch that have no result yet; the first is the one at work."""
        return tuple(self._board.batches[batch].entries) if batch in self._board.batches else ()

    def handle(self, event: Event) -> list[Instruction]:
        """Takes an event; returns what is to be done, in order."""
        done: list[Instruction] = []
        match event:
            case Added():
                self._added(event)
            case Arrived():
                done = self._arrived(event)
            case Left(phone=phone, at_s=at_s):
                done = self._left(phone, at_s)
            case Unfit(phone=phone):
                self._set_fit(phone, False)
            case Fit(phone=phone):
                self._set_fit(phone, True)
            case Result():
                done = self._result(event)
            case Stopped():
                done = self._stopped(event)
            case Returned(batch=batch):
                done = self._returned(batch)
            case Tick(at_s=at_s):
                done = self._tick(at_s)
            case StopRequested():
                self._assigner.is_stopping = True
        done += self._assigner.assign()
        if isinstance(event, Result) and (batch_at_work := self._board.batches.get(event.batch)):
            done += self._assigner.assign_ahead(batch_at_work.phone)
        self._board.settle()
        return done

    # Jobs

    def _added(self, event: Added) -> None:
        name, past, evidence = event.device_class, event.past, self._board.evidence
        device_class = self._board.device_class(name)
        device_class.probes = event.probes
        known = {job.id: job for job in (*event.jobs, *event.settled, *event.probes)}
        self._failures.update(past.failures)
        evidence.restore(past.repeats)
        for phone, state in past.probes.items():
            evidence.of(phone, name).probes = state
        leased = self._restore_leases(event, known)
        for batch, (phone, tasks) in past.accepted.items():
            entries = [Entry(known[task.job], task.purpose) for task in tasks if task.job in known]
            if batch in self._board.batches:
                self._board.batches[batch].accepted = entries
            elif event.probes:
                evidence.of(phone, name).unproven[batch] = entries
        self._board.sisters.restore(past, known, leased.pop(SISTER, {}))
        # A fixed order of shapes would let slow drifts (heat) pass for an effect of shape.
        new = [job for job in event.jobs if job.id not in leased.get(self._purpose, {})]
        self._random.shuffle(new)
        for job in new:
            device_class.add(job)

    def _restore_leases(self, event: Added, known: dict[str, WaitingJob]) -> dict[str, dict[str, tuple[str, str]]]:
        """Opens the batches that were open; returns by purpose where (phone, batch) each job is."""
        leased: dict[str, dict[str, tuple[str, str]]] = {}
        for name, (phone, tasks) in event.past.leases.items():
            entries = [Entry(known[task.job], task.purpose) for task in tasks if task.job in known]
            if not entries:
                continue
            self._board.open_batch(name, batch_of(phone, event.device_class, entries))
            self._absence.begin(name, self._now_s)
            for entry in entries:
                leased.setdefault(entry.purpose, {})[entry.job.id] = (phone, name)
        return leased

    # Phones

    def _arrived(self, event: Arrived) -> list[Instruction]:
        if self._board.phones.get(event.phone):  # its broker was started again
            self._left(event.phone, event.at_s)
        self._now_s = max(self._now_s, event.at_s)
        record = self._board.evidence.arrived(event.phone, event.device_class)
        phone = PresentPhone(event.device_class, record)
        self._board.phones.add(event.phone, phone)
        self._board.device_class(event.device_class).members[event.phone] = None
        done = self._absence.end(event.phone, phone, event.batches)
        self._board.may_work(event.phone)
        return done

    def _left(self, name: str, at_s: float) -> list[Instruction]:
        self._now_s = max(self._now_s, at_s)
        return self._absence.leave(name, self._now_s) if self._board.phones.get(name) else []

    def _set_fit(self, name: str, is_fit: bool) -> None:
        phone = self._board.phones.get(name)
        if phone:
            self._board.phones.hold_up(phone, is_fit=is_fit, rest_until_s=phone.rest_until_s)
            self._board.device_class(phone.device_class).idle.pop(name, None)
            self._board.may_work(name)

    def _tick(self, at_s: float) -> list[Instruction]:
        self._now_s = max(self._now_s, at_s)
        done = self._absence.check(self._now_s)
        while self._resting and self._resting[0][0] <= self._now_s:
            until_s, name = heapq.heappop(self._resting)
            phone = self._board.phones.get(name)
            if phone and phone.rest_until_s == until_s:
                self._board.phones.hold_up(phone, is_fit=phone.is_fit, rest_until_s=None)
                self._board.may_work(name)
        return done

    # Batches

    def _result(self, event: Result) -> list[Instruction]:
        batch = self._board.batches.get(event.batch)
        entry = batch.entries.pop(event.job, None) if batch else None
        if batch is None or entry is None:
            return []
        batch.measured_us += event.elapsed_us
        task, device_class = entry.task, self._board.device_class(entry.job.device_class)
        if entry.purpose == PROBE:
            if event.probe:
                batch.readings.append(event.probe)
            return [Record(event.batch, task, event.status == "ok", batch.phone, batch.device_class)]
        device_class.note_result(entry.job, max(event.elapsed_us - event.build_us, 0))
        accept = event.status in FINAL_STATUSES or self._failures[task] + 1 >= MAX_ATTEMPTS
        done: list[Instruction] = [Record(event.batch, task, accept, batch.phone, batch.device_class)]
        if not accept:
            self._failures[task] += 1
            self._board.wait_again(entry)
            return done
        self._failures.pop(task, None)
        batch.accepted.append(entry)
        if entry.purpose == SISTER:
            self._board.sisters.accept(entry.job)
        elif self._purpose == "measure" and event.status == "ok":
            done += self._board.sisters.measured(entry.job, batch.phone)
        return done

    def _stopped(self, event: Stopped) -> list[Instruction]:
        batch = self._board.batches.get(event.batch)
        if batch is None:
            return []
        device_class = self._board.device_class(batch.device_class)
        # A short batch tells more of its start than of waiting.
        if batch.measured_us > self._pacing.batch_s * 1e6 / 4:
            device_class.note_batch(event.wall_s * 1e6, batch.measured_us)
        done = self._take_from_phone(event.batch, batch)
        outcome = self._board.evidence.ended(
            event.batch, batch, spoiled=event.spoiled, error=event.error, has_probes=bool(device_class.probes)
        )
        done += outcome.instructions
        for name, entries in outcome.doubtful.items():
            done += self._repeat(name, entries, outcome.reason)
        phone = self._board.phones.get(batch.phone)
        if phone:
            if outcome.drifted:
                done.append(self._rest(batch.phone, phone, outcome.drifted))
            if phone.record.troubles >= MAX_TROUBLES:
                done.append(self._retire(batch.phone, phone, event.spoiled or event.error))
        return done

    def _returned(self, name: str) -> list[Instruction]:
        batch = self._board.batches.get(name)
        if batch is None:
            return []
        if self._board.device_class(batch.device_class).probes:
            self._board.evidence.given_up(name, batch)
        return self._take_from_phone(name, batch)

    def _take_from_phone(self, name: str, batch: Batch) -> list[Instruction]:
        """The batch is over: it goes from the phone, which may work on, and what has no result waits again."""
        done: list[Instruction] = []
        phone = self._board.phones.get(batch.phone)
        if phone:
            done.append(Remove(batch.phone, name))
            self._board.phones.take(phone, name)
            self._board.may_work(batch.phone)
        self._board.release(name)
        return [*done, Release(name)]

    def _repeat(self, batch: str, entries: list[Entry], reason: str) -> list[Instruction]:
        valid = [entry for entry in entries if self._board.sisters.counts(entry, batch)]
        done, again = self._board.evidence.repeat(batch, valid, reason)
        for entry in again:
            if entry.purpose == self._purpose:
                self._board.sisters.unmeasured(entry.job)
            self._board.wait_again(entry)
        return done

    def _rest(self, name: str, phone: PresentPhone, reason: str) -> Instruction:
        until_s = self._now_s + self._pacing.rest_s
        self._board.phones.hold_up(phone, is_fit=phone.is_fit, rest_until_s=until_s)
        heapq.heappush(self._resting, (until_s, name))
        return Rest(name, reason, until_s)

    def _retire(self, name: str, phone: PresentPhone, why: str) -> Instruction:
        phone.record.is_retired = True
        self._absence.leave(name, self._now_s)
        return Retire(name, f"{phone.record.troubles} batches in a row went wrong, the last one so: {why}")
