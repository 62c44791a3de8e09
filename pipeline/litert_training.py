"""`splitfleet train` and `evaluate` on folders of imported traces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from splitfleet.kernels.errors import UserError
from splitfleet.predictors.breakdown import held_out_metrics
from splitfleet.predictors.litert_networks import NETWORK, fit_networks, read_networks
from splitfleet.predictors.litert_package import read_litert_package, write_litert_package
from splitfleet.predictors.litert_tracking import champion_or_provisional, log_litert
from splitfleet.predictors.litert_train import (
    LitertTraining,
    evaluate_litert,
    litert_sets,
    litert_training,
    unknown_operators,
)
from splitfleet.predictors.registry import Registered, register_package
from splitfleet.predictors.revision import git_revision
from splitfleet.predictors.signing import renew_signature
from splitfleet.predictors.traces import read_traces

from .campaign import COPY_NAME
from .training_tasks import fit_classes

_SEED = 0
_FIGURES = {
    "n": "n",
    "mape": "mape",
    "median": "median_ape",
    "within_5": "within_5",
    "within_10": "within_10",
    "within_15": "within_15",
    "rmspe": "rmspe",
    "coverage_90": "coverage_90",
    "width_90": "width",
    "interval_score_90": "score",
}


def is_imported(folder: Path) -> bool:
    """Whether a folder holds imported traces rather than a campaign."""
    return (folder / "traces").is_dir() and not (folder / COPY_NAME).exists()


@dataclass(frozen=True)
class TrainedImport:
    """What training on imported traces gave, by device class, and what its packages became in the registry."""

    results: dict[str, LitertTraining]
    registered: tuple[Registered, ...]


def train_imported(folder: Path, *, signing_key: Path | None = None) -> TrainedImport:
    """Trains every device class in a folder of imported traces, writes `<folder>/models/<device class>.zip` (signed
    where there is a key), logs all to MLflow and registers the packages.

    Raises UserError when there are too few shapes, or when MLflow cannot be used; the packages are written by then.
    """
    classes = _by_class(folder)
    sets = {name: litert_sets(traces) for name, traces in classes.items()}
    fitted = fit_classes(sets, _SEED, folder)
    results = {
        name: with_networks(folder, litert_training(traces, sets[name], fitted[name], _SEED))
        for name, traces in classes.items()
    }
    packages = {
        name: write_litert_package(result, folder / "models" / f"{name}.zip") for name, result in results.items()
    }
    for path in packages.values():
        renew_signature(path, signing_key)
    runs = log_litert(list(results.values()), folder.resolve().name)
    registered = [
        register_package(path, run_id=runs.class_runs[name], tags={"git_revision": git_revision()})
        for name, path in packages.items()
    ]
    return TrainedImport(results, tuple(registered))


def with_networks(folder: Path, trained: LitertTraining) -> LitertTraining:
    """The training with the overhead of the class's networks in `folder` that were measured whole, and their errors.

    Raises UserError where there are such networks, but too few.
    """
    networks = read_networks(folder, trained.models.device_class)
    if not networks:
        return trained
    fit = fit_networks(trained, networks)
    models = replace(trained.models, overhead=fit.overhead)
    return replace(trained, models=models, metrics={**trained.metrics, NETWORK: {**fit.metrics, "by_kernel": {}}})


@dataclass(frozen=True)
class Evaluation:
    """A row for each phone and operator, and what was left out: types of operator that a model was not trained on.
    `provisional` are the classes whose adopted phone's package was taken, since they have no champion.

    All figures of a row but `n` and `out_of_range` (shapes) are percent.
    """

    rows: list[dict[str, Any]]
    unknown: dict[str, list[str]]
    provisional: tuple[str, ...] = ()


def evaluate_imported(folder: Path, model: Path | None = None) -> Evaluation:
    """How far the predictors of each phone are from its traces in `folder`. Rows of one shape count as their median.

    `model` is a folder that was trained, or a package; without one the champion of each device class is taken.

    Raises UserError when there are no traces, no model, or only types of operator that the model was not trained on.
    """
    rows, unknown, provisional = [], {}, []
    for name, traces in _by_class(folder).items():
        package = read_litert_package(_package(name, model))
        models = package.models
        if model is None and "provisional" in package.manifest:
            provisional.append(name)
        if left_out := unknown_operators(models, traces):
            unknown[name] = left_out
        for phone, of_phone in traces.groupby("phone"):
            for operator, shapes in evaluate_litert(models, of_phone).groupby("operator"):
                figures = held_out_metrics(shapes)
                named = {"phone": str(phone), "processor": "gpu", "operator": str(operator)}
                numbers = {key: figures[figure] for key, figure in _FIGURES.items()}
                rows.append({**named, **numbers, "out_of_range": int(shapes["outside"].sum())})
    return Evaluation(rows, unknown, tuple(provisional))


def _by_class(folder: Path) -> dict[str, pd.DataFrame]:
    if not is_imported(folder):
        raise UserError(
            f"{folder} holds no imported traces; bring some in: splitfleet traces import FILE --into {folder}"
        )
    traces = read_traces(folder)
    return {str(name): rows for name, rows in traces.groupby("device_class")}


def _package(device_class: str, model: Path | None) -> Path:
    if model is None:
        return champion_or_provisional(device_class)
    if model.is_file():
        return model
    for path in (model / "models" / f"{device_class}.zip", model / f"{device_class}.zip"):
        if path.is_file():
            return path
    raise UserError(f"{model}: holds no model of {device_class}; run: splitfleet train {model}")
