"""Who does what next: batches for phones that are free, and for phones that soon will be."""

from __future__ import annotations

from .batches import Batch, Entry, batch_of
from .board import Board
from .device_class import DeviceClass
from .drift import Verdict, judge
from .events import PROBE, SISTER, Instruction, Lease, WaitingJob
from .present import PresentPhone


class Assigner:
    """Batch ids are `owner` and a number from `next_batch` on.

    A phone that has done a third of its batch gets the next one ahead, so that it need not wait for the host between
    them, however short the rest is. That is done only where nothing between them is to be decided: its probes were
    good, its batches are whole, and the class has work enough for all its phones. Else it gets its next batch when the
    one at work has ended.
    """

    def __init__(self, board: Board, owner: str, next_batch: int) -> None:
        self._board = board
        self._owner = owner
        self._next_batch = next_batch
        self.is_stopping = False

    def assign(self) -> list[Instruction]:
        """Gives work to the phones that have become ready, and to idle ones of the classes where something changed."""
        board, done = self._board, list[Instruction]()
        for name in board.ready:
            phone = board.phones.get(name)
            if phone and phone.is_available:
                done += self._offer(name, board.classes[phone.device_class])
        board.ready.clear()
        for name in sorted(board.touched):
            device_class = board.classes[name]
            # Two phones without work show that there is none: a sister that the first may not take, the second may.
            for _ in range(2):
                while device_class.idle:
                    phone_name, _ = device_class.idle.popitem(last=False)
                    leases = self._offer(phone_name, device_class)
                    done += leases
                    if not leases:
                        break
        return done

    def assign_ahead(self, name: str) -> list[Instruction]:
        """The batch that follows the phone's present one, where it can be said by now."""
        phone = self._board.phones.get(name)
        if self.is_stopping or phone is None or phone.batch is None or phone.ahead or phone.is_held_up:
            return []
        batch, device_class = self._board.batches[phone.batch], self._board.classes[phone.device_class]
        if not (batch.is_under_way and device_class.has_plenty_for(name, self._budget_us(phone))):
            return []
        if not self._is_trusted(phone, batch, device_class):
            return []
        work_us = batch.expected_us + (0 if batch.probes else phone.record.work_us)
        probes = device_class.probes if work_us >= self._board.pacing.probe_every_s * 1e6 else ()
        lease = self._lease(name, phone, [*_probes(probes), *self._work(name, phone, device_class)])
        return [lease] if lease else []

    def _is_trusted(self, phone: PresentPhone, batch: Batch, device_class: DeviceClass) -> bool:
        """Whether nothing is known, by what the present batch has read so far, that its end would have to decide."""
        record = phone.record
        if record.troubles or record.has_drifted:
            return False
        if not device_class.probes:
            return True
        if not record.probes.has_base or (batch.probes and not batch.readings):
            return False
        return judge(record.probes, batch.readings, self._board.pacing.drift, "")[0] is Verdict.GOOD

    def _offer(self, name: str, device_class: DeviceClass) -> list[Instruction]:
        """A lease for a phone that is available; without work it is idle."""
        phone = self._board.phones[name]
        lease = None if self.is_stopping else self._lease(name, phone, self._next_entries(name, phone, device_class))
        if lease is None:
            device_class.idle[name] = None
            return []
        return [lease]

    def _next_entries(self, name: str, phone: PresentPhone, device_class: DeviceClass) -> list[Entry]:
        record, probes = phone.record, _probes(device_class.probes)
        if record.has_drifted and probes:
            return probes if device_class.has_work_for(name) else []
        entries = self._work(name, phone, device_class)
        is_probed = record.is_probe_due if entries else record.unproven
        return [*probes, *entries] if is_probed else entries

    def _work(self, name: str, phone: PresentPhone, device_class: DeviceClass) -> list[Entry]:
        return [Entry(*found) for found in device_class.take(name, self._budget_us(phone))]

    def _budget_us(self, phone: PresentPhone) -> float:
        return self._board.pacing.batch_s * 1e6 * phone.record.share

    def _lease(self, name: str, phone: PresentPhone, entries: list[Entry]) -> Lease | None:
        if not entries:
            return None
        batch = f"{self._owner}-{self._next_batch:05d}"
        self._next_batch += 1
        for entry in entries:
            if entry.purpose == SISTER:
                self._board.sisters.lease(entry.job, name, batch)
        self._board.open_batch(batch, batch_of(name, phone.device_class, entries))
        self._board.phones.give(phone, batch)
        return Lease(name, batch, tuple(entry.task for entry in entries))


def _probes(probes: tuple[WaitingJob, ...]) -> list[Entry]:
    return [Entry(job, PROBE) for job in probes]
