"""`splitfleet train` and `evaluate` on folders of imported traces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from splitfleet.kernels.errors import UserError
from splitfleet.predictors.litert_package import open_litert_package, write_litert_package
from splitfleet.predictors.litert_tracking import champion_litert, log_litert
from splitfleet.predictors.litert_train import LitertTraining, evaluate_litert, train_litert, unknown_operators
from splitfleet.predictors.traces import read_traces
from splitfleet.predictors.train import held_out_metrics

from .campaign import COPY_NAME

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


def train_imported(folder: Path) -> dict[str, LitertTraining]:
    """Trains every device class in a folder of imported traces, writes `<folder>/models/<device class>.zip`, and
    registers it in MLflow. Returns the trainings by device class.

    Raises UserError when there are too few shapes, or when MLflow cannot be used; the packages are written by then.
    """
    results = {name: train_litert(traces, _SEED) for name, traces in _by_class(folder).items()}
    packages = [
        (result, write_litert_package(result, folder / "models" / f"{name}.zip")) for name, result in results.items()
    ]
    log_litert(packages)
    return results


@dataclass(frozen=True)
class Evaluation:
    """A row for each phone and operator, and what was left out: types of operator that a model was not trained on.

    All figures of a row but `n` and `out_of_range` (shapes) are percent.
    """

    rows: list[dict[str, Any]]
    unknown: dict[str, list[str]]


def evaluate_imported(folder: Path, model: Path | None = None) -> Evaluation:
    """How far the predictors of each phone are from its traces in `folder`. Rows of one shape count as their median.

    `model` is a folder that was trained, or a package; without one the champion of each device class is taken.

    Raises UserError when there are no traces, no model, or only types of operator that the model was not trained on.
    """
    rows, unknown = [], {}
    for name, traces in _by_class(folder).items():
        models = open_litert_package(_package(name, model))
        if left_out := unknown_operators(models, traces):
            unknown[name] = left_out
        for phone, of_phone in traces.groupby("phone"):
            for operator, shapes in evaluate_litert(models, of_phone).groupby("operator"):
                figures = held_out_metrics(shapes)
                named = {"phone": str(phone), "processor": "gpu", "operator": str(operator)}
                numbers = {key: figures[figure] for key, figure in _FIGURES.items()}
                rows.append({**named, **numbers, "out_of_range": int(shapes["outside"].sum())})
    return Evaluation(rows, unknown)


def _by_class(folder: Path) -> dict[str, pd.DataFrame]:
    if not is_imported(folder):
        raise UserError(
            f"{folder} holds no imported traces; bring some in: splitfleet traces import FILE --into {folder}"
        )
    traces = read_traces(folder)
    return {str(name): rows for name, rows in traces.groupby("device_class")}


def _package(device_class: str, model: Path | None) -> Path:
    if model is None:
        return champion_litert(device_class)
    if model.is_file():
        return model
    for path in (model / "models" / f"{device_class}.zip", model / f"{device_class}.zip"):
        if path.is_file():
            return path
    raise UserError(f"{model}: holds no model of {device_class}; run: splitfleet train {model}")
