"""One run of jobs over the present phones: the scheduler decides, the ledger remembers, the broker acts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from .directory import Directory
from .jobs import Job, job_file
from .ledger import Ledger
from .messages import BatchStopped, FollowBatch, PhoneCommand, PhoneMessage, RemoveBatch, ResultsRead, StartBatch
from .phone_state import PhoneState
from .profile import DeviceProfile
from .progress import PhoneLine
from .scheduler import (
    Added,
    Arrived,
    Event,
    Follow,
    Instruction,
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

_EXTRA_TIME_US = 200_000  # a first guess of what building, warming up and verifying add to a job
_LEAST_RATE_S = 5.0  # a rate over less would be a guess

JobPlanner = Callable[[DeviceProfile], Sequence[Job]]


class Commander(Protocol):
    """Hands commands to phones; a broker."""

    def command(self, address: str, session: int, command: PhoneCommand) -> None: ...


class Run:
    """The state of one run. `plan` makes the jobs of a device class that shows up only during the run."""

    def __init__(
        self,
        jobs: Mapping[str, Sequence[Job]],
        purpose: str,
        ledger: Ledger,
        directory: Directory,
        broker: Commander,
        *,
        seed: int,
        batch_s: float,
        grace_s: float,
        plan: JobPlanner | None = None,
    ) -> None:
        self._purpose = purpose
        self._ledger = ledger
        self._directory = directory
        self._broker = broker
        self._plan = plan
        self._jobs: dict[str, Job] = {}
        self._classes: dict[str, list[str]] = {}
        self._statuses = ledger.settled(purpose)
        self._began_s = time.monotonic()
        self._measured: Counter[str] = Counter()
        self._troubles: dict[str, str] = {}
        self._started_s: dict[str, float] = {}
        opened = {batch.id: (batch.phone, batch.jobs) for batch in ledger.open_batches(purpose)}
        new = [job for name, listed in jobs.items() for job in self._enrol(name, listed)]
        self.scheduler = Scheduler(
            new,
            owner=ledger.owner,
            next_batch=ledger.next_batch,
            seed=seed,
            leases=opened,
            failures=ledger.failures(purpose),
            batch_s=batch_s,
            grace_s=grace_s,
            now_s=self._began_s,
        )
        for label in directory.present:
            self._arrive(label)

    def unsettled(self) -> dict[str, int]:
        """By device class, how many jobs have no trace yet."""
        left = {name: sum(job not in self._statuses for job in jobs) for name, jobs in self._classes.items()}
        return {name: count for name, count in left.items() if count}

    def stop(self) -> None:
        """Starts nothing new from here on."""
        self._feed(StopRequested())

    def tick(self) -> None:
        self._feed(Tick(time.monotonic()))

    def take(self, message: PhoneMessage) -> None:
        """Does what a message from the broker calls for."""
        match message:
            case ResultsRead():
                self._take_results(message)
            case BatchStopped():
                self._take_stop(message)
            case _:
                left = self._directory.label_at(message.address) if not hasattr(message, "status") else None
                label = self._directory.take(message)
                if label and label in self._directory.present:
                    self._arrive(label)
                elif left:
                    self._feed(Left(left, time.monotonic()))

    def lines(self) -> list[PhoneLine]:
        """How the phones stand, to be shown."""
        return [self._line(address) for address in self._directory.statuses]

    def _enrol(self, device_class: str, jobs: Iterable[Job]) -> list[WaitingJob]:
        listed = list(dict.fromkeys(jobs_by_id := {job.id: job for job in jobs}))
        self._ledger.plan(jobs_by_id.values(), device_class, self._purpose)
        self._classes[device_class] = listed
        self._jobs.update(jobs_by_id)
        return [
            WaitingJob(job.id, device_class, job.kind, job.max_time_us + _EXTRA_TIME_US)
            for job in jobs_by_id.values()
            if job.id not in self._statuses
        ]

    def _arrive(self, label: str) -> None:
        phone = self._directory.present[label]
        device_class = phone.profile.device_class
        if self._plan and device_class not in self._classes:
            self._feed(Added(tuple(self._enrol(device_class, self._plan(phone.profile)))))
        self._feed(Arrived(label, device_class, frozenset(phone.batches), time.monotonic()))

    def _take_results(self, message: ResultsRead) -> None:
        later: list[Instruction] = []
        results = [line for line in message.lines if line.get("type") == "result"]
        with self._ledger.transaction():
            for line in message.lines:
                if line.get("type") == "agent":
                    self._ledger.set_agent(message.batch, line)
                elif line.get("type") == "telemetry":
                    self._ledger.set_telemetry(message.batch, line)
            for line in results:
                later += self._take_result(message.batch, line)
            self._ledger.set_offset(message.batch, message.offset)
        self._perform(later)

    def _take_result(self, batch: str, line: dict[str, Any]) -> list[Instruction]:
        """Stores a result as the scheduler says; returns what else is to be done."""
        event = Result(batch, line["id"], line["status"], int(line.get("elapsed_us") or 0))
        instructions = self.scheduler.handle(event)
        for instruction in instructions:
            if isinstance(instruction, Record):
                self._ledger.record(batch, line, accept=instruction.accept)
                self._note_result(batch, line, instruction.accept)
        return [instruction for instruction in instructions if not isinstance(instruction, Record)]

    def _note_result(self, batch: str, line: dict[str, Any], accept: bool) -> None:
        phone = self._ledger.phone_of(batch)
        self._measured[phone] += 1
        if accept:
            self._statuses[line["id"]] = line["status"]
        if line["status"] != "ok":
            again = "" if accept else ", is tried again"
            self._troubles[phone] = f"job {line['id'][:8]}: {line['status']}{again}: {line.get('error') or ''}"

    def _take_stop(self, message: BatchStopped) -> None:
        left = self.scheduler.leased(message.batch)
        # Of a batch that broke off, the job at work is to blame; of one that ended, each job without a result.
        blamed = left[:1] if message.error else left
        error = message.error or "the agent ended the batch without a result of this job"
        lines = tuple({"type": "result", "id": job, "status": "crashed", "error": error} for job in blamed)
        later: list[Instruction] = []
        with self._ledger.transaction():
            for line in lines:
                later += self._take_result(message.batch, line)
            self._ledger.set_readings(message.batch, message.before, message.after)
        self._perform(later)
        now_s = time.monotonic()
        self._feed(Stopped(message.batch, now_s - self._started_s.get(message.batch, now_s)))

    def _feed(self, event: Event) -> None:
        self._perform(self.scheduler.handle(event))

    def _perform(self, instructions: Iterable[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Lease(phone=phone, batch=batch, jobs=jobs):
                    self._ledger.lease(batch, jobs, phone, self._purpose)
                    self._directory.present[phone].batches.add(batch)
                    self._started_s[batch] = time.monotonic()
                    self._command(phone, StartBatch(batch, job_file(self._jobs[job] for job in jobs)))
                case Follow(phone=phone, batch=batch):
                    self._command(phone, FollowBatch(batch, self._ledger.offset(batch)))
                case Remove(phone=phone, batch=batch):
                    self._directory.present[phone].batches.discard(batch)
                    self._command(phone, RemoveBatch(batch))
                case Release(batch=batch):
                    self._ledger.release(batch)

    def _command(self, label: str, command: PhoneCommand) -> None:
        phone = self._directory.present[label]
        self._broker.command(phone.address, phone.session, command)

    def _line(self, address: str) -> PhoneLine:
        status = self._directory.statuses[address]
        label = self._directory.label_at(address)
        device_class = self._directory.present[label].profile.device_class if label else status.device_class
        jobs = self._classes.get(device_class, [])
        done = [self._statuses[job] for job in jobs if job in self._statuses]
        minutes = max(time.monotonic() - self._began_s, _LEAST_RATE_S) / 60
        rate = self._measured[label] / minutes if label else 0.0
        peers = [name for name, phone in self._directory.present.items() if phone.profile.device_class == device_class]
        class_rate = sum(self._measured[name] for name in peers) / minutes
        is_fine = status.state in (PhoneState.READY, PhoneState.LEASED)
        return PhoneLine(
            label=label or address,
            status=status,
            done=len(done),
            total=len(jobs),
            rejected=sum(state != "ok" for state in done),
            rate_per_minute=rate,
            left_s=60 * (len(jobs) - len(done)) / class_rate if class_rate else None,
            trouble=self._troubles.get(label or "", "") if is_fine else status.reason,
        )
