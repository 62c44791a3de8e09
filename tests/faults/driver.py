"""A campaign's driver to be killed: measures numbered jobs on one phone. Run as a program: ADDRESS FOLDER FIRST COUNT.

Without the last two it only opens the campaign, as a second driver would.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from splitfleet.kernels.errors import SplitfleetError
from splitfleet.pipeline.campaign import Phones, Repeat
from splitfleet.pipeline.fleet import Fleet, FleetSettings
from splitfleet.pipeline.jobs import Job, JobFactory
from splitfleet.pipeline.pace import Pace
from splitfleet.pipeline.profile import DeviceProfile
from splitfleet.pipeline.progress import PlainProgress
from splitfleet.pipeline.scheduling import Pacing

_REPEAT = Repeat(warmup=0, min_count=1, min_time_us=20_000, max_count=10_000, max_time_us=25_000)
_SETTINGS = FleetSettings(pace=Pace(poll_s=0.1, retry_s=0.2, idle_s=0.5, blocked_s=0.5))
PACING = Pacing(batch_s=3.0, probe_every_s=0)
"""Batches of several jobs on a busy machine too. No job is measured twice."""


def tiny_jobs(profile: DeviceProfile, first: int, count: int) -> list[Job]:
    """Jobs of some 25 ms each. They differ in nothing but their number."""
    make = JobFactory(profile, _REPEAT)
    return [make.sync(1, "event_wait", 1, part=part) for part in range(first, first + count)]


def main(address: str, folder: str, first: str = "0", count: str = "0") -> None:
    try:
        with Fleet(
            Phones(tcp=(address,)), Path(folder), PlainProgress(Console(stderr=True)), settings=_SETTINGS, pacing=PACING
        ) as fleet:
            [profile] = fleet.profiles().values()
            fleet.run({profile.device_class: tiny_jobs(profile, int(first), int(count))}, "measure")
    except SplitfleetError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
