"""Training: from the traces of one device class to its predictors, their held-out errors and the joining costs.

Shapes, not rows, are held out: each shape is predicted once by a model that has never seen it, and the errors reported
are those. The models handed on are trained on everything.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from splitfleet.kernels import operator_from_json
from splitfleet.kernels.errors import UserError
from splitfleet.kernels.tuning import Tuning

from .checked_joins import CheckedJoins, checked_joins
from .fitting import HeldOut, fit_predictor, predict_held_out
from .metrics import error_metrics, interval_metrics
from .models import GPU, QUANTILE_LEVELS, DeviceModels
from .observations import TrainingSet, join_costs, training_sets
from .predictor import GPU_DISPATCH, GPU_EXECUTION, threads_of
from .split_table import as_precision

_WORKERS = 2


@dataclass(frozen=True)
class ClassModels:
    """What training one device class gives.

    `metrics[target]` has the figures of `held_out_metrics` over held-out shapes, and the same by kernel under
    `by_kernel`; `cpu` is all thread counts together. `held_out` has one row per shape and target: target, shape
    (operator JSON text), kernel, channels, measured_us, predicted_us, low_us, high_us, outside.
    """

    models: DeviceModels
    metrics: dict[str, dict[str, Any]]
    held_out: pd.DataFrame
    training: dict[str, TrainingSet]
    profile: dict[str, Any]
    operating_point: dict[str, Any]
    campaigns: tuple[str, ...]
    seed: int


def train_class(
    traces: pd.DataFrame, profile: dict[str, Any], seed: int, *, checked_before: CheckedJoins | None = None
) -> ClassModels:
    """Train all predictors of the one device class in `traces` (as `read_traces` gives them).

    `checked_before` are joins of this class that earlier campaigns checked; those in the traces come on top.

    Raises:
        UserError: several device classes or operating points, or too few shapes for a target.
    """
    used = traces[(traces["status"] == "ok") & (traces["purpose"] == "measure")]
    device_class = _only(used, "device_class")
    operating_point = json.loads(_only(used, "operating_point"))
    checked = checked_joins(traces[traces["purpose"] == "measure"]) + (checked_before or CheckedJoins())
    training = training_sets(used, device_class)
    every = {target: np.arange(len(data.time_us)) for target, data in training.items()}
    # Each target in a thread of its own, on one core: LightGBM and BLAS let go of the interpreter.
    with threadpool_limits(1), ThreadPoolExecutor(_WORKERS) as pool:
        held = {target: pool.submit(predict_held_out, data, seed) for target, data in training.items()}
        fitted = {target: pool.submit(fit_predictor, data, every[target], seed) for target, data in training.items()}
        predictions = {target: future.result() for target, future in held.items()}
        predictors = {target: future.result() for target, future in fitted.items()}
    held_out = pd.concat([_frame(training[target], predictions[target]) for target in training], ignore_index=True)
    models = DeviceModels(
        device_class,
        _only(used, "backend"),
        predictors,
        join_costs(used, checked),
        _error_ratios(held_out),
        as_precision(_only(used, "precision")),
        Tuning.from_json(profile["tuning"], device_class) if profile.get("tuning") else None,
    )
    campaigns = tuple(sorted(used["campaign"].unique()))
    return ClassModels(models, _metrics(held_out), held_out, training, profile, operating_point, campaigns, seed)


def _frame(data: TrainingSet, predicted: HeldOut) -> pd.DataFrame:
    channels = [operator_from_json(json.loads(shape)).channels for shape in data.shapes]
    return pd.DataFrame(
        {
            "target": data.target,
            "shape": data.shapes,
            "kernel": data.kernels,
            "channels": channels,
            "measured_us": data.time_us,
            "predicted_us": predicted.time_us,
            "low_us": predicted.low_us,
            "high_us": predicted.high_us,
            "outside": predicted.outside,
        }
    )


def _metrics(held_out: pd.DataFrame) -> dict[str, dict[str, Any]]:
    result = {}
    groups = {str(target): rows for target, rows in held_out.groupby("target")}
    groups["cpu"] = held_out[held_out["target"].str.startswith("cpu_t")]
    for target, rows in groups.items():
        by_kernel = {str(kernel): held_out_metrics(part) for kernel, part in rows.groupby("kernel")}
        result[target] = {**held_out_metrics(rows), "by_kernel": by_kernel}
    return result


def held_out_metrics(rows: pd.DataFrame) -> dict[str, float]:
    """The figures of `error_metrics` and `interval_metrics` over rows of a frame of held-out shapes."""
    return {
        **error_metrics(rows["measured_us"], rows["predicted_us"]),
        **interval_metrics(rows["measured_us"], rows["low_us"], rows["high_us"]),
    }


def _error_ratios(held_out: pd.DataFrame) -> dict[str, tuple[float, ...]]:
    times = {str(target): rows.set_index("shape") for target, rows in held_out.groupby("target")}
    columns = ["measured_us", "predicted_us"]
    pairs = {name: rows[columns] for name, rows in times.items() if threads_of(name) is not None}
    pairs[GPU] = times[GPU_DISPATCH][columns] + times[GPU_EXECUTION][columns]
    return {
        name: tuple(float(q) for q in np.quantile(rows["measured_us"] / rows["predicted_us"], QUANTILE_LEVELS))
        for name, rows in pairs.items()
    }


def _only(traces: pd.DataFrame, column: str) -> str:
    values = traces[column].unique()
    if len(values) != 1:
        found = ", ".join(map(str, values)) or "none"
        raise UserError(f"training takes the measured traces of one {column.replace('_', ' ')}; found {found}")
    return str(values[0])
