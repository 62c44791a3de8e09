"""Training on traces of LiteRT's GPU delegate: a predictor for each group of operators, and its errors.

An observation is a shape with what was fused into it; errors are counted by shape. A shape that was run with several
fusions is predicted once for each of its rows, and both sides are the median over its rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from splitfleet.kernels.errors import UserError

from .breakdown import held_out_metrics
from .features import Vocabulary, plan_table
from .fit_sets import Fitted, fit_sets
from .fitting import HeldOut
from .learning import LearningCurve
from .litert_features import litert_features
from .network_overhead import NetworkOverhead
from .observations import LEAST_SHAPES, TrainingSet, canonical_operator
from .predictor import GPU_EXECUTION, Predictor

GROUPS = {
    "products": ("conv2d", "linear", "grouped_conv2d"),
    "depthwise": ("depthwise_conv2d",),
    "pooling": ("pool2d", "mean"),
    "concat": ("concat",),
}
"""Operators whose kernels are alike share a predictor."""


@dataclass(frozen=True)
class LitertModels:
    """The predictors of one phone's GPU under LiteRT, by group; one that was measured on too few shapes is missing.

    `overhead` is what whole networks take beside their operators, where some were measured.
    """

    device_class: str
    operating_point: dict[str, str]
    predictors: dict[str, Predictor]
    overhead: NetworkOverhead | None = None


@dataclass(frozen=True)
class LitertTraining:
    """What training gives: models, training sets by group, and one row a shape that was held out.

    `held_out`: operator (type), shape (operator JSON text), kernel, measured_us, predicted_us, low_us, high_us,
    outside. `metrics[operator]` has the figures of `held_out_metrics` and the same by kernel under `by_kernel`.
    """

    models: LitertModels
    training: dict[str, TrainingSet]
    held_out: pd.DataFrame
    metrics: dict[str, dict[str, Any]]
    phones: tuple[str, ...]
    seed: int
    learning: dict[str, LearningCurve] = field(default_factory=dict)


def train_litert(traces: pd.DataFrame, seed: int) -> LitertTraining:
    """Trains on the traces of one device class. Raises UserError where no group has enough shapes."""
    sets = litert_sets(traces)
    return litert_training(traces, sets, fit_sets(sets, seed), seed)


def litert_training(
    traces: pd.DataFrame, sets: dict[str, TrainingSet], fitted: Mapping[str, Fitted], seed: int
) -> LitertTraining:
    """The training of one device class, from what was fitted on its traces' training sets with this seed."""
    frames = [by_shape(sets[name], one.held_out, traces) for name, one in fitted.items()]
    held_out = pd.concat(frames, ignore_index=True)
    predictors = {name: one.predictor for name, one in fitted.items()}
    models = LitertModels(_only(traces, "device_class"), json.loads(_only(traces, "operating_point")), predictors)
    phones = tuple(sorted(traces["phone"].unique()))
    learning = {name: one.learning for name, one in fitted.items()}
    return LitertTraining(models, sets, held_out, metrics_of(held_out), phones, seed, learning)


def litert_sets(traces: pd.DataFrame, least: int = LEAST_SHAPES) -> dict[str, TrainingSet]:
    """The training set of each group with enough shapes, `least`. Raises UserError where no group has enough."""
    sets = {}
    for name, types in GROUPS.items():
        rows = traces[traces["operator_type"].isin(types)]
        if rows["operator"].nunique() >= least:
            sets[name] = replace(_training_set(rows), group=name)
    if not sets:
        raise UserError(
            f"{_only(traces, 'device_class')}: training needs {least} shapes at least of one of "
            + "; ".join(", ".join(types) for types in GROUPS.values())
        )
    return sets


def unknown_operators(models: LitertModels, traces: pd.DataFrame) -> list[str]:
    """The types of operator in the traces that the models were not trained on."""
    known = {name for predictor in models.predictors.values() for name in predictor.operator_types}
    return sorted(set(traces["operator_type"]) - known)


