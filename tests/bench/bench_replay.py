"""Predictors on the phones of USC's data set, replayed on shapes held out: 5 folds, several seeds; an ablation.

Needs USC's tflite_cnn_ops_gpu.csv, named by SPLITFLEET_USC_CSV. SPLITFLEET_REPLAY_SEEDS (default 0,1,2) and
SPLITFLEET_REPLAY_PHONES (default all) make it shorter. Folds are over shapes: a shape's rows are all held out together,
and count as one, their median. Nothing is chosen on them: trees, shares and widths come from folds inside the rest.
"""

from __future__ import annotations

import os
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest

from splitfleet.kernels.litert.usc import PHONE_GPUS
from splitfleet.pipeline.trace_import import import_traces
from splitfleet.predictors.breakdown import held_out_metrics
from splitfleet.predictors.cost_model import fit_cost_model
from splitfleet.predictors.fitting import HeldOut, predict_held_out, shape_folds
from splitfleet.predictors.litert_train import by_shape, litert_sets
from splitfleet.predictors.observations import TrainingSet
from splitfleet.predictors.predictor import Floats
from splitfleet.predictors.traces import read_traces

RECORDED = "SPLITFLEET_USC_CSV"
SEEDS = tuple(map(int, os.environ.get("SPLITFLEET_REPLAY_SEEDS", "0,1,2").split(",")))
PHONES = tuple(os.environ.get("SPLITFLEET_REPLAY_PHONES", ",".join(PHONE_GPUS)).split(","))
FOLDS, ROUNDS = 5, 400
SHAPE = ("in_height", "in_channels", "kernel_h", "stride", "pad_h", "m", "n")
SIZES = ("flops", "input_bytes", "weight_bytes", "output_bytes")
# One booster for all sets of features, fitted to the logarithm of the time.
PLAIN = {
    "objective": "regression", "learning_rate": 0.05, "num_leaves": 15, "min_data_in_leaf": 5, "lambda_l2": 1.0,
    "feature_fraction": 0.7, "bagging_fraction": 0.8, "bagging_freq": 1, "deterministic": True,
    "force_row_wise": True, "num_threads": 1, "verbosity": -1,
}  # fmt: skip

pytestmark = pytest.mark.skipif(RECORDED not in os.environ, reason=f"{RECORDED} does not name tflite_cnn_ops_gpu.csv")


def bench_held_out_shapes(tmp_path: Path) -> None:
    """Every operator on every phone: the mean over seeds of the figures that `splitfleet train` logs."""
    print("\nphone, operator: n, MAPE, median, within 5, 10, 15 %, RMSPE; coverage of 90 % intervals, width, score")
    for phone in PHONES:
        traces = _traces(phone, tmp_path)
        sets = litert_sets(traces)
        by_operator: dict[str, list[dict[str, float]]] = {}
        for seed in SEEDS:
            held = pd.concat([by_shape(data, predict_held_out(data, seed), traces) for data in sets.values()])
            if out := os.environ.get("SPLITFLEET_REPLAY_OUT"):
                held.to_csv(Path(out) / f"held_out_{phone}_{seed}.csv", index=False)
            for operator, rows in held.groupby("operator"):
                by_operator.setdefault(str(operator), []).append(held_out_metrics(rows))
        for operator, figures in by_operator.items():
            print(f"{phone}, {operator}: {_mean(figures)}", flush=True)


def bench_ablation(tmp_path: Path) -> None:
    """Convolutions: what a floor, sizes, launch features, the cost model and the mixture are worth."""
    print("\nMAPE and share within 10 %, mean over seeds, convolutions")
    for phone in PHONES:
        traces = _traces(phone, tmp_path)
        convolutions = traces[traces["operator_type"] == "conv2d"]
        data = litert_sets(convolutions)["products"]
        for name, predict in ABLATION.items():
            figures = [held_out_metrics(by_shape(data, predict(data, seed), convolutions)) for seed in SEEDS]
            mape, within = (np.mean([f[key] for f in figures]) for key in ("mape", "within_10"))
            print(f"{phone}, {name}: {mape:.2f} %, {within:.1f} %", flush=True)


