"""One run of jobs over the present phones: the scheduler decides, the ledger remembers, the broker acts."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from .directory import Directory
from .jobs import Job
from .ledger import Ledger
from .messages import (
    BatchReturned,
    BatchStopped,
    FollowBatch,
    PhoneCommand,
    PhoneMessage,
    RemoveBatch,
    ResultsRead,
    RetirePhone,
    StartBatch,
    StatusChanged,
    longest_us,
)
from .phone_state import PhoneState
from .probe_jobs import read_probe
from .profile import DeviceProfile
from .progress import PhoneLine
from .resuming import JobPlanner, enrol, remember_probes
from .scheduling import (
    Arrived,
    Event,
    Fit,
    Follow,
    Instruction,
    Invalidate,
    Lease,
    Left,
    Mark,
    Pacing,
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
    Tick,
    Unfit,
)
from .status_file import ClassTally
from .statuses import ADVICE

_LEAST_RATE_S = 5.0  # a rate over less would be a guess


class Commander(Protocol):
    """Hands commands to phones; a broker."""

    def command(self, address: str, session: int, command: PhoneCommand) -> None: ...


@dataclass
class _ClassCount:
    """The jobs of a device class, sisters and probes apart, and those with a trace by its status; `results` counts all
    results of this run."""

    jobs: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    results: int = 0

    @property
    def settled(self) -> int:
        return self.statuses.total()

    @property
    def rejected(self) -> int:
        return self.settled - self.statuses["ok"]


class Run:
    """The state of one run. `plan` makes the jobs of a device class that shows up only during the run, `probes` the
    probe jobs of a class; without it there are no probes."""

    def __init__(
        self,
        jobs: Mapping[str, Iterable[Job]],
        purpose: str,
        ledger: Ledger,
        directory: Directory,
        broker: Commander,
        *,
        seed: int,
        pacing: Pacing,
        plan: JobPlanner | None = None,
        probes: JobPlanner | None = None,
    ) -> None:
        self._purpose = purpose
        self._ledger = ledger
        self._directory = directory
        self._broker = broker
        self._seed = seed
        self._pacing = pacing
        self._plan = plan
        self._probes = probes
        self._orders: list[tuple[str, int, PhoneCommand]] = []
        self._counts: dict[str, _ClassCount] = {}
        self._began_s = time.monotonic()
        self._results: Counter[str] = Counter()  # of this run, by phone
        self._troubles: dict[str, str] = {}
        self._started_s: dict[str, float] = {}
        self._stopped_s: dict[
            str, float
        ] = {}  # by address: a batch that was given ahead begins when the one before ends
        self._unfit: set[str] = set()
        self._probe_ids: set[str] = set()
        self.scheduler = Scheduler(
            owner=ledger.owner, purpose=purpose, next_batch=ledger.next_batch, seed=seed, pacing=pacing
        )
        self.tick()
        for name, listed in jobs.items():
            self._enrol(name, listed, self._profile(name))
        with self._at_once():
            for label in directory.present:
                self._arrive(label)

    def unsettled(self) -> dict[str, int]:
        """By device class, how many jobs have no trace yet; sisters apart."""
        left = {name: count.jobs - count.settled for name, count in self._counts.items()}
        return {name: count for name, count in left.items() if count}

    def tallies(self) -> list[ClassTally]:
        """How many jobs of each device class have their trace, by status; sisters apart."""
        return [
            ClassTally(name, self._purpose, count.jobs, {of: n for of, n in count.statuses.items() if n})
            for name, count in self._counts.items()
        ]

    def stop(self) -> None:
        """Starts nothing new from here on."""
        with self._at_once():
            self._feed(StopRequested())

    def tick(self) -> None:
        with self._at_once():
            self._feed(Tick(time.monotonic()))

    def take(self, *messages: PhoneMessage) -> None:
        """Does what messages from the broker call for, in one commit."""
        with self._at_once():
            for message in messages:
                self._take(message)

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        """Commits what is done inside as one transaction, and only then gives phones their commands: a batch must be
        known before a phone has it, and its results be kept before the phone's are removed."""
        self._orders.clear()
        with self._ledger.transaction():
            yield
        for address, session, command in self._orders:
            self._broker.command(address, session, command)
        self._orders.clear()

    def _take(self, message: PhoneMessage) -> None:
        match message:
            case ResultsRead():
                self._take_results(message)
            case BatchStopped():
                self._take_stop(message)
            case BatchReturned(batch=batch):
                self._started_s.pop(batch, None)
                self._feed(Returned(batch))
            case StatusChanged(status=status):
                self._directory.take(message)
                self._check_fitness(self._directory.label_at(status.address))
            case _:
                left = self._directory.label_at(message.address)
                label = self._directory.take(message)
                if label and label in self._directory.present:
                    self._arrive(label)
                elif left:
                    self._unfit.discard(left)
                    self._feed(Left(left, time.monotonic()))

    def lines(self) -> list[PhoneLine]:
        """How the phones stand, to be shown."""
        return [self._line(address) for address in self._directory.statuses]

    def _profile(self, device_class: str) -> DeviceProfile | None:
        text = self._ledger.get(f"profile {device_class}")
        return DeviceProfile.from_json(json.loads(text)) if text else None

    def _enrol(self, device_class: str, jobs: Iterable[Job], profile: DeviceProfile | None) -> None:
        probes = self._probes(profile) if self._probes and profile else ()
        self._probe_ids.update(job.id for job in probes)
        enrolled = enrol(
            self._ledger, device_class, jobs, probes, self._purpose, self._seed, self._pacing.sister_fraction
        )
        self._counts[device_class] = _ClassCount(enrolled.jobs, enrolled.settled)
        self._feed(enrolled.added)

    def _arrive(self, label: str) -> None:
        phone = self._directory.present[label]
        device_class = phone.profile.device_class
        if self._plan and device_class not in self._counts:
            self._enrol(device_class, self._plan(phone.profile), phone.profile)
        self._unfit.discard(label)
        self._feed(Arrived(label, device_class, frozenset(phone.batches), time.monotonic()))
        self._check_fitness(label)

    def _check_fitness(self, label: str | None) -> None:
        """Tells the scheduler of a phone that is there, but hot or low, and of one that is well again."""
        if label is None or label not in self._directory.present:
            return
        status = self._directory.statuses[self._directory.present[label].address]
        if not status.state.is_fit and label not in self._unfit:
            self._unfit.add(label)
            self._feed(Unfit(label, status.reason, time.monotonic()))
        elif status.state.is_fit and label in self._unfit:
            self._unfit.discard(label)
            self._feed(Fit(label, time.monotonic()))

    def _bound_us(self, batch: str) -> int:
        """Of a batch that was begun before this driver, or before its phone had left."""
        for open_batch in self._ledger.open_batches(self._purpose):
            if open_batch.id == batch:
                return longest_us(self._ledger.jobs_of(zip(open_batch.jobs, open_batch.purposes, strict=True)))
        return 0

    def _take_results(self, message: ResultsRead) -> None:
        commands: list[Instruction] = []
        for line in message.lines:
            match line.get("type"):
                case "agent":
                    self._ledger.set_agent(message.batch, line)
                case "telemetry":
                    self._ledger.set_telemetry(message.batch, line)
                case "result":
                    commands += self._take_result(message.batch, line)
        self._ledger.set_offset(message.batch, message.offset)
        self._command(commands)

    def _take_result(self, batch: str, line: dict[str, Any]) -> list[Instruction]:
        """Stores a result as the scheduler says; returns what else is to be done."""
        probe = read_probe(line) if line["id"] in self._probe_ids else None
        elapsed_us, build_us = (int(line.get(name) or 0) for name in ("elapsed_us", "build_us"))
        event = Result(batch, line["id"], line["status"], elapsed_us, probe, build_us)
        instructions = self.scheduler.handle(event)
        self._store(instructions, line)
        return instructions

    def _take_stop(self, message: BatchStopped) -> None:
        left = self.scheduler.leased(message.batch)
        # Of a batch that broke off, the job at work is to blame; of one that ended, each job without a result.
        blamed = left[:1] if message.error else left
        error = message.error or "the agent ended the batch without a result of this job"
        now_s = time.monotonic()
        began_s = max(self._started_s.pop(message.batch, now_s), self._stopped_s.get(message.address, 0.0))
        self._stopped_s[message.address] = now_s
        commands: list[Instruction] = []
        for job in blamed:
            line = {"type": "result", "id": job, "status": "crashed", "error": error}
            commands += self._take_result(message.batch, line)
        self._ledger.set_readings(message.batch, message.before, message.after)
        stopped = self.scheduler.handle(Stopped(message.batch, now_s - began_s, message.spoiled, message.error))
        self._store(stopped)
        self._command([*commands, *stopped])

    def _feed(self, event: Event) -> None:
        instructions = self.scheduler.handle(event)
        self._store(instructions)
        self._command(instructions)

    def _store(self, instructions: Iterable[Instruction], line: dict[str, Any] | None = None) -> None:
        """Does to the ledger what is to be done; `line` is the result that is to be recorded."""
        for instruction in instructions:
            match instruction:
                case Lease(phone=phone, batch=batch, tasks=tasks):
                    others = {task.job: task.purpose for task in tasks if task.purpose != self._purpose}
                    self._ledger.lease(batch, [task.job for task in tasks], phone, self._purpose, others)
                case Release(batch=batch):
                    self._ledger.release(batch)
                case Record() if line is not None:
                    self._record(instruction, line)
                case Invalidate(batch=batch, tasks=tasks, reason=reason, device_class=device_class):
                    for attempt in self._ledger.invalidate(batch, tasks, reason):
                        self._count(device_class, attempt.purpose, attempt.status, -1)
                case Mark(batch=batch, tasks=tasks, reason=reason):
                    self._ledger.mark(batch, tasks, reason)
                case Remember(phone=phone, device_class=device_class, state=state):
                    remember_probes(self._ledger, phone, device_class, state)

    def _command(self, instructions: Iterable[Instruction]) -> None:
        """What the phones are to be told, once the ledger knows of it for good."""
        for instruction in instructions:
            match instruction:
                case Lease(phone=phone, batch=batch, tasks=tasks):
                    self._directory.present[phone].batches.add(batch)
                    self._started_s[batch] = time.monotonic()
                    jobs = self._ledger.jobs_of((task.job, task.purpose) for task in tasks)
                    self._send(phone, StartBatch.of(batch, jobs))
                case Follow(phone=phone, batch=batch):
                    self._send(phone, FollowBatch(batch, self._ledger.offset(batch), self._bound_us(batch)))
                case Remove(phone=phone, batch=batch):
                    self._directory.present[phone].batches.discard(batch)
                    self._send(phone, RemoveBatch(batch))
                case Retire(phone=phone, reason=reason):
                    self._send(phone, RetirePhone(reason))
                case Rest(phone=phone, reason=reason):
                    self._troubles[phone] = f"has drifted, rests and is probed again: {reason}"
                case Settled(phone=phone, reason=reason):
                    self._troubles[phone] = f"has settled at a new speed: {reason}"

    def _send(self, label: str, command: PhoneCommand) -> None:
        phone = self._directory.present[label]
        self._orders.append((phone.address, phone.session, command))

    def _record(self, record: Record, line: dict[str, Any]) -> None:
        self._ledger.record(record.batch, line, accept=record.accept)
        self._results[record.phone] += 1
        self._counts[record.device_class].results += 1
        if record.accept:
            self._count(record.device_class, record.task.purpose, str(line["status"]), 1)
        if line["status"] != "ok":
            then = ADVICE.get(line["status"], "") if record.accept else "it is tried again"
            said = "; ".join(part for part in (line.get("error"), then) if part)
            self._troubles[record.phone] = f"job {line['id'][:8]}: {line['status']}: {said}"

    def _count(self, device_class: str, purpose: str, status: str, step: int) -> None:
        """Counts a trace that there is from now on, or (-1) no longer is."""
        if purpose == self._purpose:
            self._counts[device_class].statuses[status] += step

    def _line(self, address: str) -> PhoneLine:
        status = self._directory.statuses[address]
        label = self._directory.label_at(address)
        device_class = self._directory.present[label].profile.device_class if label else status.device_class
        count = self._counts.get(device_class, _ClassCount())
        minutes = max(time.monotonic() - self._began_s, _LEAST_RATE_S) / 60
        class_rate = count.results / minutes
        is_fine = status.state in (PhoneState.READY, PhoneState.LEASED)
        return PhoneLine(
            label=label or address,
            status=status,
            done=count.settled,
            total=count.jobs,
            rejected=count.rejected,
            rate_per_minute=self._results[label] / minutes if label else 0.0,
            left_s=60 * (count.jobs - count.settled) / class_rate if class_rate else None,
            trouble=self._troubles.get(label or "", "") if is_fine else status.reason,
        )
