"""The jobs of one device class that wait, and the phones that could take them. No step looks at all of either."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from .events import SISTER, WaitingJob
from .sister_queue import SisterQueue

_MAX_SLOWDOWN = 8.0
_LEAST_PART = 1 / 8  # of a usual batch: smaller ones cost more on their way than they save at the end


@dataclass(slots=True)
class _Kind:
    """Jobs of one kind: how many wait, their first estimates, and what those measured have taken, builds apart."""

    waiting: int = 0
    estimates_us: int = 0
    measured: int = 0
    measured_us: int = 0

    @property
    def mean_us(self) -> float | None:
        return self.measured_us / self.measured if self.measured else None


@dataclass(slots=True)
class DeviceClass:
    """`members` are its phones that are there and may work; `idle` those of them that could take a batch now."""

    purpose: str
    probes: tuple[WaitingJob, ...] = ()
    members: OrderedDict[str, None] = field(default_factory=OrderedDict)
    idle: OrderedDict[str, None] = field(default_factory=OrderedDict)
    overdue: set[str] = field(default_factory=set)
    _waiting: deque[WaitingJob] = field(default_factory=deque)
    _sisters: SisterQueue = field(default_factory=SisterQueue)
    _kinds: dict[str, _Kind] = field(default_factory=dict)
    _slowdown: float = 1.0

    @property
    def waiting_sisters(self) -> int:
        """How many jobs wait for a second phone."""
        return self._sisters.count

    @property
    def is_open(self) -> bool:
        """Whether work is left. Sisters are, while a phone is there that could take one."""
        if self._waiting:
            return True
        if len(self.members) == 1:
            return self._sisters.has_for(next(iter(self.members)))
        return bool(self._sisters.count and self.members)

    def has_work_for(self, phone: str) -> bool:
        return bool(self._waiting) or self._sisters.has_for(phone)

    def has_plenty_for(self, phone: str, budget_us: float) -> bool:
        """Whether the phone may take `budget_us` of work ahead without leaving the class's others with less."""
        if len(self.members) == 1:
            return self.has_work_for(phone)
        return bool(self._waiting) and self._total_us() >= len(self.members) * budget_us

    def add(self, job: WaitingJob) -> None:
        """The job waits for any phone."""
        self._waiting.append(job)
        self._count(job, 1)

    def add_sister(self, measured_on: str, job: WaitingJob) -> None:
        """The job waits for another phone than `measured_on`."""
        self._sisters.add(measured_on, job)
        self._count(job, 1)

    def remove_sister(self, measured_on: str, job: WaitingJob) -> None:
        """The job does not wait for another phone any more, if it did."""
        if self._sisters.remove(measured_on, job):
            self._count(job, -1)

    def take(self, phone: str, budget_us: float) -> Iterator[tuple[WaitingJob, str]]:
        """Takes work for the phone, with its purposes: at least one job where there is one, `budget_us` at most, but
        not much more than an equal share, so that the class's phones end together."""
        left_us = min(budget_us, max(self._total_us() / max(len(self.members), 1), budget_us * _LEAST_PART))
        is_first = True
        while found := self._next(phone):
            job, measured_on = found
            left_us -= self._estimate_us(job)
            if left_us < 0 and not is_first:
                self._put_back(job, measured_on)
                return
            is_first = False
            self._count(job, -1)
            yield job, self.purpose if measured_on is None else SISTER

    def note_result(self, job: WaitingJob, elapsed_us: int) -> None:
        kind = self._kinds.setdefault(job.kind, _Kind())
        kind.measured += 1
        kind.measured_us += elapsed_us

    def note_batch(self, wall_us: float, measured_us: float) -> None:
        """Phones that share a host wait for each other: a batch takes longer than its jobs."""
        self._slowdown = min(max(wall_us / measured_us, 1.0), _MAX_SLOWDOWN)

    def _next(self, phone: str) -> tuple[WaitingJob, str | None] | None:
        """Takes out the next job for the phone, with the phone that measured it where it is a sister."""
        if self._waiting:
            return self._waiting.popleft(), None
        sister = self._sisters.take(phone)
        return sister and (sister[1], sister[0])

    def _put_back(self, job: WaitingJob, measured_on: str | None) -> None:
        if measured_on is None:
            self._waiting.appendleft(job)
        else:
            self._sisters.add(measured_on, job)

    def _count(self, job: WaitingJob, step: int) -> None:
        kind = self._kinds.setdefault(job.kind, _Kind())
        kind.waiting += step
        kind.estimates_us += step * job.estimate_us

    def _estimate_us(self, job: WaitingJob) -> float:
        return (self._kinds[job.kind].mean_us or job.estimate_us) * self._slowdown

    def _total_us(self) -> float:
        totals = (
            kind.estimates_us if (mean_us := kind.mean_us) is None else kind.waiting * mean_us
            for kind in self._kinds.values()
        )
        return sum(totals) * self._slowdown
