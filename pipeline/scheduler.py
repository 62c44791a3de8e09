"""Which job next, and where: a pure state machine. Events go in, instructions come out; no I/O and no clock.

A job waits, or is leased in a batch to one phone, or is settled. Phones of one device class share its jobs. A phone
that leaves keeps its batch, on which its agent goes on; only when it stays away past the grace time, and another
phone of the class is there, do the batch's jobs wait again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random

FINAL_STATUSES = frozenset({"ok", "build_failed", "out_of_resources", "wrong_result", "unsupported", "invalid_job"})
"""Results that another attempt would repeat; the others (noisy, timeout, crashed) are tried again."""
MAX_ATTEMPTS = 3
_MAX_SLOWDOWN = 8.0


@dataclass(frozen=True)
class WaitingJob:
    """What the scheduler needs to know of a job. `estimate_us` holds until jobs of its kind have been measured."""

    id: str
    device_class: str
    kind: str
    estimate_us: int


@dataclass(frozen=True)
class Arrived:
    """A phone can take work; `batches` lie on it."""

    phone: str
    device_class: str
    batches: frozenset[str]
    at_s: float


@dataclass(frozen=True)
class Left:
    """A phone has gone away."""

    phone: str
    at_s: float


@dataclass(frozen=True)
class Result:
    """A job of a batch has a result."""

    batch: str
    job: str
    status: str
    elapsed_us: int


@dataclass(frozen=True)
class Stopped:
    """A batch has ended, `wall_s` after it was given out; jobs of it without a result wait again."""

    batch: str
    wall_s: float = 0.0


@dataclass(frozen=True)
class Tick:
    """Time has passed."""

    at_s: float


@dataclass(frozen=True)
class Added:
    """There are more jobs: a phone of a class that had none has come."""

    jobs: tuple[WaitingJob, ...]


@dataclass(frozen=True)
class StopRequested:
    """Nothing new is to be started."""


Event = Arrived | Left | Result | Stopped | Tick | Added | StopRequested


@dataclass(frozen=True)
class Lease:
    """Give these jobs to the phone as a new batch."""

    phone: str
    batch: str
    jobs: tuple[str, ...]


@dataclass(frozen=True)
class Follow:
    """The phone has its batch still: read its results on."""

    phone: str
    batch: str


@dataclass(frozen=True)
class Remove:
    """The phone has a batch that is of no use any more."""

    phone: str
    batch: str


@dataclass(frozen=True)
class Release:
    """The leased jobs of the batch wait again."""

    batch: str


@dataclass(frozen=True)
class Record:
    """The job's result is to be stored: accepted as its trace, or as a failed attempt."""

    batch: str
    job: str
    accept: bool


Instruction = Lease | Follow | Remove | Release | Record


@dataclass
class _Batch:
    phone: str
    device_class: str
    jobs: dict[str, None]  # without a result yet, in order
    away_since_s: float | None
    measured_us: int = 0


@dataclass
class _Phone:
    device_class: str
    batch: str | None


