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
    all accepted jobs; `in_vain_s`: the same of attempts that gave no trace (noisy ones, mostly) and were repeated.
    `agent_s`: between the agent's telemetry at the start and at the end of each batch: the above, and what the agent
    needs to write results and to take the next job."""

    jobs: int
    batches: int
    measuring_s: float
    building_s: float
    in_vain_s: float
    agent_s: float

    @property
    def own_s(self) -> float:
        """Everything that the agent measured or built."""
        return self.measuring_s + self.building_s + self.in_vain_s


def fleet_times(folder: Path) -> FleetTimes:
    """Of everything that was measured in a campaign folder by one phone."""
    traces = read_traces(folder)
    elapsed_s = float(traces["elapsed_us"].sum()) / 1e6
    building_s = float(traces["build_us"].fillna(0).sum()) / 1e6
    with Ledger(folder, read_only=True) as ledger:
        rows = ledger._query("SELECT telemetry_before, telemetry_after FROM batches").fetchall()
        failed = ledger._query("SELECT result FROM attempts WHERE state = 'failed' AND result IS NOT NULL").fetchall()
    times_us = [[json.loads(text)["unix_us"] for text in row] for row in rows if all(row)]
    agent_s = sum(end - start for start, end in times_us) / 1e6
    in_vain_s = sum(json.loads(text).get("elapsed_us", 0) for (text,) in failed) / 1e6
    return FleetTimes(len(traces), len(rows), elapsed_s - building_s, building_s, in_vain_s, agent_s)
