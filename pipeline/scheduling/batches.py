"""A batch that is open: the tasks that one phone has been given together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from .drift import ProbeReading
from .events import PROBE, Task, WaitingJob


class Entry(NamedTuple):
    """A job in a batch, and what it is measured for."""

    job: WaitingJob
    purpose: str

    @property
    def task(self) -> Task:
        return Task(self.job.id, self.purpose)


@dataclass(slots=True)
class Batch:
    """`entries` have no result yet and are in order, `size` is how many there were at first; `probes` are the batch's
    probe tasks, `readings` what they read. `away_since_s` is set while the phone is away."""

    phone: str
    device_class: str
    entries: dict[str, Entry]
    size: int
    away_since_s: float | None = None
    accepted: list[Entry] = field(default_factory=list)
    probes: tuple[Task, ...] = ()
    readings: list[ProbeReading] = field(default_factory=list)
    measured_us: int = 0

    @property
    def is_under_way(self) -> bool:
        """Whether at least a third of the tasks have a result, the probes among them."""
        return 3 * len(self.entries) <= 2 * self.size and all(task.job not in self.entries for task in self.probes)

    @property
    def expected_us(self) -> float:
        """How long all tasks take, by those that have a result."""
        return self.measured_us * self.size / max(self.size - len(self.entries), 1)


def batch_of(phone: str, device_class: str, entries: list[Entry]) -> Batch:
    """A new batch of these tasks."""
    probes = tuple(entry.task for entry in entries if entry.purpose == PROBE)
    return Batch(phone, device_class, {entry.job.id: entry for entry in entries}, len(entries), probes=probes)
