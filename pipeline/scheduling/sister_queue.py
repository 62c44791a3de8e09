"""The jobs that wait for a second phone of their class."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from .events import WaitingJob


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
