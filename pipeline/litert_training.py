"""`splitfleet train` and `evaluate` on folders of imported traces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from splitfleet.kernels.errors import UserError
from splitfleet.predictors.litert_package import open_litert_package, write_litert_package
from splitfleet.predictors.litert_tracking import champion_litert, log_litert
from splitfleet.predictors.litert_train import LitertTraining, evaluate_litert, train_litert
from splitfleet.predictors.traces import read_traces
from splitfleet.predictors.train import held_out_metrics

from .campaign_run import CAMPAIGN_FILE

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
    return (folder / "traces").is_dir() and not (folder / CAMPAIGN_FILE).exists()


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


def evaluate_imported(folder: Path, model: Path | None = None) -> list[dict[str, Any]]:
    """How far the predictors of each phone are from its traces in `folder`: a row for each phone and operator.

    `model` is a folder that was trained, or a package; without one the champion of each device class is taken. Rows
    of one shape are one observation: the median. All figures but `n` are percent.

    Raises UserError when there are no traces, no model, or a type of operator that the model was not trained on.
    """
    rows = []
    for name, traces in _by_class(folder).items():
        models = open_litert_package(_package(name, model))
        for phone, of_phone in traces.groupby("phone"):
            for operator, shapes in evaluate_litert(models, of_phone).groupby("operator"):
                figures = held_out_metrics(shapes)
                named = {"phone": str(phone), "processor": "gpu", "operator": str(operator)}
                numbers = {key: figures[figure] for key, figure in _FIGURES.items()}
                rows.append({**named, **numbers, "out_of_range": int(shapes["outside"].sum())})
    return rows


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
