"""Which jobs are measured once more on another phone of their class, and where each of them stands."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import sha256

from .events import WaitingJob


def is_sister(job_id: str, seed: int, fraction: float) -> bool:
    """Whether the job is among the `fraction` that a second phone measures, too; the same at every call."""
    digest = sha256(f"{seed} sister {job_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


@dataclass(slots=True)
class Sister:
    """A chosen job: who has measured it (accepted and ok), and which phone and batch have it a second time.

    `on_phone` with a `batch` is leased or accepted there.
    """

    job: WaitingJob
    measured_on: str | None = None
    on_phone: str | None = None
    batch: str | None = None
    is_accepted: bool = False


@dataclass(slots=True)
class SisterQueue:
    """The jobs of a class that wait for a second phone, by the phone that has measured them. All steps are O(1)."""

    # Ordered dictionaries: the first entry of a plain one that has shrunk is found by a search.
    by_phone: OrderedDict[str, dict[str, WaitingJob]] = field(default_factory=OrderedDict)
    count: int = 0

    def add(self, phone: str, job: WaitingJob) -> None:
        self.by_phone.setdefault(phone, {})[job.id] = job
        self.count += 1

    def remove(self, phone: str, job: WaitingJob) -> bool:
        """Returns whether it was there."""
        waiting = self.by_phone.get(phone, {})
        if waiting.pop(job.id, None) is None:
            return False
        self._removed(phone)
        return True

    def take(self, phone: str) -> tuple[str, WaitingJob] | None:
        """A job that another phone than this has measured, and that phone; it waits no more."""
        for other, waiting in self.by_phone.items():  # the second one at the latest is another phone
            if other != phone:
                _, job = waiting.popitem()
                self._removed(other)
                return other, job
        return None

    def has_for(self, phone: str) -> bool:
        """Whether the phone could take one."""
        return len(self.by_phone) > (phone in self.by_phone)

    def _removed(self, phone: str) -> None:
        self.count -= 1
        if not self.by_phone[phone]:
            del self.by_phone[phone]
