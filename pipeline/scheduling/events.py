"""What the scheduler is told (events), and what it wants done (instructions). Plain frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .drift import ProbeReading, ProbeState

PROBE = "probe"
"""A fixed job that shows whether the phone still runs as it did: once on each phone, again and again."""
SISTER = "sister"
"""A job that was measured is measured once more, on another phone of the class."""


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """What the scheduler needs to know of a job. `estimate_us` holds until jobs of its kind have been measured."""

    id: str
    device_class: str
    kind: str
    estimate_us: int


class Task(NamedTuple):
    """A job and what it is measured for."""

    job: str
    purpose: str


@dataclass(frozen=True)
class Past:
    """What a ledger remembers of a device class's jobs.

    `leases` are the batches that were open when the campaign was last left: batch -> (phone, tasks without a result).
    `accepted` are the accepted tasks of those batches, and of the batches that no good probe has followed yet.
    `measured_on` and `sisters` tell, of the jobs that are chosen for a second phone, which phone measured them, and
    which one the second time (phone, batch). `failures` and `repeats` count failed and invalidated attempts.
    """

    leases: Mapping[str, tuple[str, tuple[Task, ...]]] = field(default_factory=dict)
    accepted: Mapping[str, tuple[str, tuple[Task, ...]]] = field(default_factory=dict)
    measured_on: Mapping[str, str] = field(default_factory=dict)
    sisters: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    failures: Mapping[Task, int] = field(default_factory=dict)
    repeats: Mapping[Task, int] = field(default_factory=dict)
    probes: Mapping[str, ProbeState] = field(default_factory=dict)


@dataclass(frozen=True)
class Added:
    """The jobs of a device class that have no trace yet, and its probe jobs; given before the class's first phone.

    `settled` are jobs with a trace that `past` names, since they may have to be measured again or a second time.
    """

    device_class: str
    jobs: tuple[WaitingJob, ...]
    probes: tuple[WaitingJob, ...] = ()
    settled: tuple[WaitingJob, ...] = ()
    past: Past = field(default_factory=Past)


@dataclass(frozen=True)
class Arrived:
    """A phone can take work; `batches` lie on it."""

    phone: str
    device_class: str
    batches: frozenset[str]
    at_s: float


@dataclass(frozen=True)
class Left:
    """A phone has gone away; what it was doing goes on there."""

    phone: str
    at_s: float


@dataclass(frozen=True)
class Unfit:
    """A phone that is there should not measure now (hot, low battery, ...): it gets no new batch until it is fit."""

    phone: str
    reason: str
    at_s: float


@dataclass(frozen=True)
class Fit:
    """A phone that was unfit may measure again."""

    phone: str
    at_s: float


@dataclass(frozen=True)
class Result:
    """A task of a batch has a result; `probe` is what a probe job read. Of `elapsed_us`, `build_us` went into kernels,
    which the next job of its kind mostly finds built."""

    batch: str
    job: str
    status: str
    elapsed_us: int
    probe: ProbeReading | None = None
    build_us: int = 0


@dataclass(frozen=True)
class Stopped:
    """A batch has ended, `wall_s` after it was given out; tasks of it without a result wait again.

    `spoiled` says why its results are not to be trusted (the phone got hot in its middle, ...); `error` says why the
    phone could not finish it.
    """

    batch: str
    wall_s: float = 0.0
    spoiled: str = ""
    error: str = ""


@dataclass(frozen=True)
class Returned:
    """A batch that was given ahead is not measured after all: its tasks wait again, and no job is to blame."""

    batch: str


@dataclass(frozen=True)
class Tick:
    """Time has passed."""

    at_s: float


@dataclass(frozen=True)
class StopRequested:
    """Nothing new is to be started."""


Event = Added | Arrived | Left | Unfit | Fit | Result | Stopped | Returned | Tick | StopRequested


@dataclass(frozen=True)
class Lease:
    """Give these tasks to the phone as a new batch, to begin at once, or behind the batch that it has; no job comes
    twice in it."""

    phone: str
    batch: str
    tasks: tuple[Task, ...]


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
    """The leased tasks of the batch wait again."""

    batch: str


@dataclass(frozen=True)
class Record:
    """The task's result is to be stored: accepted as its trace, or as a failed attempt."""

    batch: str
    task: Task
    accept: bool
    phone: str
    device_class: str


@dataclass(frozen=True)
class Invalidate:
    """Accepted results of the batch do not count: these tasks wait again."""

    batch: str
    tasks: tuple[Task, ...]
    reason: str
    device_class: str


@dataclass(frozen=True)
class Mark:
    """Accepted results of the batch are doubtful, but these tasks were repeated often enough: they count, marked."""

    batch: str
    tasks: tuple[Task, ...]
    reason: str


@dataclass(frozen=True)
class Remember:
    """What is known of the phone's probes, to be given back after a restart."""

    phone: str
    device_class: str
    state: ProbeState


@dataclass(frozen=True)
class Rest:
    """The phone gets no work until its probe is looked at again, at `until_s` or when it arrives anew."""

    phone: str
    reason: str
    until_s: float


@dataclass(frozen=True)
class Settled:
    """The phone's probes have stayed at a new level, which is its base from now on."""

    phone: str
    reason: str


@dataclass(frozen=True)
class Retire:
    """The phone fails over and over: take it away until it has been looked at; it may arrive again."""

    phone: str
    reason: str


Instruction = (
    Lease | Follow | Remove | Release | Record | Invalidate | Mark | Remember | Rest | Settled | Retire
)  # fmt: skip
