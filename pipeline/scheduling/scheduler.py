"""Which job next, and where: a pure state machine. Events go in, instructions come out; no I/O and no clock.

A job waits, or is leased in a batch to one phone, or is settled. Phones of one device class share its jobs. A phone
that leaves keeps its batch, on which its agent goes on; only when it stays away past the grace time, and another
phone of the class is there, do the batch's jobs wait again.

Probes ride at the beginning of batches. What a phone has measured is unproven until a good probe follows it; when the
phone turns out to have drifted (drift.py), or the phone says that a batch was spoiled, it is measured again, at most
`MAX_REPEATS` times. The cost of an event grows neither with the number of phones nor with that of waiting jobs.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from .device_class import DeviceClass
from .drift import ProbeReading, ProbeState, Verdict, judge
from .events import (
    PROBE,
    SISTER,
    Added,
    Arrived,
    Event,
    Fit,
    Follow,
    Instruction,
    Invalidate,
    Lease,
    Left,
    Mark,
    Record,
    Release,
    Remember,
    Remove,
    Rest,
    Result,
    Retire,
    Settled,
    Stopped,
    StopRequested,
    Task,
    Tick,
    Unfit,
    WaitingJob,
)
from .sisters import Sister, is_sister

FINAL_STATUSES = frozenset({"ok", "build_failed", "out_of_resources", "wrong_result", "unsupported", "invalid_job"})
"""Results that another attempt would repeat; the others (noisy, timeout, crashed) are tried again."""
MAX_ATTEMPTS = 3
MAX_REPEATS = 2
"""So often are accepted results measured again because of drift or a spoiled batch; then they count."""
MAX_TROUBLES = 5
"""So many batches in a row may break off or be spoiled before the phone is retired."""
_CHANCES_OF_THE_RETIRED = 2
_MAX_BLIND_ROUNDS = 3
_LEAST_SHARE = 1 / 8


@dataclass(frozen=True)
class Pacing:
    """Times in seconds of work (`batch_s`, `probe_every_s`; no probes where that is 0) or of waiting. `drift` and
    `sister_fraction` are parts of 1."""

    batch_s: float = 10.0
    probe_every_s: float = 60.0
    drift: float = 0.05
    sister_fraction: float = 0.05
    grace_s: float = 60.0
    rest_s: float = 30.0


class _Entry(NamedTuple):
    job: WaitingJob
    purpose: str

    @property
    def task(self) -> Task:
        return Task(self.job.id, self.purpose)


@dataclass(slots=True)
class _Batch:
    phone: str
    device_class: str
    entries: dict[str, _Entry]  # without a result yet, in order
    away_since_s: float | None = None
    accepted: list[_Entry] = field(default_factory=list)
    readings: list[ProbeReading] = field(default_factory=list)
    probes: tuple[Task, ...] = ()
    measured_us: int = 0


@dataclass(slots=True)
class _Record:
    """What is remembered of a phone, also while it is away. `unproven` holds by batch what no good probe follows yet.

    `share` of the usual batch is given to a phone whose batches were spoiled.
    """

    device_class: str
    probes: ProbeState = field(default_factory=ProbeState)
    unproven: dict[str, list[_Entry]] = field(default_factory=dict)
    is_probe_due: bool = True
    work_us: int = 0
    blind_rounds: int = 0
    troubles: int = 0
    share: float = 1.0
    is_retired: bool = False


@dataclass(slots=True)
class _Phone:
    """A phone that is there. It rests until `rest_until_s`."""

    record: _Record
    batch: str | None = None
    is_fit: bool = True
    rest_until_s: float | None = None

    @property
    def is_available(self) -> bool:
        return self.batch is None and self.is_fit and self.rest_until_s is None


class Scheduler:
    """See the module. Batch ids are `owner` and a number from `next_batch` on; `purpose` is what jobs are measured for,
    sisters and probes apart. The seed decides the order of jobs and which are sisters."""

    def __init__(
        self, *, owner: str, purpose: str = "measure", next_batch: int = 1, seed: int = 0, pacing: Pacing | None = None
    ) -> None:
        self._owner = owner
        self._purpose = purpose
        self._next_batch = next_batch
        self._seed = seed
        self._random = Random(seed)
        self._pacing = pacing or Pacing()
        self._classes: dict[str, DeviceClass] = {}
        self._open: set[str] = set()  # the classes with work left
        self._touched: set[str] = set()
        self._ready: list[str] = []  # phones that may take work since this event
        self._records: dict[str, _Record] = {}
        self._phones: dict[str, _Phone] = {}
        self._batches: dict[str, _Batch] = {}
        self._batches_of: dict[str, set[str]] = {}
        self._sisters: dict[str, Sister] = {}
        self._failures: Counter[Task] = Counter()
        self._repeats: Counter[Task] = Counter()
        self._away: deque[tuple[float, str]] = deque()  # since when, which batch
        self._resting: list[tuple[float, str]] = []  # a heap: until when, which phone
        self._working = 0
        self._held_up = 0
        self._now_s = 0.0
        self._is_stopping = False

    @property
    def is_finished(self) -> bool:
        """Nothing is leased, and nothing waits or may be started. Sisters that no phone present could take, and the
        last probe of a phone that is away or unfit, are not waited for."""
        return not self._batches and (self._is_stopping or not self._open)

    @property
    def is_busy(self) -> bool:
        """Whether some phone that is there has a batch, or will take one by itself: it is unfit or rests."""
        return self._working > 0 or self._held_up > 0

    def waiting(self, device_class: str) -> int:
        """How many jobs of the class wait."""
        return self._classes[device_class].waiting if device_class in self._classes else 0

    def waiting_sisters(self) -> dict[str, int]:
        """By device class, how many jobs wait for a second phone."""
        return {name: found.waiting_sisters for name, found in self._classes.items() if found.waiting_sisters}

    def leased(self, batch: str) -> tuple[str, ...]:
        """The jobs of a batch that have no result yet; the first is the one at work."""
        return tuple(self._batches[batch].entries) if batch in self._batches else ()

    def handle(self, event: Event) -> list[Instruction]:
        """Takes an event; returns what is to be done, in order."""
        done: list[Instruction] = []
        match event:
            case Added():
                done = self._added(event)
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
            case Tick(at_s=at_s):
                done = self._tick(at_s)
            case StopRequested():
                self._is_stopping = True
        done += self._assign()
        for name in self._touched:
            (self._open.add if self._classes[name].is_open else self._open.discard)(name)
        self._touched.clear()
        return done

    # Jobs

    def _added(self, event: Added) -> list[Instruction]:
        name, past = event.device_class, event.past
        device_class = self._class(name)
        device_class.probes = event.probes
        known = {job.id: job for job in (*event.jobs, *event.settled, *event.probes)}
        self._failures.update(past.failures)
        self._repeats.update(past.repeats)
        for phone, state in past.probes.items():
            self._records.setdefault(phone, _Record(name)).probes = state
        for job_id, phone in past.measured_on.items():
            self._sisters[job_id] = Sister(known[job_id], measured_on=phone)
        for job_id, (phone, batch) in past.sisters.items():
            sister = self._sisters.setdefault(job_id, Sister(known[job_id]))
            sister.on_phone, sister.batch, sister.is_accepted = phone, batch, True
        leased = self._restore_leases(event, known)
        self._restore_unproven(event, known)
        for sister in [self._sisters[job_id] for job_id in past.measured_on]:
            self._offer_sister(sister)
        # A fixed order of shapes would let slow drifts (heat) pass for an effect of shape.
        new = [job for job in event.jobs if job.id not in leased]
        self._random.shuffle(new)
        for job in new:
            device_class.add(job)
        return []

    def _restore_leases(self, event: Added, known: dict[str, WaitingJob]) -> set[str]:
        """Returns the jobs that are leased for the run's own purpose."""
        leased: set[str] = set()
        for batch, (phone, tasks) in event.past.leases.items():
            entries = {task.job: _Entry(known[task.job], task.purpose) for task in tasks if task.job in known}
            if entries:
                self._open_batch(batch, _Batch(phone, event.device_class, entries, self._now_s))
                self._away.append((self._now_s, batch))
            for entry in entries.values():
                if entry.purpose == self._purpose:
                    leased.add(entry.job.id)
                elif entry.purpose == SISTER:
                    sister = self._sisters.setdefault(entry.job.id, Sister(entry.job))
                    sister.on_phone, sister.batch = phone, batch
        return leased

    def _restore_unproven(self, event: Added, known: dict[str, WaitingJob]) -> None:
        for batch, (phone, tasks) in event.past.accepted.items():
            entries = [_Entry(known[task.job], task.purpose) for task in tasks if task.job in known]
            if batch in self._batches:
                self._batches[batch].accepted = entries
            elif event.probes:
                self._records.setdefault(phone, _Record(event.device_class)).unproven[batch] = entries

    def _class(self, name: str) -> DeviceClass:
        self._touched.add(name)
        if name not in self._classes:
            self._classes[name] = DeviceClass(self._purpose)
        return self._classes[name]

    def _wait_again(self, entry: _Entry) -> None:
        if entry.purpose == self._purpose:
            self._class(entry.job.device_class).add(entry.job)
        elif entry.purpose == SISTER:
            sister = self._sisters[entry.job.id]
            sister.on_phone, sister.batch, sister.is_accepted = None, None, False
            self._offer_sister(sister)

    # Sisters

    def _offer_sister(self, sister: Sister) -> None:
        """The job waits for a second phone, where it has been measured on a first one and nobody has it."""
        if sister.measured_on is not None and sister.batch is None:
            self._class(sister.job.device_class).add_sister(sister.measured_on, sister.job)

    def _measured(self, entry: _Entry, phone: str) -> list[Instruction]:
        """The phone has measured a job: a chosen one then waits for a second phone."""
        job = entry.job
        sister = self._sisters.get(job.id)
        if sister is None:
            if not is_sister(job.id, self._seed, self._pacing.sister_fraction):
                return []
            sister = self._sisters[job.id] = Sister(job)
        sister.measured_on = phone
        done: list[Instruction] = []
        # It was repeated, and by the phone that had been the second one: now another must be.
        if sister.is_accepted and sister.on_phone == phone and sister.batch is not None:
            task = Task(job.id, SISTER)
            why = "superseded: the same phone has measured the job itself"
            done.append(Invalidate(sister.batch, (task,), why, job.device_class))
            sister.on_phone, sister.batch, sister.is_accepted = None, None, False
        self._offer_sister(sister)
        return done

    def _not_measured(self, entry: _Entry) -> None:
        """The measurement of a job does not count any more: no second phone is wanted for now."""
        sister = self._sisters.get(entry.job.id)
        if sister is not None and sister.measured_on is not None:
            self._class(entry.job.device_class).remove_sister(sister.measured_on, entry.job)
            sister.measured_on = None

    # Phones

    def _arrived(self, event: Arrived) -> list[Instruction]:
        if event.phone in self._phones:  # its broker was started again
            self._left(event.phone, event.at_s)
        self._now_s = max(self._now_s, event.at_s)
        record = self._records.get(event.phone)
        if record is None or record.device_class != event.device_class:
            record = self._records[event.phone] = _Record(event.device_class)
        record.is_probe_due = True
        if record.is_retired:
            record.is_retired, record.troubles = False, MAX_TROUBLES - _CHANCES_OF_THE_RETIRED
        self._phones[event.phone] = phone = _Phone(record)
        device_class = self._class(event.device_class)
        device_class.members[event.phone] = None
        done: list[Instruction] = []
        for name in sorted(self._batches_of.get(event.phone, ())):
            batch = self._batches[name]
            if name in event.batches and batch.device_class == event.device_class and phone.batch is None:
                batch.away_since_s = None
                device_class.overdue.discard(name)
                self._set_batch(phone, name)
                done.append(Follow(event.phone, name))
            else:
                done += self._give_up(name)
        for name in sorted(device_class.overdue):
            done += self._give_up(name)
        stale = sorted(event.batches - ({phone.batch} if phone.batch else set()))
        self._idle(event.phone)
        # A phone does one thing at a time: what is in the way goes first.
        return [*(Remove(event.phone, name) for name in stale), *done]

    def _left(self, name: str, at_s: float) -> list[Instruction]:
        self._now_s = max(self._now_s, at_s)
        phone = self._phones.get(name)
        if phone is None:
            return []
        batch = phone.batch
        self._forget(name)
        if batch:
            self._batches[batch].away_since_s = self._now_s
            self._away.append((self._now_s, batch))
            if not self._batches[batch].entries:
                return self._give_up(batch)
        return []

    def _forget(self, name: str) -> None:
        """The phone is not there any more."""
        phone = self._phones[name]
        self._set_batch(phone, None)
        self._set_held_up(phone, is_fit=True, rest_until_s=None)
        del self._phones[name]
        device_class = self._class(phone.record.device_class)
        device_class.idle.pop(name, None)
        device_class.members.pop(name, None)

    def _set_fit(self, name: str, is_fit: bool) -> None:
        phone = self._phones.get(name)
        if phone:
            self._set_held_up(phone, is_fit=is_fit, rest_until_s=phone.rest_until_s)
            self._class(phone.record.device_class).idle.pop(name, None)
            self._idle(name)

    def _set_batch(self, phone: _Phone, batch: str | None) -> None:
        self._working += (batch is not None) - (phone.batch is not None)
        phone.batch = batch

    def _set_held_up(self, phone: _Phone, *, is_fit: bool, rest_until_s: float | None) -> None:
        self._held_up -= not phone.is_fit or phone.rest_until_s is not None
        phone.is_fit, phone.rest_until_s = is_fit, rest_until_s
        self._held_up += not phone.is_fit or phone.rest_until_s is not None

    def _idle(self, name: str) -> None:
        """The phone may take work, unless something holds it up."""
        self._class(self._phones[name].record.device_class)
        self._ready.append(name)

    def _tick(self, at_s: float) -> list[Instruction]:
        self._now_s = max(self._now_s, at_s)
        done: list[Instruction] = []
        while self._away and self._now_s - self._away[0][0] > self._pacing.grace_s:
            since_s, name = self._away.popleft()
            batch = self._batches.get(name)
            if batch and batch.away_since_s == since_s:
                device_class = self._class(batch.device_class)
                if device_class.members:
                    done += self._give_up(name)
                else:
                    device_class.overdue.add(name)
        while self._resting and self._resting[0][0] <= self._now_s:
            until_s, name = heapq.heappop(self._resting)
            phone = self._phones.get(name)
            if phone and phone.rest_until_s == until_s:
                self._set_held_up(phone, is_fit=phone.is_fit, rest_until_s=None)
                self._idle(name)
        return done

    # Batches

    def _result(self, event: Result) -> list[Instruction]:
        batch = self._batches.get(event.batch)
        entry = batch.entries.pop(event.job, None) if batch else None
        if batch is None or entry is None:
            return []
        batch.measured_us += event.elapsed_us
        task, device_class = entry.task, self._class(entry.job.device_class)
        if entry.purpose == PROBE:
            if event.probe:
                batch.readings.append(event.probe)
            return [Record(event.batch, task, event.status == "ok", batch.phone, batch.device_class)]
        device_class.note_result(entry.job, event.elapsed_us)
        accept = event.status in FINAL_STATUSES or self._failures[task] + 1 >= MAX_ATTEMPTS
        done: list[Instruction] = [Record(event.batch, task, accept, batch.phone, batch.device_class)]
        if not accept:
            self._failures[task] += 1
            self._wait_again(entry)
            return done
        self._failures.pop(task, None)
        batch.accepted.append(entry)
        if entry.purpose == SISTER:
            self._sisters[entry.job.id].is_accepted = True
        elif self._purpose == "measure" and event.status == "ok":
            done += self._measured(entry, batch.phone)
        return done

    def _stopped(self, event: Stopped) -> list[Instruction]:
        batch = self._batches.get(event.batch)
        if batch is None:
            return []
        # A short batch tells more of its start than of waiting.
        if batch.measured_us > self._pacing.batch_s * 1e6 / 4:
            self._class(batch.device_class).note_batch(event.wall_s * 1e6, batch.measured_us)
        phone = self._phones.get(batch.phone)
        done: list[Instruction] = [Remove(batch.phone, event.batch)] if phone else []
        self._release(event.batch)
        done.append(Release(event.batch))
        record = self._records.setdefault(batch.phone, _Record(batch.device_class))
        record.work_us += batch.measured_us
        if event.spoiled:
            done += self._spoiled(event, batch, record)
        else:
            done += self._kept(event.batch, batch, record)
        if event.spoiled or event.error:
            record.troubles += 1
        else:
            record.troubles = 0
        if phone and phone.batch == event.batch:
            self._set_batch(phone, None)
            self._idle(batch.phone)
            if record.troubles >= MAX_TROUBLES:
                done.append(self._retire(batch.phone, record, event.spoiled or event.error))
        return done

    def _spoiled(self, event: Stopped, batch: _Batch, record: _Record) -> list[Instruction]:
        record.share = max(record.share / 2, _LEAST_SHARE)
        record.is_probe_due = True
        reason = f"spoiled: {event.spoiled}"
        probes = tuple(task for task in batch.probes if task.job not in batch.entries)
        done: list[Instruction] = [Invalidate(event.batch, probes, reason, batch.device_class)] if probes else []
        return [*done, *self._repeat({event.batch: batch.accepted}, reason)]

    def _kept(self, name: str, batch: _Batch, record: _Record) -> list[Instruction]:
        """The batch's results count, as far as its probes have nothing against it."""
        record.share = min(record.share * 2, 1.0)
        if not self._class(batch.device_class).probes:
            return []
        record.unproven[name] = batch.accepted
        done: list[Instruction] = []
        if batch.readings:
            done = self._judged(name, batch, record)
        elif batch.probes:  # they gave no times
            record.blind_rounds += 1
            if record.blind_rounds >= _MAX_BLIND_ROUNDS:
                record.blind_rounds, record.unproven, record.is_probe_due = 0, {}, False
        if batch.probes:
            record.work_us = batch.measured_us
        record.is_probe_due |= record.work_us >= self._pacing.probe_every_s * 1e6
        return done

    def _judged(self, name: str, batch: _Batch, record: _Record) -> list[Instruction]:
        verdict, record.probes, reason = judge(record.probes, batch.readings, self._pacing.drift, name)
        record.blind_rounds, record.is_probe_due = 0, verdict is not Verdict.GOOD
        done: list[Instruction] = [Remember(batch.phone, batch.device_class, record.probes)]
        if verdict is Verdict.SUSPECT:
            return done
        if verdict is Verdict.DRIFTED:
            done += self._repeat(record.unproven, f"drift: {reason}")
            done += self._rest(batch.phone, reason)
            record.unproven = {}
            return done
        if verdict is Verdict.NEW_LEVEL:
            record.is_probe_due = False
            done.append(Settled(batch.phone, reason))
        record.unproven = {name: batch.accepted} if batch.accepted else {}
        return done

    def _rest(self, name: str, reason: str) -> list[Instruction]:
        phone = self._phones.get(name)
        if phone is None:
            return []
        until_s = self._now_s + self._pacing.rest_s
        self._set_held_up(phone, is_fit=phone.is_fit, rest_until_s=until_s)
        heapq.heappush(self._resting, (until_s, name))
        return [Rest(name, reason, until_s)]

    def _repeat(self, accepted: dict[str, list[_Entry]], reason: str) -> list[Instruction]:
        """What was accepted waits again, unless it was repeated often enough."""
        done: list[Instruction] = []
        for batch, entries in accepted.items():
            again = [
                entry for entry in entries if self._repeats[entry.task] < MAX_REPEATS and self._is_valid(entry, batch)
            ]
            kept = tuple(entry.task for entry in entries if self._repeats[entry.task] >= MAX_REPEATS)
            if again:
                done.append(Invalidate(batch, tuple(entry.task for entry in again), reason, again[0].job.device_class))
            if kept:
                done.append(Mark(batch, kept, reason))
            for entry in again:
                self._repeats[entry.task] += 1
                if entry.purpose != SISTER:
                    self._not_measured(entry)
                self._wait_again(entry)
        return done

    def _is_valid(self, entry: _Entry, batch: str) -> bool:
        """Whether an accepted entry still counts: a sister may have been superseded."""
        return entry.purpose != SISTER or self._sisters[entry.job.id].batch == batch

    def _retire(self, name: str, record: _Record, why: str) -> Instruction:
        record.is_retired = True
        self._forget(name)
        return Retire(name, f"{record.troubles} batches in a row went wrong, the last one so: {why}")

    def _release(self, name: str) -> list[Instruction]:
        batch = self._batches.pop(name)
        self._batches_of[batch.phone].discard(name)
        self._class(batch.device_class).overdue.discard(name)
        for entry in batch.entries.values():
            self._wait_again(entry)
        return [Release(name)] if batch.entries else []

    def _give_up(self, name: str) -> list[Instruction]:
        """The batch is not followed any more; what it has given counts."""
        batch = self._batches[name]
        record = self._records.setdefault(batch.phone, _Record(batch.device_class))
        if batch.accepted and record.device_class == batch.device_class and self._class(batch.device_class).probes:
            record.unproven[name] = batch.accepted
        return self._release(name)

    def _open_batch(self, name: str, batch: _Batch) -> None:
        self._batches[name] = batch
        self._batches_of.setdefault(batch.phone, set()).add(name)

    # Who does what next

    def _assign(self) -> list[Instruction]:
        """Gives work to the phones that have become ready, and to idle ones of the classes where something changed."""
        done: list[Instruction] = []
        for name in self._ready:
            phone = self._phones.get(name)
            if phone and phone.is_available:
                done += self._offer(name, self._classes[phone.record.device_class])
        self._ready.clear()
        for name in sorted(self._touched):
            device_class = self._classes[name]
            # Two phones without work show that there is none: a sister that the first may not take, the second may.
            for _ in range(2):
                while device_class.idle:
                    phone_name, _ = device_class.idle.popitem(last=False)
                    leases = self._offer(phone_name, device_class)
                    done += leases
                    if not leases:
                        break
        return done

    def _offer(self, name: str, device_class: DeviceClass) -> list[Instruction]:
        """A lease for a phone that is available; without work it is idle."""
        lease = None if self._is_stopping else self._lease(name, device_class)
        if lease is None:
            device_class.idle[name] = None
            return []
        return [lease]

    def _lease(self, name: str, device_class: DeviceClass) -> Lease | None:
        phone = self._phones[name]
        record = phone.record
        if record.probes.rounds_off is not None and device_class.probes:
            entries = self._probes(device_class) if device_class.has_work_for(name) else []
        else:
            budget_us = self._pacing.batch_s * 1e6 * record.share
            entries = [_Entry(*found) for found in device_class.take(name, budget_us)]
            is_closing = not entries and record.unproven
            if device_class.probes and (is_closing or (entries and record.is_probe_due)):
                entries = [*self._probes(device_class), *entries]
        if not entries:
            return None
        batch = f"{self._owner}-{self._next_batch:05d}"
        self._next_batch += 1
        for entry in entries:
            if entry.purpose == SISTER:
                sister = self._sisters[entry.job.id]
                sister.on_phone, sister.batch = name, batch
        probes = tuple(entry.task for entry in entries if entry.purpose == PROBE)
        self._open_batch(batch, _Batch(name, record.device_class, {e.job.id: e for e in entries}, probes=probes))
        self._set_batch(phone, batch)
        return Lease(name, batch, tuple(entry.task for entry in entries))

    def _probes(self, device_class: DeviceClass) -> list[_Entry]:
        return [_Entry(job, PROBE) for job in device_class.probes]
