"""`splitfleet network`: a whole network on a campaign's phones, all-CPU, all-GPU and split, against its prediction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from splitfleet.kernels import Network
from splitfleet.kernels.errors import DeviceError
from splitfleet.predictors.planner import plan_layers
from splitfleet.predictors.split_table import SplitTable
from splitfleet.predictors.traces import read_traces

from .campaign import Phones, Repeat
from .campaign_run import campaign_of
from .fleet import Fleet
from .jobs import Job, JobFactory
from .profile import DeviceProfile
from .progress import Progress, progress_on
from .training import same_training
from .tuning_store import conditions_of

NETWORKS_FOLDER = "networks"
_WAYS = ("cpu", "gpu", "split")
_GLUE = "glue"
_PURPOSE = "network"


@dataclass(frozen=True)
class NetworkRun:
    """Medians in us of one network on one device class, by way (`cpu`, `gpu`, `split`), and what was predicted.

    A prediction is the sum of its operators' predicted times and the measured time of the glue, which nothing predicts.
    `max_relative_error`: of any tensor of all-GPU or split against all-CPU. `error` says why nothing was measured.
    """

    network: str
    device_class: str
    predicted_us: dict[str, float]
    measured_us: dict[str, float]
    glue_us: float | None
    rounds: int
    max_relative_error: float | None
    split_operators: int
    error: str | None

    @property
    def speedup(self) -> float | None:
        """Of split over the better single processor."""
        if not self.measured_us:
            return None
        return min(self.measured_us["cpu"], self.measured_us["gpu"]) / self.measured_us["split"]

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "speedup": self.speedup}


def run_network(
    folder: Path, network: Network, *, phones: Phones | None = None, progress: Progress | None = None
) -> list[NetworkRun]:
    """Plans the network's operators for every trained device class of which a phone is there, and executes it there.

    Traces lie in `<folder>/networks`, with a ledger of their own; what was measured before is not measured again.
    Raises UserError when nothing is trained or a node has no executor, DeviceError when no phone of a trained class is
    there, KeyboardInterrupt when a person stops it.
    """
    campaign = campaign_of(folder)
    trained = same_training(folder)
    progress = progress or progress_on(Console(stderr=True))
    with Fleet(
        phones or campaign.phones,
        folder / NETWORKS_FOLDER,
        progress,
        conditions=conditions_of(campaign),
        seed=campaign.seed,
        pacing=campaign.fleet.pacing,
    ) as fleet:
        planned: dict[str, tuple[SplitTable, Job]] = {}
        for name, profile in fleet.profiles().items():
            if name in trained:
                models = trained[name][0].models
                table = plan_layers(network.operators, models, profile.device)
                planned[name] = (
                    table,
                    _job(network, table, profile, models.costs.gpu_wait()[0], campaign.publish.rounds),
                )
        if not planned:
            raise DeviceError(f"no phone of a trained device class is there: trained {', '.join(sorted(trained))}")
        if fleet.run({name: [job] for name, (_, job) in planned.items()}, _PURPOSE).was_interrupted:
            raise KeyboardInterrupt
    traces = read_traces(folder / NETWORKS_FOLDER)
    rows = {str(row["job_id"]): dict(row) for row in traces.to_dict("records")}
    return [_times(network, name, table, rows.get(job.id)) for name, (table, job) in sorted(planned.items())]


def _job(network: Network, table: SplitTable, profile: DeviceProfile, join: str, rounds: int) -> Job:
    make = JobFactory(profile, Repeat())
    threads = max((entry.decision.cpu_threads for entry in table.entries), default=1)
    return make.network(network, table, threads, join, rounds)


def _times(network: Network, device_class: str, table: SplitTable, trace: dict[Any, Any] | None) -> NetworkRun:
    decisions = {entry.decision.operator: entry.decision for entry in table.entries}
    planned = [decisions[operator] for operator in network.operators]
    sums = {
        "cpu": sum(decision.cpu_us for decision in planned),
        "gpu": sum(decision.gpu_us for decision in planned),
        "split": sum(decision.predicted_us for decision in planned),
    }
    split = sum(decision.processor == "split" for decision in planned)
    if trace is None or trace["status"] != "ok":
        why = "no phone has measured it" if trace is None else f"{trace['status']}: {trace['error']}"
        return NetworkRun(network.name, device_class, sums, {}, None, 0, None, split, why)
    variants = {variant["name"]: variant for variant in trace["variants"]}
    medians = {name: float(median(variant["wall_ns"])) / 1e3 for name, variant in variants.items()}
    glue_us = medians[_GLUE]
    return NetworkRun(
        network.name,
        device_class,
        {way: time_us + glue_us for way, time_us in sums.items()},
        {way: medians[way] for way in _WAYS},
        glue_us,
        min(len(variants[way]["wall_ns"]) for way in _WAYS),
        max(float(variants[way]["max_relative_error"]) for way in _WAYS),
        split,
        None,
    )
