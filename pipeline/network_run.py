"""`splitfleet network`: a whole network on a campaign's phones, all-CPU, all-GPU and split, against its prediction.

First it runs as the campaign's split table and the measurements of its layers have it. What its nodes take there, in
the network, plans it again (`predictors.network_calibration`), and again where cuts have moved. Then the last plan is
measured against its prediction, which knows nothing of that measurement. Where the phone has drifted between the two,
as all-CPU and all-GPU in both say, both are repeated, as in campaigns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from splitfleet.kernels import Network
from splitfleet.kernels.errors import DeviceError
from splitfleet.predictors.traces import read_traces

from .campaign import Phones
from .campaign_run import campaign_of
from .fleet import Fleet
from .jobs import Job
from .network_planning import NetworkPlanning, measured, why_not
from .progress import Progress, progress_on
from .publishing import published_record
from .training import same_training
from .tuning_store import conditions_of

NETWORKS_FOLDER = "networks"
_PURPOSE = "network"
_MOST_CALIBRATIONS = 2
_MOST_REPEATS = 2


@dataclass(frozen=True)
class NetworkRun:
    """Medians in us of one network on one device class, by way (`cpu`, `gpu`, `split`), and what was predicted.

    `table_us` are those of the split as the split table has it, planned from layers measured alone: `predicted` and
    `measured`. `hand_overs_us` are the split's times by how the GPU waits for the CPU (docs/agent.md): those that the
    device can do and whose outputs were right; `measured_us` has the least of them, and of all-GPU. `glue_us` is in
    all ways. `drift` is how much longer all-CPU or all-GPU took than when the network was planned, as a part of 1: of
    the one that moved more. `max_relative_error`: of any tensor of all-GPU or split against all-CPU. `error` says why
    nothing was measured.
    """

    network: str
    device_class: str
    predicted_us: dict[str, float]
    measured_us: dict[str, float]
    table_us: dict[str, float]
    hand_overs_us: dict[str, float]
    glue_us: float | None
    rounds: int
    drift: float
    max_relative_error: float | None
    split_operators: int
    error: str | None

    @property
    def speedup(self) -> float | None:
        """Of split over the better single processor."""
        if not self.measured_us:
            return None
        return min(self.measured_us["cpu"], self.measured_us["gpu"]) / self.measured_us["split"]

    @property
    def hand_over(self) -> str | None:
        """The cheapest way of handing over from the CPU to the GPU."""
        return min(self.hand_overs_us, key=lambda name: self.hand_overs_us[name], default=None)

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "speedup": self.speedup, "hand_over": self.hand_over}


def run_network(
    folder: Path, network: Network, *, phones: Phones | None = None, progress: Progress | None = None
) -> list[NetworkRun]:
    """Plans the network for every trained device class of which a phone is there, and executes it there.

    Traces lie in `<folder>/networks`, with a ledger of their own; what was measured before is not measured again,
    except where the phone has drifted since.
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
        classes = {
            name: NetworkPlanning(network, trained[name][0].models, profile, published_record(folder, name))
            for name, profile in fleet.profiles().items()
            if name in trained
        }
        if not classes:
            raise DeviceError(f"no phone of a trained device class is there: trained {', '.join(sorted(trained))}")
        rounds = campaign.publish.rounds
        rows = _plan_and_measure(fleet, folder, classes, rounds)
        for _ in range(_MOST_REPEATS):
            drifts = {name: each.drift(rows.get(name)) for name, each in classes.items()}
            drifted = {name: drift for name, drift in drifts.items() if abs(drift) > campaign.fleet.pacing.drift}
            if not drifted:
                break
            for name, drift in drifted.items():
                progress.note(f"{name}: {drift:+.1%} since the network was planned; both are measured again")
            rows |= _repeat(fleet, folder, {name: classes[name] for name in drifted}, rounds)
    return [_result(network, name, each, rows.get(name)) for name, each in sorted(classes.items())]


def _plan_and_measure(
    fleet: Fleet, folder: Path, classes: Mapping[str, NetworkPlanning], rounds: int
) -> dict[str, Mapping[Any, Any]]:
    """The traces of the last plans, by device class."""
    moving = set(classes)
    for _ in range(_MOST_CALIBRATIONS):
        rows = _measure(fleet, folder, {name: classes[name].calibrating_job() for name in moving})
        moving = {name for name in moving if classes[name].take(rows.get(name))}
    return _measure(fleet, folder, {name: each.job(rounds) for name, each in classes.items() if each.error is None})


def _repeat(
    fleet: Fleet, folder: Path, classes: Mapping[str, NetworkPlanning], rounds: int
) -> dict[str, Mapping[Any, Any]]:
    """Plans once more from a calibration of now, and measures that plan."""
    calibrating = {name: each.calibrating_job() for name, each in classes.items()}
    _forget(fleet, calibrating)
    rows = _measure(fleet, folder, calibrating)
    for name, each in classes.items():
        each.take_anew(rows.get(name))
    jobs = {name: each.job(rounds) for name, each in classes.items()}
    _forget(fleet, jobs)
    return _measure(fleet, folder, jobs)


def _forget(fleet: Fleet, jobs: Mapping[str, Job]) -> None:
    """Makes these jobs ones that are to be measured."""
    for name, job in jobs.items():
        for each in list(fleet.ledger.accepted_of(name, _PURPOSE)):
            if each.job == job.id:
                fleet.ledger.invalidate(each.batch, [(job.id, _PURPOSE)], "drift")


def _measure(fleet: Fleet, folder: Path, jobs: Mapping[str, Job]) -> dict[str, Mapping[Any, Any]]:
    """The traces of these jobs, by device class, as far as there are any."""
    if not jobs:
        return {}
    if fleet.run({name: [job] for name, job in jobs.items()}, _PURPOSE).was_interrupted:
        raise KeyboardInterrupt
    traces = read_traces(folder / NETWORKS_FOLDER)
    rows = {str(row["job_id"]): dict(row) for row in traces.to_dict("records")}
    return {name: rows[job.id] for name, job in jobs.items() if job.id in rows}


def _result(
    network: Network, device_class: str, planning: NetworkPlanning, trace: Mapping[Any, Any] | None
) -> NetworkRun:
    plan = planning.plan
    split = sum(decision.processor == "split" for decision in plan.decisions.values())
    error = planning.error or why_not(trace)
    known = (network.name, device_class, planning.predicted_us())
    if error is not None or trace is None:
        return NetworkRun(*known, {}, planning.table_us, {}, None, 0, 0.0, None, split, error)
    found = measured(trace)
    return NetworkRun(
        *known,
        found.by_way_us,
        planning.table_us,
        found.hand_overs_us,
        found.glue_us,
        found.rounds,
        planning.drift(trace),
        found.max_relative_error,
        split,
        None,
    )
