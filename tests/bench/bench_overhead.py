"""What a tiny timing job costs beyond its own measuring: through a whole fleet, and with TVM's RPC and kernel_tuner.

1,000 jobs go through everything: ledger, ADB to a virtual phone, the agent, ledger, Parquet. A job's cost is the wall
time from the first lease to the last ingest, less the sum of the agent's elapsed_us of all jobs, over their number. The
peers do the same in the same run: wall time less the sum of the times that they report, over the number of jobs.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from splitfleet.pipeline.campaign import Phones, Repeat
from splitfleet.pipeline.fleet import Fleet
from splitfleet.pipeline.jobs import JobFactory
from splitfleet.pipeline.progress import PlainProgress
from splitfleet.pipeline.ray_session import ray_session

from ..infra.phones import running_phone
from .fleet_times import FleetTimes, fleet_times
from .peer import PeerMissing, peer_python, run_peer

JOBS = 1000
PEER_JOBS = 200
REPEAT = Repeat(warmup=0, min_count=3, min_time_us=0, max_count=3, max_time_us=1000)
PEERS = {
    "TVM RPC": ("tvm_rpc.py", ("apache-tvm", "tornado", "cloudpickle", "psutil")),
    "kernel_tuner on PoCL": ("kernel_tuner_pocl.py", ("kernel_tuner", "pyopencl[pocl]")),
}


def bench_overhead_of_a_job() -> None:
    table = Table("who", "way", title="milliseconds a job beyond its own measuring")
    table.add_column("cost", justify="right")
    wall_s, times = _through_the_fleet()
    own_s = times.own_s
    table.add_row("Splitfleet", f"{times.jobs} jobs in {times.batches} batches", _ms(wall_s - own_s, times.jobs))
    table.add_row("", "of it within the agent: results to disk, next job", _ms(times.agent_s - own_s, times.jobs))
    table.add_row("", "of it host, link and starting agents", _ms(wall_s - times.agent_s, times.jobs))
    for name, (script, requirements) in PEERS.items():
        try:
            for way, cost_ms in run_peer(peer_python(name, requirements), script, PEER_JOBS).items():
                table.add_row(name, way, f"{cost_ms:.2f}")
        except PeerMissing as reason:
            table.add_row(name, f"skipped: {reason}", "")
    Console(width=120).print(table)


def _ms(seconds: float, jobs: int) -> str:
    return f"{1e3 * seconds / jobs:.2f}"


def _through_the_fleet() -> tuple[float, FleetTimes]:
    with (
        TemporaryDirectory(prefix="bench-overhead-") as name,
        running_phone(Path(name) / "phone", pocl_cache=None) as phone,
    ):
        folder = Path(name) / "campaign"
        progress = PlainProgress(Console(stderr=True))
        with ray_session(), Fleet(Phones(tcp=(phone.address,)), folder, progress) as fleet:
            [profile] = fleet.profiles().values()
            make = JobFactory(profile, REPEAT)
            jobs = [make.sync(1, "event_wait", 1, part=part) for part in range(JOBS)]
            began_s = time.perf_counter()
            fleet.run({profile.device_class: jobs})
            wall_s = time.perf_counter() - began_s
        return wall_s, fleet_times(folder)
