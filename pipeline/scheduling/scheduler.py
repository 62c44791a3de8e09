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
from random import Random

from .batches import Batch, Entry, batch_of
from .device_class import DeviceClass
from .events import (
    PROBE,
    SISTER,
    Added,
    Arrived,
    Event,
    Fit,
    Follow,
    Instruction,
    Lease,
    Left,
    Record,
    Release,
    Remove,
    Rest,
    Result,
    Retire,
    Stopped,
    StopRequested,
    Task,
    Tick,
    Unfit,
    WaitingJob,
)
from .evidence import MAX_TROUBLES, Evidence
from .pacing import Pacing
from .present import PresentPhone, PresentPhones
from .sisters import Sisters

FINAL_STATUSES = frozenset({"ok", "build_failed", "out_of_resources", "wrong_result", "unsupported", "invalid_job"})
"""Results that another attempt would repeat; the others (noisy, timeout, crashed) are tried again."""
MAX_ATTEMPTS = 3


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
        self._phones = PresentPhones()
        self._batches: dict[str, Batch] = {}
        self._batches_of: dict[str, set[str]] = {}
        self._failures: Counter[Task] = Counter()
        self._evidence = Evidence(self._pacing.drift, self._pacing.probe_every_s)
        self._sisters = Sisters(seed, self._pacing.sister_fraction, self._class)
        self._away: deque[tuple[float, str]] = deque()  # since when, which batch
        self._resting: list[tuple[float, str]] = []  # a heap: until when, which phone
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
        return self._phones.is_busy

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
        self._evidence.restore(past.repeats)
        for phone, state in past.probes.items():
            self._evidence.of(phone, name).probes = state
        leased = self._restore_leases(event, known)
        for batch, (phone, tasks) in past.accepted.items():
            entries = [Entry(known[task.job], task.purpose) for task in tasks if task.job in known]
            if batch in self._batches:
                self._batches[batch].accepted = entries
            elif event.probes:
                self._evidence.of(phone, name).unproven[batch] = entries
        self._sisters.restore(past, known, leased.pop(SISTER, {}))
        # A fixed order of shapes would let slow drifts (heat) pass for an effect of shape.
        new = [job for job in event.jobs if job.id not in leased.get(self._purpose, {})]
        self._random.shuffle(new)
        for job in new:
            device_class.add(job)
        return []

    def _restore_leases(self, event: Added, known: dict[str, WaitingJob]) -> dict[str, dict[str, tuple[str, str]]]:
        """Opens the batches that were open; returns by purpose where (phone, batch) each job is."""
        leased: dict[str, dict[str, tuple[str, str]]] = {}
        for name, (phone, tasks) in event.past.leases.items():
            entries = [Entry(known[task.job], task.purpose) for task in tasks if task.job in known]
            if not entries:
                continue
            batch = batch_of(phone, event.device_class, entries)
            batch.away_since_s = self._now_s
            self._open_batch(name, batch)
            self._away.append((self._now_s, name))
            for entry in entries:
                leased.setdefault(entry.purpose, {})[entry.job.id] = (phone, name)
        return leased

    def _class(self, name: str) -> DeviceClass:
        self._touched.add(name)
        if name not in self._classes:
            self._classes[name] = DeviceClass(self._purpose)
        return self._classes[name]

    def _wait_again(self, entry: Entry) -> None:
        if entry.purpose == self._purpose:
            self._class(entry.job.device_class).add(entry.job)
        elif entry.purpose == SISTER:
            self._sisters.wait_again(entry.job)

    # Phones

    def _arrived(self, event: Arrived) -> list[Instruction]:
        if self._phones.get(event.phone):  # its broker was started again
            self._left(event.phone, event.at_s)
        self._now_s = max(self._now_s, event.at_s)
        record = self._evidence.arrived(event.phone, event.device_class)
        phone = PresentPhone(event.device_class, record)
        self._phones.add(event.phone, phone)
        device_class = self._class(event.device_class)
        device_class.members[event.phone] = None
        done: list[Instruction] = []
        for name in sorted(self._batches_of.get(event.phone, ())):
            batch = self._batches[name]
            if name in event.batches and batch.device_class == event.device_class and phone.batch is None:
                batch.away_since_s = None
                device_class.overdue.discard(name)
                self._phones.set_batch(phone, name)
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
        phone = self._phones.remove(name)
        device_class = self._class(phone.device_class)
        device_class.idle.pop(name, None)
        device_class.members.pop(name, None)

    def _set_fit(self, name: str, is_fit: bool) -> None:
        phone = self._phones.get(name)
        if phone:
            self._phones.hold_up(phone, is_fit=is_fit, rest_until_s=phone.rest_until_s)
            self._class(phone.device_class).idle.pop(name, None)
            self._idle(name)

    def _idle(self, name: str) -> None:
        """The phone may take work, unless something holds it up."""
        self._class(self._phones[name].device_class)
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
                self._phones.hold_up(phone, is_fit=phone.is_fit, rest_until_s=None)
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
            self._sisters.accept(entry.job)
        elif self._purpose == "measure" and event.status == "ok":
            done += self._sisters.measured(entry.job, batch.phone)
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
        outcome = self._evidence.ended(
            event.batch,
            batch,
            spoiled=event.spoiled,
            error=event.error,
            has_probes=bool(self._class(batch.device_class).probes),
        )
        done += outcome.instructions
        for name, entries in outcome.doubtful.items():
            done += self._repeat(name, entries, outcome.reason)
        if phone and phone.batch == event.batch:
            if outcome.drifted:
                done.append(self._rest(batch.phone, outcome.drifted))
            self._phones.set_batch(phone, None)
            self._idle(batch.phone)
            if phone.record.troubles >= MAX_TROUBLES:
                done.append(self._retire(batch.phone, event.spoiled or event.error))
        return done

    def _repeat(self, batch: str, entries: list[Entry], reason: str) -> list[Instruction]:
        valid = [entry for entry in entries if self._sisters.counts(entry, batch)]
        done, again = self._evidence.repeat(batch, valid, reason)
        for entry in again:
            if entry.purpose == self._purpose:
                self._sisters.unmeasured(entry.job)
            self._wait_again(entry)
        return done

    def _rest(self, name: str, reason: str) -> Instruction:
        phone = self._phones[name]
        until_s = self._now_s + self._pacing.rest_s
        self._phones.hold_up(phone, is_fit=phone.is_fit, rest_until_s=until_s)
        heapq.heappush(self._resting, (until_s, name))
        return Rest(name, reason, until_s)

    def _retire(self, name: str, why: str) -> Instruction:
        record = self._phones[name].record
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
        if self._class(batch.device_class).probes:
            self._evidence.given_up(name, batch)
        return self._release(name)

    def _open_batch(self, name: str, batch: Batch) -> None:
        self._batches[name] = batch
        self._batches_of.setdefault(batch.phone, set()).add(name)

    # Who does what next

    def _assign(self) -> list[Instruction]:
        """Gives work to the phones that have become ready, and to idle ones of the classes where something changed."""
        done: list[Instruction] = []
        for name in self._ready:
            phone = self._phones.get(name)
            if phone and phone.is_available:
                done += self._offer(name, self._classes[phone.device_class])
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
        probes = [Entry(job, PROBE) for job in device_class.probes]
        if record.has_drifted and probes:
            entries = probes if device_class.has_work_for(name) else []
        else:
            budget_us = self._pacing.batch_s * 1e6 * record.share
            entries = [Entry(*found) for found in device_class.take(name, budget_us)]
            if record.is_probe_due if entries else record.unproven:
                entries = [*probes, *entries]
        if not entries:
            return None
        batch = f"{self._owner}-{self._next_batch:05d}"
        self._next_batch += 1
        for entry in entries:
            if entry.purpose == SISTER:
                self._sisters.lease(entry.job, name, batch)
        self._open_batch(batch, batch_of(name, phone.device_class, entries))
        self._phones.set_batch(phone, batch)
        return Lease(name, batch, tuple(entry.task for entry in entries))
