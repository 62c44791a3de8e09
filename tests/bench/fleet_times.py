"""Where the time of a fleet's run goes, from its ledger and traces."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from splitfleet.pipeline.ledger import Ledger
from splitfleet.predictors.traces import read_traces


@dataclass(frozen=True)
class FleetTimes:
    """Seconds. `measuring_s` and `building_s`: the sums of elapsed_us, the building of kernels apart (build_us), over
    all accepted jobs. `agent_s`: between the agent's telemetry at the start and at the end of each batch: the above,
    and what the agent needs to write results and to take the next job."""

    jobs: int
    batches: int
    measuring_s: float
    building_s: float
    agent_s: float


def fleet_times(folder: Path) -> FleetTimes:
    """Of everything that was measured in a campaign folder by one phone."""
    traces = read_traces(folder)
    elapsed_s = float(traces["elapsed_us"].sum()) / 1e6
    building_s = float(traces["build_us"].fillna(0).sum()) / 1e6
    with Ledger(folder, read_only=True) as ledger:
        rows = {(row["telemetry_before"], row["telemetry_after"]) for row in ledger.accepted()}
    times_us = [[json.loads(text)["unix_us"] for text in row] for row in rows if all(row)]
    agent_s = sum(end - start for start, end in times_us) / 1e6
    return FleetTimes(len(traces), len(rows), elapsed_s - building_s, building_s, agent_s)
