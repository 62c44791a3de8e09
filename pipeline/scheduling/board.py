"""What the scheduler keeps: device classes with their waiting jobs, phones that are there, and open batches."""

from __future__ import annotations

from .batches import Batch, Entry
from .device_class import DeviceClass
from .events import SISTER, Instruction, Release
from .evidence import Evidence
from .pacing import Pacing
from .present import PresentPhones
from .sisters import Sisters


class Board:
    """`touched` are the classes in which something has changed since the last assignment, `ready` the phones that may
    take work since then. Batches are kept while their results are waited for, by id and by phone."""

    def __init__(self, purpose: str, seed: int, pacing: Pacing) -> None:
        self.purpose = purpose
        self.pacing = pacing
        self.classes: dict[str, DeviceClass] = {}
        self.phones = PresentPhones()
        self.batches: dict[str, Batch] = {}
        self.batches_of: dict[str, set[str]] = {}
        self.evidence = Evidence(pacing.drift, pacing.probe_every_s)
        self.sisters = Sisters(seed, pacing.sister_fraction, self.device_class)
        self.touched: set[str] = set()
        self.ready: list[str] = []
        self._open: set[str] = set()  # the classes with work left

    @property
    def has_work(self) -> bool:
        """Whether some class has work left, by the last `settle`."""
        return bool(self._open)

    def device_class(self, name: str) -> DeviceClass:
        """The class, of which something changes."""
        self.touched.add(name)
        if name not in self.classes:
            self.classes[name] = DeviceClass(self.purpose)
        return self.classes[name]

    def settle(self) -> None:
        """Notes which of the touched classes have work left."""
        for name in self.touched:
            (self._open.add if self.classes[name].is_open else self._open.discard)(name)
        self.touched.clear()

    def wait_again(self, entry: Entry) -> None:
        """The entry has no valid result: it waits for a phone again. Probes do not wait."""
        if entry.purpose == self.purpose:
            self.device_class(entry.job.device_class).add(entry.job)
        elif entry.purpose == SISTER:
            self.sisters.wait_again(entry.job)

    def may_work(self, name: str) -> None:
        """The phone may take work, unless something holds it up."""
        self.device_class(self.phones[name].device_class)
        self.ready.append(name)

    def forget(self, name: str) -> None:
        """The phone is not there any more."""
        phone = self.phones.remove(name)
        device_class = self.device_class(phone.device_class)
        device_class.idle.pop(name, None)
        device_class.members.pop(name, None)

    def open_batch(self, name: str, batch: Batch) -> None:
        """The batch is a phone's from now on."""
        self.batches[name] = batch
        self.batches_of.setdefault(batch.phone, set()).add(name)

    def release(self, name: str) -> list[Instruction]:
        """The batch is over: what it has no result of waits again."""
        batch = self.batches.pop(name)
        self.batches_of[batch.phone].discard(name)
        self.device_class(batch.device_class).overdue.discard(name)
        for entry in batch.entries.values():
            self.wait_again(entry)
        return [Release(name)] if batch.entries else []

    def give_up(self, name: str) -> list[Instruction]:
        """The batch is not followed any more; what it has given counts."""
        batch = self.batches[name]
        if self.device_class(batch.device_class).probes:
            self.evidence.given_up(name, batch)
        return self.release(name)
