"""What a broker and the driver tell each other. Plain frozen data: it crosses processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
    """A batch has ended: completely when `error` is empty, else the device could not finish it."""

    address: str
    batch: str
    before: Readings
    after: Readings
    error: str = ""


PhoneMessage = StatusChanged | PhoneArrived | PhoneLeft | ResultsRead | BatchStopped


@dataclass(frozen=True)
class StartBatch:
    """Put the job file on the phone and execute it."""

    batch: str
    job_file: str


@dataclass(frozen=True)
class FollowBatch:
    """Take up again a batch that lies on the phone, reading its results from `offset`."""

    batch: str
    offset: int


@dataclass(frozen=True)
class RemoveBatch:
    """End whatever runs on the batch and remove it from the phone."""

    batch: str


PhoneCommand = StartBatch | FollowBatch | RemoveBatch