class Scheduler:
    """See the module. `leases` are the batches that were open when the campaign was last left: batch -> (phone, jobs);
    `failures` how often each job has failed before. Batch ids are `owner` and a number from `next_batch` on."""

    def __init__(
        self,
        jobs: Iterable[WaitingJob],
        *,
        owner: str,
        next_batch: int = 1,
        seed: int = 0,
        leases: Mapping[str, tuple[str, tuple[str, ...]]] | None = None,
        failures: Mapping[str, int] | None = None,
        batch_s: float = 10.0,
        grace_s: float = 60.0,
        now_s: float = 0.0,
    ) -> None:
        jobs = list(jobs)
        self._jobs = {job.id: job for job in jobs}
        self._random = Random(seed)
        self._owner = owner
        self._next_batch = next_batch
        self._batch_us = batch_s * 1e6
        self._grace_s = grace_s
        self._failures = Counter(failures or {})
        self._phones: dict[str, _Phone] = {}
        self._batches: dict[str, _Batch] = {}
        self._measured: dict[tuple[str, str], tuple[int, int]] = {}  # (class, kind) -> jobs, microseconds
        self._slowdown: dict[str, float] = {}  # by class: a batch's wall time over what its jobs took
        self._is_stopping = False
        leased: set[str] = set()
        for batch, (phone, names) in (leases or {}).items():
            mine = {name: None for name in names if name in self._jobs}
            if mine:
                device_class = self._jobs[next(iter(mine))].device_class
                self._batches[batch] = _Batch(phone, device_class, mine, now_s)
                leased.update(mine)
        self._waiting: dict[str, deque[str]] = {}
        self._add(job for job in jobs if job.id not in leased)

    @property
    def is_finished(self) -> bool:
        """Nothing is leased, and nothing waits or may be started."""
        return not self._batches and (self._is_stopping or not any(self._waiting.values()))

    @property
    def is_busy(self) -> bool:
        """Whether some phone that is there has a batch."""
        return any(phone.batch for phone in self._phones.values())

    def waiting(self) -> dict[str, tuple[str, ...]]:
        """By device class, the jobs that wait."""
        return {name: tuple(jobs) for name, jobs in self._waiting.items() if jobs}

    def leased(self, batch: str) -> tuple[str, ...]:
        """The jobs of a batch that have no result yet; the first is the one at work."""
        return tuple(self._batches[batch].jobs) if batch in self._batches else ()

    def handle(self, event: Event) -> list[Instruction]:
        """Takes an event; returns what is to be done, in order."""
        match event:
            case Arrived():
                done = self._arrived(event)
            case Left(phone=phone, at_s=at_s):
                done = self._left(phone, at_s)
            case Result():
                done = self._result(event)
            case Stopped(batch=batch, wall_s=wall_s):
                done = self._stopped(batch, wall_s)
            case Tick(at_s=at_s):
                done = self._give_up_on_the_absent(at_s)
            case Added(jobs=jobs):
                self._add(jobs)
                done = []
            case StopRequested():
                self._is_stopping = True
                done = []
        return [*done, *self._assign()]

    def _add(self, jobs: Iterable[WaitingJob]) -> None:
        new = list(jobs)
        # A fixed order of shapes would let slow drifts (heat) pass for an effect of shape.
        self._random.shuffle(new)
        for job in new:
            self._jobs[job.id] = job
            self._wait_again(job.id)

    def _arrived(self, event: Arrived) -> list[Instruction]:
        self._phones[event.phone] = phone = _Phone(event.device_class, None)
        done: list[Instruction] = []
        for name, batch in list(self._batches.items()):
            if batch.phone != event.phone:
                continue
            if name in event.batches and batch.device_class == event.device_class and phone.batch is None:
                phone.batch, batch.away_since_s = name, None
                done.append(Follow(event.phone, name))
            else:
                done += self._release(name)
        stale = sorted(event.batches - ({phone.batch} if phone.batch else set()))
        # A phone does one thing at a time: what is in the way goes first.
        return [*(Remove(event.phone, name) for name in stale), *done]

    def _left(self, phone: str, at_s: float) -> list[Instruction]:
        gone = self._phones.pop(phone, None)
        if gone and gone.batch:
            self._batches[gone.batch].away_since_s = at_s
            if not self._batches[gone.batch].jobs:
                self._release(gone.batch)
        return []

    def _result(self, event: Result) -> list[Instruction]:
        batch = self._batches.get(event.batch)
        if batch is None or event.job not in batch.jobs:
            return []
        del batch.jobs[event.job]
        batch.measured_us += event.elapsed_us
        job = self._jobs[event.job]
        jobs, total_us = self._measured.get((job.device_class, job.kind), (0, 0))
        self._measured[job.device_class, job.kind] = (jobs + 1, total_us + event.elapsed_us)
        self._failures[event.job] += event.status not in FINAL_STATUSES
        accept = event.status in FINAL_STATUSES or self._failures[event.job] >= MAX_ATTEMPTS
        if not accept:
            self._wait_again(event.job)
        return [Record(event.batch, event.job, accept)]

    def _stopped(self, name: str, wall_s: float) -> list[Instruction]:
        batch = self._batches.get(name)
        if batch is None:
            return []
        # Phones that share a host wait for each other. A short batch tells more of its start than of waiting.
        if batch.measured_us > self._batch_us / 4:
            self._slowdown[batch.device_class] = min(max(wall_s * 1e6 / batch.measured_us, 1.0), _MAX_SLOWDOWN)
        phone = self._phones.get(batch.phone)
        done: list[Instruction] = [Remove(batch.phone, name)] if phone else []
        if phone:
            phone.batch = None
        return [*done, *self._release(name)]

    def _give_up_on_the_absent(self, at_s: float) -> list[Instruction]:
        present = {phone.device_class for phone in self._phones.values()}
        late = [
            name
            for name, batch in self._batches.items()
            if batch.away_since_s is not None
            and at_s - batch.away_since_s > self._grace_s
            and batch.device_class in present
        ]
        return [instruction for name in late for instruction in self._release(name)]

    def _release(self, name: str) -> list[Instruction]:
        batch = self._batches.pop(name)
        for job in batch.jobs:
            self._wait_again(job)
        return [Release(name)] if batch.jobs else []

    def _wait_again(self, job: str) -> None:
        self._waiting.setdefault(self._jobs[job].device_class, deque()).append(job)

    def _assign(self) -> list[Instruction]:
        if self._is_stopping:
            return []
        done: list[Instruction] = []
        for name, phone in self._phones.items():
            waiting = self._waiting.get(phone.device_class)
            if phone.batch is None and waiting:
                jobs = self._take(waiting, phone.device_class)
                phone.batch = f"{self._owner}-{self._next_batch:05d}"
                self._next_batch += 1
                self._batches[phone.batch] = _Batch(name, phone.device_class, dict.fromkeys(jobs), None)
                done.append(Lease(name, phone.batch, jobs))
        return done

    def _take(self, waiting: deque[str], device_class: str) -> tuple[str, ...]:
        """About `batch_s` of work, but no more than an equal share, so that the class's phones end together."""
        sharing = sum(phone.device_class == device_class for phone in self._phones.values())
        budget_us = min(self._batch_us, sum(map(self._estimate_us, waiting)) / sharing)
        jobs: list[str] = []
        while waiting and (not jobs or budget_us >= self._estimate_us(waiting[0])):
            jobs.append(waiting.popleft())
            budget_us -= self._estimate_us(jobs[-1])
        return tuple(jobs)

    def _estimate_us(self, job_id: str) -> float:
        job = self._jobs[job_id]
        jobs, total_us = self._measured.get((job.device_class, job.kind), (0, 0))
        return (total_us / jobs if jobs else job.estimate_us) * self._slowdown.get(job.device_class, 1.0)
