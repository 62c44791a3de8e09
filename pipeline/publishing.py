"""Publishing: plan every layer of a campaign, prove a sample on the phones, build and register the packages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from splitfleet.kernels.errors import DeviceError
from splitfleet.predictors.models import DeviceModels
from splitfleet.predictors.package import build_package
from splitfleet.predictors.planner import plan_layers
from splitfleet.predictors.registry import register_package
from splitfleet.predictors.revision import git_revision
from splitfleet.predictors.signing import renew_signature
from splitfleet.predictors.split_table import SplitTable
from splitfleet.predictors.traces import read_traces

from .campaign import Campaign, Phones
from .campaign_run import campaign_of
from .fleet import Fleet
from .profile import DeviceProfile
from .progress import Progress, progress_on
from .proof import (
    Interference,
    LayerProof,
    Traces,
    choose_layers,
    comparison_job,
    interference,
    measured,
    search_curve,
    search_jobs,
)
from .splits import split_figures
from .training import same_training
from .tuning_store import conditions_of

PUBLISHED = "published"
_SCHEMA = 1


@dataclass(frozen=True)
class Published:
    """A package in the registry."""

    device_class: str
    version: int
    path: Path
    alias: str
    reason: str


@dataclass
class _ClassPlan:
    profile: DeviceProfile
    models: DeviceModels
    table: SplitTable
    proofs: list[LayerProof]


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
        plans = {
            name: _plan(campaign, profile, trained[name][0].models)
            for name, profile in sorted(present.items())
            if name in trained
        }
        if not plans:
            raise DeviceError(
                f"no phone of a trained device class is there: trained {', '.join(sorted(trained))}; there "
                f"{', '.join(sorted(present))}. Was the agent or a driver updated? Then run the campaign again"
            )
        traces = _prove(fleet, campaign, plans, folder)
    published = []
    for name, plan in plans.items():
        models, noted = trained[name]
        results = {proof.decision.operator: measured(proof, traces) for proof in plan.proofs}
        table = plan.table.with_measured({operator: result for operator, result in results.items() if result})
        path = build_package(models, table, folder / "packages" / f"{name}.zip")
        renew_signature(path, signing_key)
        figures = split_figures(table)
        numbers = {key: float(value) for key, value in figures.items() if isinstance(value, int | float)}
        tags = {"git_revision": git_revision()}
        registered = register_package(path, run_id=noted.run_id, metrics=numbers, tags=tags)
        _save(folder, name, registered.version, path, table, plan, traces)
        published.append(Published(name, registered.version, path, registered.alias, registered.reason))
    return published


def _plan(campaign: Campaign, profile: DeviceProfile, models: DeviceModels) -> _ClassPlan:
    table = plan_layers((layer.operator for layer in campaign.layers), models, profile.device)
    decisions = {entry.decision.operator: entry.decision for entry in table.entries}
    chosen, searched = choose_layers(decisions.values(), campaign.publish, campaign.seed)
    join, _ = models.costs.gpu_wait()
    proofs = [
        search_jobs(decisions[operator], campaign.publish, profile, join)
        if operator in searched
        else LayerProof(decisions[operator], {})
        for operator in chosen
    ]
    return _ClassPlan(profile, models, table, proofs)


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


def _interference_row(found: Interference) -> dict[str, Any]:
    slowdowns = {"cpu_slowdown": found.cpu_slowdown, "gpu_slowdown": found.gpu_slowdown}
    return {**asdict(found), "operator": found.operator.label, **slowdowns}


def _save(
    folder: Path, name: str, version: int, path: Path, table: SplitTable, plan: _ClassPlan, traces: Traces
) -> None:
    """What was found, for the report: the package has the same figures, but not the searches."""
    searches = {proof.decision.operator.label: search_curve(proof, traces) for proof in plan.proofs if proof.search}
    content = {
        "schema": _SCHEMA,
        "device_class": name,
        "version": version,
        "package": str(path.relative_to(folder)),
        "joins": asdict(plan.models.costs),
        "split_table": table.to_json(),
        "searches_us_by_cut": searches,
        "interference": [_interference_row(found) for p in plan.proofs if (found := interference(p, traces))],
    }
    target = folder / PUBLISHED / f"{name}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", "utf-8")
