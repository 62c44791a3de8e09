"""Whether what a phone has measured can be trusted: its probes, its spoiled batches, and what has to be repeated.

What a phone has measured is unproven until a good probe follows it. When the phone has drifted, all that is unproven is
measured again; when a batch was spoiled, that batch is. Each result is repeated at most `MAX_REPEATS` times, then it
counts, marked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from .batches import Batch, Entry
from .drift import ProbeState, Verdict, judge
from .events import Instruction, Invalidate, Mark, Remember, Settled, Task

MAX_REPEATS = 2
"""So often are accepted results measured again because of drift or a spoiled batch; then they count."""
MAX_TROUBLES = 5
"""So many batches in a row may break off or be spoiled before the phone is retired."""
_CHANCES_OF_THE_RETIRED = 2
_MAX_BLIND_ROUNDS = 3
_LEAST_SHARE = 1 / 8


@dataclass(slots=True)
class PhoneRecord:
    """What is remembered of a phone, also while it is away. `unproven` holds by batch what no good probe follows yet;
    `work_us` is the work since the last probe. `share` of the usual batch is given to a phone whose batches were
    spoiled. `troubles` counts the batches in a row that broke off or were spoiled.
    """

    probes: ProbeState = field(default_factory=ProbeState)
    unproven: dict[str, list[Entry]] = field(default_factory=dict)
    is_probe_due: bool = True
    work_us: int = 0
    blind_rounds: int = 0
    troubles: int = 0
    share: float = 1.0
    is_retired: bool = False

    @property
    def has_drifted(self) -> bool:
        return self.probes.rounds_off is not None


@dataclass
class Outcome:
    """What follows from a batch's end: `doubtful` are accepted entries that are to be repeated, by batch, for `reason`;
    `drifted` says why the phone must rest."""

    instructions: list[Instruction] = field(default_factory=list)
    doubtful: dict[str, list[Entry]] = field(default_factory=dict)
    reason: str = ""
    drifted: str = ""


class Evidence:
    """The records of all phones. `drift` is a part of 1; a probe comes after each `probe_every_s` of work."""

    def __init__(self, drift: float, probe_every_s: float) -> None:
        self._drift = drift
        self._probe_every_us = probe_every_s * 1e6
        self._records: dict[tuple[str, str], PhoneRecord] = {}  # by phone and class
        self._repeats: Counter[Task] = Counter()

    def of(self, phone: str, device_class: str) -> PhoneRecord:
        """The phone's record as a phone of this class; an update of its system may have changed that."""
        return self._records.setdefault((phone, device_class), PhoneRecord())

    def arrived(self, phone: str, device_class: str) -> PhoneRecord:
        """The phone is there: it is probed before it measures. One that was retired must show itself soon."""
        record = self.of(phone, device_class)
        record.is_probe_due = True
        if record.is_retired:
            record.is_retired, record.troubles = False, MAX_TROUBLES - _CHANCES_OF_THE_RETIRED
        return record

    def restore(self, repeats: Mapping[Task, int]) -> None:
        """Takes in what a ledger remembers of repeated tasks."""
        self._repeats.update(repeats)

    def given_up(self, name: str, batch: Batch) -> None:
        """A batch is not followed any more: what it has given is still to be proved."""
        if batch.accepted:
            self.of(batch.phone, batch.device_class).unproven[name] = batch.accepted

    def ended(self, name: str, batch: Batch, *, spoiled: str, error: str, has_probes: bool) -> Outcome:
        """A batch has ended; `has_probes` says whether its class has any."""
        record = self.of(batch.phone, batch.device_class)
        record.troubles = record.troubles + 1 if spoiled or error else 0
        record.work_us += batch.measured_us
        if spoiled:
            return self._spoiled(name, batch, record, spoiled)
        record.share = min(record.share * 2, 1.0)
        if not has_probes:
            return Outcome()
        record.unproven[name] = batch.accepted
        outcome = Outcome()
        if batch.readings:
            outcome = self._judged(name, batch, record)
        elif batch.probes:  # they gave no times
            record.blind_rounds += 1
            if record.blind_rounds >= _MAX_BLIND_ROUNDS:
                record.blind_rounds, record.unproven, record.is_probe_due = 0, {}, False
        if batch.probes:
            record.work_us = batch.measured_us
        record.is_probe_due |= record.work_us >= self._probe_every_us or not record.probes.has_base
        return outcome

    def repeat(self, batch: str, entries: list[Entry], reason: str) -> tuple[list[Instruction], list[Entry]]:
        """What is to be done about accepted results of a batch that are doubtful, and which of them wait again."""
        done: list[Instruction] = []
        again = [entry for entry in entries if self._repeats[entry.task] < MAX_REPEATS]
        kept = tuple(entry.task for entry in entries if self._repeats[entry.task] >= MAX_REPEATS)
        if again:
            device_class = again[0].job.device_class
            done.append(Invalidate(batch, tuple(entry.task for entry in again), reason, device_class))
        if kept:
            done.append(Mark(batch, kept, reason))
        self._repeats.update(entry.task for entry in again)
        return done, again

    def _spoiled(self, name: str, batch: Batch, record: PhoneRecord, why: str) -> Outcome:
        record.share = max(record.share / 2, _LEAST_SHARE)
        record.is_probe_due = True
        outcome = Outcome(doubtful={name: batch.accepted}, reason=f"spoiled: {why}")
        probes = tuple(task for task in batch.probes if task.job not in batch.entries)
        if probes:
            outcome.instructions.append(Invalidate(name, probes, outcome.reason, batch.device_class))
        return outcome

    def _judged(self, name: str, batch: Batch, record: PhoneRecord) -> Outcome:
        verdict, record.probes, reason = judge(record.probes, batch.readings, self._drift, name)
        record.blind_rounds, record.is_probe_due = 0, verdict in (Verdict.SUSPECT, Verdict.DRIFTED)
        outcome = Outcome([Remember(batch.phone, batch.device_class, record.probes)])
        if verdict is Verdict.SUSPECT:
            return outcome
        if verdict is Verdict.DRIFTED:
            outcome.doubtful, record.unproven = record.unproven, {}
            outcome.reason, outcome.drifted = f"drift: {reason}", reason
            return outcome
        if verdict is Verdict.NEW_LEVEL:
            outcome.instructions.append(Settled(batch.phone, reason))
        record.unproven = {name: batch.accepted} if batch.accepted else {}
        return outcome
