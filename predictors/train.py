"""Training: from the traces of one device class to its predictors, their held-out errors and the joining costs.

Shapes, not rows, are held out: each shape is predicted once by a model that has never seen it, and the errors reported
are those. The models handed on are trained on everything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from splitfleet.kernels import operator_from_json
from splitfleet.kernels.errors import UserError
from splitfleet.kernels.precision import as_precision
from splitfleet.kernels.tuning import Tuning

from .breakdown import held_out_metrics
from .checked_joins import CheckedJoins, checked_joins
from .fit_sets import Fitted, fit_sets
from .fitting import HeldOut
from .interference import learn_interference
from .learning import LearningCurve
from .models import GPU, QUANTILE_LEVELS, DeviceModels
from .observations import TrainingSet, join_costs, training_sets
from .predictor import GPU_DISPATCH, GPU_EXECUTION, threads_of


@dataclass(frozen=True)
class ClassModels:
    """What training one device class gives.

    `metrics[target]` has the figures of `held_out_metrics` over held-out shapes, and the same by kernel under
    `by_kernel`; `cpu` is all thread counts together. `held_out` has one row per shape and target: target, shape
    (operator JSON text), kernel, channels, measured_us, predicted_us, low_us, high_us, outside.
    `newest_trace_us` is when the newest trace used was measured, in us since 1970 UTC; None where traces do not say.
    `learning` has the learning curve of each target.
    """

    models: DeviceModels
    metrics: dict[str, dict[str, Any]]
    held_out: pd.DataFrame
    training: dict[str, TrainingSet]
    profile: dict[str, Any]
    operating_point: dict[str, Any]
    campaigns: tuple[str, ...]
    seed: int
    newest_trace_us: int | None = None
    learning: dict[str, LearningCurve] = field(default_factory=dict)


@dataclass(frozen=True)
class ClassTraces:
    """What one device class is trained on: traces that count, training sets by target, joins that were checked."""

    used: pd.DataFrame
    training: dict[str, TrainingSet]
    checked: CheckedJoins
    profile: dict[str, Any]

    @property
    def device_class(self) -> str:
        return str(self.used["device_class"].iloc[0])


def train_class(
    traces: pd.DataFrame, profile: dict[str, Any], seed: int, *, checked_before: CheckedJoins | None = None
) -> ClassModels:
    """Trains all predictors of the one device class in `traces` (as `read_traces` gives them).

    Raises UserError as `class_traces` does.
    """
    given = class_traces(traces, profile, checked_before=checked_before)
    return class_models(given, fit_sets(given.training, seed), seed)


def class_traces(
    traces: pd.DataFrame, profile: dict[str, Any], *, checked_before: CheckedJoins | None = None
) -> ClassTraces:
    """What there is to train on in the traces of one device class.

    `checked_before` are joins of this class that earlier campaigns checked; those in the traces come on top.

    Raises:
        UserError: several device classes or operating points, or too few shapes for a target.
    """
    used = traces[(traces["status"] == "ok") & (traces["purpose"] == "measure")]
    device_class = _only(used, "device_class")
    _only(used, "operating_point")
    checked = checked_joins(traces[traces["purpose"] == "measure"]) + (checked_before or CheckedJoins())
    return ClassTraces(used, training_sets(used, device_class), checked, profile)


def class_models(given: ClassTraces, fitted: Mapping[str, Fitted], seed: int) -> ClassModels:
    """The device class's models, from what was fitted on its training sets with this seed."""
    used, training, profile = given.used, given.training, given.profile
    held_out = pd.concat(
        [_frame(data, fitted[target].held_out) for target, data in training.items()], ignore_index=True
    )
    costs = join_costs(used, given.checked)
    models = DeviceModels(
        given.device_class,
        _only(used, "backend"),
        {target: one.predictor for target, one in fitted.items()},
        costs,
        _error_ratios(held_out),
        as_precision(_only(used, "precision")),
        Tuning.from_json(profile["tuning"], given.device_class) if profile.get("tuning") else None,
        learn_interference(used, costs.join_us),
    )
    return ClassModels(
        models,
        _metrics(held_out),
        held_out,
        training,
        profile,
        json.loads(_only(used, "operating_point")),
        tuple(sorted(used["campaign"].unique())),
        seed,
        _newest_us(used),
        {target: one.learning for target, one in fitted.items()},
    )


def _newest_us(traces: pd.DataFrame) -> int | None:
    started = traces["started_unix_us"].dropna()
    return int(started.max()) if len(started) else None


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
