"""The share of the time in which a phone is measuring or building kernels, on a campaign of realistic jobs.

The campaign is the demo's, with fewer samples, on one virtual phone: two would take turns on this machine's cores. The
time that the phone was allowed to measure is all of the run, from the first lease to the last ingest: it is never hot.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from splitfleet.pipeline.campaign import Phones, load_campaign
from splitfleet.pipeline.fleet import Fleet
from splitfleet.pipeline.progress import PlainProgress
from splitfleet.pipeline.ray_session import ray_session
from splitfleet.pipeline.sampling import plan_jobs

from ..infra.phones import running_phone
from .fleet_times import fleet_times
from .side_by_side import ROOT


def bench_use_of_the_phone() -> None:
    campaign = load_campaign(ROOT / "examples" / "demo.toml")
    with TemporaryDirectory(prefix="bench-use-") as name, running_phone(Path(name) / "phone", pocl_cache=None) as phone:
        folder = Path(name) / "campaign"
        progress = PlainProgress(Console(stderr=True))
        with ray_session(), Fleet(Phones(tcp=(phone.address,)), folder, progress, seed=campaign.seed) as fleet:
            [profile] = fleet.profiles().values()
            jobs = plan_jobs(campaign, profile)
            began_s = time.perf_counter()
            fleet.run({profile.device_class: jobs})
            wall_s = time.perf_counter() - began_s
        times = fleet_times(folder)
    table = Table("part", title=f"{times.jobs} jobs in {times.batches} batches, {wall_s:.1f} s on one phone")
    table.add_column("seconds", justify="right")
    table.add_column("share", justify="right")
    own_s = times.own_s
    parts = {
        "measuring": times.measuring_s,
        "building kernels": times.building_s,
        "measuring what was noisy and is repeated": times.in_vain_s,
        "measuring or building": own_s,
        "the agent between jobs": times.agent_s - own_s,
        "host, link, starting agents": wall_s - times.agent_s,
    }
    for part, seconds in parts.items():
        table.add_row(part, f"{seconds:.1f}", f"{100 * seconds / wall_s:.1f} %")
    Console(width=120).print(table)
