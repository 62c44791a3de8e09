"""Faults that a virtual phone can have, and what they do to its link.

A fault is switched on in the phone's description or, while it runs, by
`python -m splitfleet.infra.virtual_phone fault ROOT KIND ...`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_LOGGER = logging.getLogger(__name__)

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class _Fault(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    after_seconds: float = Field(default=0, ge=0, le=86_400)
    """How long the phone waits before the fault begins."""


class Drop(_Fault):
    """The link breaks once, after so many more bytes have crossed it in both directions together.

    With `service`, only bytes of the streams of that service count: `sync` carries pushes and pulls, `shell` commands,
    `exec` the reading of results.
    """

    kind: Literal["drop"]
    bytes: int = Field(ge=0)
    service: Literal["sync", "shell", "exec"] | None = None


class Stall(_Fault):
    """Nothing crosses the link for a while, yet it stays open. Programs on the phone go on."""

    kind: Literal["stall"]
    seconds: Seconds


class Vanish(_Fault):
    """The phone refuses connections and ends the open ones, as if its cable were pulled; then it is back."""

    kind: Literal["vanish"]
    seconds: Seconds


class Unauthorized(_Fault):
    """The phone forgets every host's key, ends its connections and denies all prompts."""

    kind: Literal["unauthorized"]


class DiskFull(_Fault):
    """Nothing more can be written to the phone's storage."""

    kind: Literal["disk-full"]


class Temperature(_Fault):
    """A thermal zone (or all of them) shows this temperature."""

    kind: Literal["temperature"]
    millidegrees: int = Field(ge=-30_000, le=150_000)
    zone: str | None = None


class Battery(_Fault):
    """What the battery shows from now on; what is not given stays."""

    kind: Literal["battery"]
    level: int | None = Field(default=None, ge=0, le=100)
    status: Literal["charging", "discharging", "not charging", "full"] | None = None
    powered_by: Literal["ac", "usb", "none"] | None = None
    millidegrees: int | None = Field(default=None, ge=-30_000, le=120_000)


class ThermalStatus(_Fault):
    """Android reports this thermal status (0 none, 1 light, ... 6 shutdown), whatever the zones show."""

    kind: Literal["thermal-status"]
    status: int = Field(ge=0, le=6)


class Screen(_Fault):
    """The screen goes on or off."""

    kind: Literal["screen"]
    on: bool


class Load(_Fault):
    """/proc/loadavg shows this load, as if other programs were at work."""

    kind: Literal["load"]
    load: float = Field(ge=0, le=1000)


class Reboot(_Fault):
    """All programs end at once, links break, and the phone is back after a while with a new boot id. Files stay."""

    kind: Literal["reboot"]
    seconds: Seconds = 1.0


class Wipe(_Fault):
    """As a reboot, and everything below /data/local/tmp and /sdcard, the settings and the hosts' keys are gone."""

    kind: Literal["wipe"]
    seconds: Seconds = 1.0


class ClockJump(_Fault):
    """The phone's wall clock jumps, ahead or back. Its description must say `adjustable_clock = true`."""

    kind: Literal["clock"]
    seconds: float = Field(ge=-4e9, le=4e9)


class Agent(_Fault):
    """Strikes the agent once it has written `after_results` results (counted in its result file).

    kill: its supervisor gets SIGKILL. hang: all its processes stop, for `seconds` or until `clear`. torn: it is killed,
    and half a line is left in the result file. garbage: a line that is no result gets into it. duplicate: the last
    result gets into it again. `seed` chooses where the line is torn, and which garbage it is.
    """

    kind: Literal["agent"]
    effect: Literal["kill", "hang", "torn", "garbage", "duplicate"]
    after_results: int = Field(default=0, ge=0)
    seconds: Seconds | None = None
    seed: int = 0


class Kernel(_Fault):
    """The kernel of one GPU job fails: the job that arrives as number `job`, counted from 1 over all that are new."""

    kind: Literal["kernel"]
    effect: Literal["hang", "crash", "nonsense"]
    job: int = Field(ge=1)


Showing = Temperature | Battery | ThermalStatus | Screen | Load
"""Faults that are nothing but what the phone shows of itself."""

Fault = Annotated[
    Drop | Stall | Vanish | Unauthorized | DiskFull | Showing | Reboot | Wipe | ClockJump | Agent | Kernel,
    Field(discriminator="kind"),
]


class Link:
    """What all connections of the phone pass their bytes through; here it stalls and breaks."""

    def __init__(self) -> None:
        self._stalled_until = 0.0
        self._bytes_left: int | None = None
        self._service: str | None = None

    def stall(self, seconds: float) -> None:
        """Lets nothing pass for so long."""
        self._stalled_until = time.monotonic() + seconds

    def drop_after(self, count: int, service: str | None) -> None:
        """Lets so many bytes pass, of this service or of any, then breaks."""
        self._bytes_left, self._service = count, service

    def mend(self) -> None:
        """Takes back whatever was ordered."""
        self._stalled_until = 0.0
        self._bytes_left = None

    async def admit(self, count: int, service: str | None) -> int:
        """Waits while the link stalls; returns how many of these bytes of a service's stream may pass. Fewer means: it
        breaks after them."""
        while (wait := self._stalled_until - time.monotonic()) > 0:
            await asyncio.sleep(min(wait, 0.1))
        if self._bytes_left is None or self._service not in (None, service):
            return count
        if count <= self._bytes_left:
            self._bytes_left -= count
            return count
        allowed, self._bytes_left = self._bytes_left, None
        _LOGGER.warning("the link is cut as ordered, in a stream of %s", service)
        return allowed
