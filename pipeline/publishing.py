"""Publishing: plan every layer of a campaign, prove a sample on the phones, build and register the packages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from splitfleet.kernels import Operator
from splitfleet.kernels.errors import DeviceError, UserError
from splitfleet.predictors.models import DeviceModels
from splitfleet.predictors.package import build_package
from splitfleet.predictors.registry import register_package
from splitfleet.predictors.revision import git_revision
from splitfleet.predictors.row_ranges import plan_rows
from splitfleet.predictors.signing import renew_signature
from splitfleet.predictors.split_table import SplitEntry, SplitTable
from splitfleet.predictors.traces import read_traces
from splitfleet.predictors.train import ClassModels

from .calibrating import MOST_MEASUREMENTS, Calibrating
from .campaign import Campaign, Phones
from .campaign_run import campaign_of
from .fleet import Fleet
from .host_files import write_json, writing_into
from .layers import LinearLayer
from .phone_seconds import PhoneSeconds, phone_seconds
from .profile import DeviceProfile
from .progress import Progress, progress_on
from .proof import (
    HalvesTogether,
    LayerProof,
    choose_layers,
    comparison_job,
    first_us,
    halves_together,
    measured,
    search_curve,
    search_jobs,
)
from .proved import Proved, corrected
from .splits import split_figures
from .training import TrainedClass, same_training
from .tuning_store import conditions_of
from .ways import Traces

PUBLISHED = "published"
_SCHEMA = 2


@dataclass(frozen=True)
class Published:
    """A package in the registry."""

    device_class: str
    version: int
    path: Path
    alias: str
    reason: str


Ranges = dict[str, list[SplitEntry]]


@dataclass
class _ClassPlan:
    calibrating: Calibrating
    table: SplitTable
    proofs: list[LayerProof]

    @property
    def models(self) -> DeviceModels:
        return self.calibrating.models

    @property
    def profile(self) -> DeviceProfile:
        return self.calibrating.profile


def publish_campaign(
    folder: Path,
    *,
    phones: Phones | None = None,
    progress: Progress | None = None,
    signing_key: Path | None = None,
) -> list[Published]:
    """Plans, proves and publishes every trained device class of which a phone is there.

    Writes packages/<device class>.zip, signed where there is a key, and published/<device class>.json into the folder.
    Measurements made before are not made again. Raises UserError when nothing is trained, DeviceError when no phone of
    a trained class is there.
    """
    campaign = campaign_of(folder)
    trained = same_training(folder)
    progress = progress or progress_on(Console(stderr=True))
    conditions = conditions_of(campaign)
    with Fleet(
        phones or campaign.phones,
        folder,
        progress,
        conditions=conditions,
        seed=campaign.seed,
        pacing=campaign.fleet.pacing,
    ) as fleet:
        present = fleet.profiles()
        for name in sorted(trained.keys() - present.keys()):
            progress.note(f"not published: no phone of {name} is there; attach one and run publish again")
        there = {name: profile for name, profile in sorted(present.items()) if name in trained}
        if not there:
            raise DeviceError(
                f"no phone of a trained device class is there: trained {', '.join(sorted(trained))}; there "
                f"{', '.join(sorted(present))}. Was the agent or a driver updated? Then run the campaign again"
            )
        models = {name: trained[name][0].models for name in there}
        ranges = {name: _ranges(campaign, models[name], profile) for name, profile in there.items()}
        calibrated = _calibrate(fleet, campaign, there, models, ranges, folder)
        plans = {name: _plan(campaign, each, ranges[name]) for name, each in calibrated.items()}
        traces = _prove(fleet, campaign, plans, folder)
    return [_publish(folder, plan, *trained[name], traces, signing_key) for name, plan in plans.items()]


def _publish(
    folder: Path,
    plan: _ClassPlan,
    result: ClassModels,
    noted: TrainedClass,
    traces: Traces,
    signing_key: Path | None,
) -> Published:
    """Corrects the table by what was measured, and builds, signs and registers the package."""
    name = plan.models.device_class
    proved = _proved(plan, traces)
    table = corrected(plan.table, proved)
    searches = {proof.decision.operator.label: search_curve(proof, traces) for proof in plan.proofs if proof.search}
    proof = {
        "proved": [each.to_json() for each in proved],
        "searches_us_by_cut": {label: {str(cut): us for cut, us in times.items()} for label, times in searches.items()},
    }
    path = build_package(result, table, folder / "packages" / f"{name}.zip", proof=proof)
    renew_signature(path, signing_key)
    figures = split_figures(table, proved)
    numbers = {key: float(value) for key, value in figures.items() if isinstance(value, int | float)}
    tags = {"git_revision": git_revision()}
    registered = register_package(path, run_id=noted.run_id, metrics=numbers, tags=tags)
    published = Published(name, registered.version, path, registered.alias, registered.reason)
    _save(folder, published, table, plan, proof, traces)
    return published


def _ranges(campaign: Campaign, models: DeviceModels, profile: DeviceProfile) -> list[SplitEntry]:
    """Entries of the layers whose rows vary, as the predictors alone have them."""
    layers = {
        (layer.operator, layer.row_range): None
        for layer in campaign.layers
        if isinstance(layer, LinearLayer) and layer.row_range
    }
    return [entry for layer, rows in layers if rows for entry in plan_rows(layer, rows, models, profile.device)]


def _calibrate(
    fleet: Fleet,
    campaign: Campaign,
    profiles: Mapping[str, DeviceProfile],
    models: Mapping[str, DeviceModels],
    ranges: Ranges,
    folder: Path,
) -> dict[str, Calibrating]:
    """Plans every layer, measures those whose split may pay, and plans these again, a few times.

    A range of rows is measured at the rows that its figures are of.
    """
    fixed = _fixed(campaign)
    classes = {
        name: Calibrating.of([*fixed, *(entry.decision.operator for entry in ranges[name])], models[name], profile)
        for name, profile in profiles.items()
    }
    for _ in range(MOST_MEASUREMENTS):
        jobs = {name: each.next_jobs(campaign.publish.calibrate_layers) for name, each in classes.items()}
        if not any(jobs.values()):
            break
        _run(fleet, jobs)
        traces = _validation_traces(folder)
        for each in classes.values():
            each.take(traces)
    return classes


def _fixed(campaign: Campaign) -> list[Operator]:
    """The layers whose rows do not vary, each once."""
    layers = [each for each in campaign.layers if not isinstance(each, LinearLayer) or each.row_range is None]
    return list(dict.fromkeys(layer.operator for layer in layers))


def _plan(campaign: Campaign, calibrating: Calibrating, ranges: list[SplitEntry]) -> _ClassPlan:
    models, publish = calibrating.models, campaign.publish
    decisions = {operator: plan.decision for operator, plan in calibrating.plans.items()}
    entries = [SplitEntry(decisions[operator]) for operator in _fixed(campaign)]
    entries += [replace(entry, decision=decisions[entry.decision.operator]) for entry in ranges]
    table = SplitTable.of(models.device_class, models.backend, entries, models.precision)
    chosen, searched = choose_layers(dict.fromkeys(entry.decision for entry in table.entries), publish, campaign.seed)
    join, _ = models.costs.gpu_wait()
    proofs = []
    for operator in chosen:
        first = calibrating.predicted[operator].decision if operator in calibrating.measured else None
        proof = LayerProof(decisions[operator], {}, first=first)
        if operator in searched:
            proof = search_jobs(decisions[operator], publish, calibrating.profile, join, first)
        proofs.append(proof)
    return _ClassPlan(calibrating, table, proofs)


def _proved(plan: _ClassPlan, traces: Traces) -> list[Proved]:
    """What the comparisons say of the layers whose comparison was valid."""
    calibrations = plan.calibrating.measured
    return [
        Proved(proof.decision, result, len(calibrations.get(proof.decision.operator, ())), first_us(proof, traces))
        for proof in plan.proofs
        if (result := measured(proof, traces))
    ]


def _prove(fleet: Fleet, campaign: Campaign, plans: Mapping[str, _ClassPlan], folder: Path) -> Traces:
    """Measures the search, then the comparison; returns all traces made for it."""
    _run(fleet, {name: [job for proof in plan.proofs for job in proof.search.values()] for name, plan in plans.items()})
    traces = _validation_traces(folder)
    for plan in plans.values():
        plan.proofs = [comparison_job(proof, campaign.publish, plan.profile, traces) for proof in plan.proofs]
    _run(fleet, {name: [p.comparison for p in plan.proofs if p.comparison] for name, plan in plans.items()})
    return _validation_traces(folder)


def _run(fleet: Fleet, jobs: Mapping[str, list[Any]]) -> None:
    if fleet.run(jobs, "validate").was_interrupted:
        raise KeyboardInterrupt


def _validation_traces(folder: Path) -> Traces:
    traces = read_traces(folder)
    rows = traces[traces["purpose"] == "validate"]
    return {str(row["job_id"]): dict(row) for row in rows.to_dict("records")}


def _together_row(found: HalvesTogether) -> dict[str, Any]:
    slowdowns = {"cpu_slowdown": found.cpu_slowdown, "gpu_slowdown": found.gpu_slowdown}
    return {**asdict(found), "operator": found.operator.label, **slowdowns}


def _phone_seconds(folder: Path, plan: _ClassPlan) -> PhoneSeconds:
    traces = read_traces(folder)
    of_class = traces[traces["device_class"] == plan.models.device_class]
    return phone_seconds(list(plan.calibrating.plans), plan.calibrating.every_job, plan.proofs, of_class)


def _save(
    folder: Path,
    published: Published,
    table: SplitTable,
    plan: _ClassPlan,
    proof: Mapping[str, Any],
    traces: Traces,
) -> None:
    """What was found, for the report."""
    calibrations = {
        operator.label: [asdict(each) for each in found] for operator, found in plan.calibrating.measured.items()
    }
    content = {
        "schema": _SCHEMA,
        "device_class": published.device_class,
        "version": published.version,
        "package": str(published.path.relative_to(folder)),
        "joins": plan.models.costs.to_json(),
        "interference": plan.models.interference.to_json(),
        "split_table": table.to_json(),
        **proof,
        "calibrations": calibrations,
        "halves_together": [_together_row(found) for p in plan.proofs if (found := halves_together(p, traces))],
        "phone_seconds": asdict(_phone_seconds(folder, plan)),
    }
    with writing_into(folder):
        write_json(folder / PUBLISHED / f"{published.device_class}.json", content)


def published_record(folder: Path, device_class: str) -> dict[str, Any] | None:
    """What publishing found of a device class; None where it was not published.

    Raises UserError for a record of another version, or a damaged one.
    """
    path = folder / PUBLISHED / f"{device_class}.json"
    if not path.exists():
        return None
    try:
        data: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if data["schema"] != _SCHEMA:
            raise ValueError(f"schema {data['schema']!r}, this version reads {_SCHEMA}")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a record of publishing ({error}); run: splitfleet publish {folder}") from None
    return data