def evaluate_litert(models: LitertModels, traces: pd.DataFrame) -> pd.DataFrame:
    """Predicts measured shapes; one row a shape, as `LitertTraining.held_out`. `unknown_operators` are left out.

    Raises UserError where nothing is left.
    """
    unknown = unknown_operators(models, traces)
    known = traces[~traces["operator_type"].isin(unknown)]
    if known.empty:
        raise UserError(f"{models.device_class}: its predictors were not trained on {', '.join(unknown)}")
    frames = []
    for name, predictor in models.predictors.items():
        rows = known[known["operator_type"].isin(GROUPS[name])]
        if len(rows):
            data = _training_set(rows, predictor.vocabulary)
            predicted = predictor.predict_us(data.features)
            low, high = predictor.intervals.bounds(data.features, predicted)
            held_out = HeldOut(predicted, low, high, predictor.outside(data.features))
            frames.append(by_shape(data, held_out, rows))
    return pd.concat(frames, ignore_index=True)


def metrics_of(held_out: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """By operator type the figures over held-out shapes, and under `by_kernel` those of each kernel family."""
    result: dict[str, dict[str, Any]] = {}
    for operator, rows in held_out.groupby("operator"):
        by_kernel = {str(kernel): held_out_metrics(part) for kernel, part in rows.groupby("kernel")}
        result[str(operator)] = {**held_out_metrics(rows), "by_kernel": by_kernel}
    return result


def by_shape(data: TrainingSet, predicted: HeldOut, traces: pd.DataFrame) -> pd.DataFrame:
    """One row a shape: the medians over its rows of what was measured and of what was predicted."""
    rows = pd.DataFrame(
        {
            "shape": data.shapes,
            "kernel": data.kernels,
            "predicted_us": predicted.time_us,
            "low_us": predicted.low_us,
            "high_us": predicted.high_us,
            "outside": predicted.outside,
        }
    )
    # Each observation as often as it was measured: the median is over the rows of the file.
    repeated = rows.loc[rows.index.repeat(data.repeats.astype(int))]
    groups = repeated.groupby("shape", sort=False)
    result = groups[["predicted_us", "low_us", "high_us"]].median()
    result["kernel"], result["outside"] = groups["kernel"].first(), groups["outside"].any()
    measured = pd.Series(_times_us(traces), index=pd.Index([canonical_operator(text) for text in traces["operator"]]))
    result["measured_us"] = measured.groupby(level=0).median()
    result = result.reset_index()
    result.insert(0, "operator", [json.loads(shape)["type"] for shape in result["shape"]])
    return result


def _training_set(rows: pd.DataFrame, vocabulary: Vocabulary | None = None) -> TrainingSet:
    """One observation for each shape and what was fused into it, in a fixed order."""
    quantities = [json.loads(text) for text in rows["quantities"]]
    keyed = pd.DataFrame(
        {
            "shape": [canonical_operator(text) for text in rows["operator"]],
            "fused": [_fusion(of_row) for of_row in quantities],
            "kernel": rows["kernel"].to_numpy(),
            "quantities": rows["quantities"].to_numpy(),
            "time_us": _times_us(rows),
        }
    )
    groups = keyed.groupby(["shape", "fused"], sort=True)
    first, times = groups.first().reset_index(), groups["time_us"]
    kernels = [str(kernel) for kernel in first["kernel"]]
    vocabulary = vocabulary or Vocabulary.of(kernels)
    features = litert_features(plan_table(kernels, list(first["quantities"])), vocabulary)
    return TrainingSet(
        GPU_EXECUTION,
        vocabulary,
        features,
        [str(shape) for shape in first["shape"]],
        kernels,
        times.median().to_numpy(np.float64),
        np.asarray(times.count(), dtype=np.float64),
        "litert",
    )


def _fusion(quantities: Mapping[str, float]) -> str:
    return " ".join(f"{name}={quantities[name]:g}" for name in sorted(quantities) if name.startswith("fused_"))


def _times_us(rows: pd.DataFrame) -> list[float]:
    """Of each trace the median over its repetitions, in us."""
    pairs = zip(rows["start_ns"], rows["end_ns"], strict=True)
    return [float(np.median(np.asarray(end) - np.asarray(start))) / 1e3 for start, end in pairs]


def _only(traces: pd.DataFrame, column: str) -> str:
    values = traces[column].unique()
    if len(values) != 1:
        raise UserError(f"these are traces of {len(values)} {column.replace('_', ' ')}s; one is trained at a time")
    return str(values[0])
