"""Which jobs are measured once more on another phone of their class, and where each of them stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from .batches import Entry
from .device_class import DeviceClass
from .events import SISTER, Instruction, Invalidate, Past, Task, WaitingJob


def is_sister(job_id: str, seed: int, fraction: float) -> bool:
    """Whether the job is among the `fraction` that a second phone measures, too; the same at every call."""
    digest = sha256(f"{seed} sister {job_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


@dataclass(slots=True)
class _Sister:
    """A chosen job: who has measured it (accepted and ok), and which phone and batch have it a second time, leased or
    accepted."""

    job: WaitingJob
    measured_on: str | None = None
    phone: str | None = None
    batch: str | None = None
    is_accepted: bool = False


class Sisters:
    """The chosen jobs that have been measured or leased a second time. `class_of` gives a device class's queue."""

    def __init__(self, seed: int, fraction: float, class_of: Callable[[str], DeviceClass]) -> None:
        self._seed = seed
        self._fraction = fraction
        self._class_of = class_of
        self._jobs: dict[str, _Sister] = {}

    def restore(self, past: Past, known: dict[str, WaitingJob], leased: dict[str, tuple[str, str]]) -> None:
        """Takes in what a ledger remembers; `leased` are those in open batches: job -> (phone, batch)."""
        for job_id, phone in past.measured_on.items():
            self._of(known[job_id]).measured_on = phone
        for where, is_accepted in ((past.sisters, True), (leased, False)):
            for job_id, (phone, batch) in where.items():
                sister = self._of(known[job_id])
                sister.phone, sister.batch, sister.is_accepted = phone, batch, is_accepted
        for job_id in past.measured_on:
            self._offer(self._jobs[job_id])

    def measured(self, job: WaitingJob, phone: str) -> list[Instruction]:
        """The phone has measured the job: a chosen one then waits for a second phone."""
        if job.id not in self._jobs and not is_sister(job.id, self._seed, self._fraction):
            return []
        sister = self._of(job)
        sister.measured_on = phone
        done: list[Instruction] = []
        # It was repeated, and by the phone that had been the second one: now another must be.
        if sister.is_accepted and sister.phone == phone and sister.batch is not None:
            why = "superseded: the same phone has measured the job itself"
            done.append(Invalidate(sister.batch, (Task(job.id, SISTER),), why, job.device_class))
            sister.phone, sister.batch, sister.is_accepted = None, None, False
        self._offer(sister)
        return done

    def unmeasured(self, job: WaitingJob) -> None:
        """The measurement of the job does not count any more: no second phone is wanted for now."""
        sister = self._jobs.get(job.id)
        if sister is not None and sister.measured_on is not None:
            self._class_of(job.device_class).remove_sister(sister.measured_on, job)
            sister.measured_on = None

    def lease(self, job: WaitingJob, phone: str, batch: str) -> None:
        """The phone gets the job as the second one."""
        sister = self._jobs[job.id]
        sister.phone, sister.batch = phone, batch

    def accept(self, job: WaitingJob) -> None:
        """The second phone has measured the job."""
        self._jobs[job.id].is_accepted = True

    def wait_again(self, job: WaitingJob) -> None:
        """The second phone has not measured the job, or not well."""
        sister = self._jobs[job.id]
        sister.phone, sister.batch, sister.is_accepted = None, None, False
        self._offer(sister)

    def counts(self, entry: Entry, batch: str) -> bool:
        """Whether an entry that the batch had accepted still counts: a sister may have been superseded."""
        return entry.purpose != SISTER or self._jobs[entry.job.id].batch == batch

    def _of(self, job: WaitingJob) -> _Sister:
        return self._jobs.setdefault(job.id, _Sister(job))

    def _offer(self, sister: _Sister) -> None:
        """The job waits for a second phone, where it has been measured on a first one and nobody has it."""
        if sister.measured_on is not None and sister.batch is None:
            self._class_of(sister.job.device_class).add_sister(sister.measured_on, sister.job)