def _traces(phone: str, folder: Path) -> pd.DataFrame:
    into = folder / phone
    import_traces(Path(os.environ[RECORDED]), into, format="usc-mobile-ml", phone=phone, gpu=PHONE_GPUS[phone])
    return read_traces(into)


def _line(data: TrainingSet, seed: int) -> HeldOut:
    """A constant and a rate in FLOPs, fitted on relative error."""

    def fit(train: np.ndarray, test: np.ndarray) -> Floats:
        whole = data.features.assign(family=0.0)
        model = fit_cost_model(whole.iloc[train], data.time_us[train], ("one", "flops"), ("any",))
        return model.predict_us(whole.iloc[test])

    return _folded(data, seed, fit)


def _lookup(data: TrainingSet, seed: int) -> HeldOut:
    """The nearest measured shape's time, by the logarithms of its sizes, scaled by FLOPs."""
    points = np.log(data.features[["m", "n", "k", "in_channels"]].to_numpy())
    flops = data.features["flops"].to_numpy()

    def nearest(train: np.ndarray, test: np.ndarray) -> Floats:
        distances = ((points[test][:, None] - points[train][None]) ** 2).sum(axis=2)
        found = train[np.argmin(distances, axis=1)]
        return np.asarray(data.time_us[found] * flops[test] / flops[found])

    return _folded(data, seed, nearest)


def _boosted(columns: tuple[str, ...] | None, costs: bool = False) -> object:
    """A booster on these columns (None: all), on the logarithm of the time or of time / cost model."""

    def predict(data: TrainingSet, seed: int) -> HeldOut:
        matrix = data.features[list(columns or data.features.columns)].to_numpy()

        def fit(train: np.ndarray, test: np.ndarray) -> Floats:
            cost_us = _cost_us(data, train) if costs else np.ones(len(matrix))
            dataset = lightgbm.Dataset(matrix[train], np.log(data.time_us[train] / cost_us[train]))
            booster = lightgbm.train({**PLAIN, "seed": seed}, dataset, ROUNDS)
            return cost_us[test] * np.exp(np.asarray(booster.predict(matrix[test], num_threads=1)))

        return _folded(data, seed, fit)

    return predict


def _cost_us(data: TrainingSet, train: np.ndarray) -> Floats:
    frame = data.features.iloc[train]
    model = fit_cost_model(frame, data.time_us[train], data.design.terms, data.vocabulary.families)
    return model.predict_us(data.features)


def _cost_model(data: TrainingSet, seed: int) -> HeldOut:
    return _folded(data, seed, lambda train, test: _cost_us(data, train)[test])


def _folded(data: TrainingSet, seed: int, predict: object) -> HeldOut:
    times = np.zeros(len(data.time_us))
    for test in shape_folds(data.shape_of, FOLDS, seed):
        times[test] = predict(np.setdiff1d(np.arange(len(times)), test), test)  # type: ignore[operator]
    return HeldOut(times, times, times, np.zeros(len(times), dtype=bool))


def _mean(figures: list[dict[str, float]]) -> str:
    means = {key: np.mean([figure[key] for figure in figures]) for key in figures[0]}
    names = ("mape", "median_ape", "within_5", "within_10", "within_15", "rmspe", "coverage_90", "width", "score")
    return f"{means['n']:.0f}; " + ", ".join(f"{means[name]:.2f}" for name in names)


ABLATION = {
    "line in FLOPs": _line,
    "lookup table": _lookup,
    "shapes": _boosted(SHAPE),
    "shapes and sizes": _boosted((*SHAPE, *SIZES)),
    "with launches and what is fused": _boosted(None),
    "cost model": _cost_model,
    "cost model and booster": _boosted(None, costs=True),
}
