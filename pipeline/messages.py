"""What a broker and the driver tell each other. Plain frozen data: it crosses processes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .jobs import Job, job_file
from .phone_state import PhoneStatus
from .profile import DeviceProfile
from .readings import Readings


@dataclass(frozen=True)
class StatusChanged:
    """A phone's state, temperature or battery is new."""

    status: PhoneStatus


@dataclass(frozen=True)
class PhoneArrived:
    """A phone can take commands that name this `session`. `batches` are the campaign's that lie on it from before."""

    address: str
    session: int
    serial: str
    profile: DeviceProfile
    batches: tuple[str, ...]


@dataclass(frozen=True)
class PhoneLeft:
    """A phone can take no commands until it arrives again; what it was doing goes on there."""

    address: str
    reason: str


@dataclass(frozen=True)
class ResultsRead:
    """Result lines of a batch, and the offset in its result file behind the last of them."""

    address: str
    batch: str
    lines: tuple[dict[str, Any], ...]
    offset: int


@dataclass(frozen=True)
class BatchStopped:
    """A batch has ended: completely when `error` is empty, else the device could not finish it.

    `spoiled`: why what it measured is worth nothing (pipeline/health.py), or empty.
    """

    address: str
    batch: str
    before: Readings
    after: Readings
    error: str = ""
    spoiled: str = ""


@dataclass(frozen=True)
class BatchReturned:
    """A batch that was given ahead is not measured after all: the one before it went wrong, or the phone is unfit."""

    address: str
    batch: str


@dataclass(frozen=True)
class HostNote:
    """Something about a whole host is to be said: it came, it went, it cannot look for its phones."""

    text: str


PhoneMessage = StatusChanged | PhoneArrived | PhoneLeft | ResultsRead | BatchStopped | BatchReturned
BrokerMessage = PhoneMessage | HostNote


def longest_us(jobs: Iterable[Job]) -> int:
    """The bound (us) of the job that may take longest."""
    return max((job.bound_us for job in jobs), default=0)


@dataclass(frozen=True)
class StartBatch:
    """Put the job file on the phone and execute it; where a batch is at work there, after that one.

    `bound_us`: after how long the agent takes any of the jobs for hung.
    """

    batch: str
    job_file: str
    jobs: frozenset[str]
    bound_us: int = 0

    @classmethod
    def of(cls, batch: str, jobs: Iterable[Job]) -> StartBatch:
        jobs = list(jobs)
        return cls(batch, job_file(jobs), frozenset(job.id for job in jobs), longest_us(jobs))


@dataclass(frozen=True)
class FollowBatch:
    """Take up again a batch that lies on the phone, reading its results from `offset`; where another one is at work,
    after that one."""

    batch: str
    offset: int
    bound_us: int = 0


@dataclass(frozen=True)
class RemoveBatch:
    """End whatever runs on the batch and remove it from the phone."""

    batch: str


@dataclass(frozen=True)
class RetirePhone:
    """The phone fails over and over: put it into quarantine with this reason, look at it anew, and let it arrive again
    when it is well."""

    reason: str


PhoneCommand = StartBatch | FollowBatch | RemoveBatch | RetirePhone


@dataclass(frozen=True)
class Mail:
    """What a broker answers to the driver: its messages number `first` and on.

    A broker keeps its messages until they are acknowledged, so an answer that is lost is given again; a driver skips
    what it has. A broker that was started again has another `incarnation` and numbers from 1: whatever it had not
    handed on is read from the phones again. `code` tells the version of Splitfleet on its host.
    """

    incarnation: str
    code: str
    first: int
    messages: tuple[BrokerMessage, ...]


@dataclass(frozen=True)
class Order:
    """A command, addressed. A broker takes each `number` once, in order."""

    number: int
    address: str
    session: int
    command: PhoneCommand
