"""How many shapes a phone needs: the error against the number of shapes, drawn at random and chosen, replayed.

Needs USC's tflite_cnn_ops_gpu.csv, named by SPLITFLEET_USC_CSV. SPLITFLEET_REPLAY_SEEDS (default 0,1,2) and
SPLITFLEET_REPLAY_PHONES (default all) make it shorter. Convolutions; a random fifth of the shapes is the test, the rest
may be measured. Chosen shapes: 40 that are spread by k-means, then batches by `propose`, as a campaign with
sampling = "adaptive" does. The goal is the error that plain LightGBM (bench_replay.py) has from 600 random shapes.
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
from splitfleet.predictors.fitting import HeldOut, fit_predictor
from splitfleet.predictors.litert_train import by_shape, litert_sets
from splitfleet.predictors.observations import TrainingSet
from splitfleet.predictors.predictor import Floats
from splitfleet.predictors.probing import centres
from splitfleet.predictors.proposing import Known, propose
from splitfleet.predictors.traces import read_traces

from ..predictors.test_proposing import part
from .bench_replay import PLAIN, RECORDED, ROUNDS, SHAPE, SIZES

SEEDS = tuple(map(int, os.environ.get("SPLITFLEET_REPLAY_SEEDS", "0,1,2").split(",")))
PHONES = tuple(os.environ.get("SPLITFLEET_REPLAY_PHONES", ",".join(PHONE_GPUS)).split(","))
START, COUNTS, PLAIN_SHAPES = 40, (60, 80, 100, 130, 160, 200, 250), 600

pytestmark = pytest.mark.skipif(RECORDED not in os.environ, reason=f"{RECORDED} does not name tflite_cnn_ops_gpu.csv")


def bench_learning_curve(tmp_path: Path) -> None:
    """MAPE by number of shapes, random and chosen, and of plain LightGBM at 600; mean over seeds."""
    for phone in PHONES:
        import_traces(
            Path(os.environ[RECORDED]), tmp_path / phone, format="usc-mobile-ml", phone=phone, gpu=PHONE_GPUS[phone]
        )
        traces = read_traces(tmp_path / phone)
        traces = traces[traces["operator_type"] == "conv2d"]
        data = litert_sets(traces)["products"]
        found: dict[str, list[float]] = {}
        for seed in SEEDS:
            shapes = np.random.default_rng(seed).permutation(data.shape_of.max() + 1)
            test, pool = _rows(data, shapes[: len(shapes) // 5]), shapes[len(shapes) // 5 :]
            plain = _plain(data, _rows(data, pool[:PLAIN_SHAPES]), test, seed)
            found.setdefault("plain LightGBM, 600 random", []).append(_mape(traces, data, test, plain))
            chosen = _chosen(data, pool, seed)
            for count in COUNTS:
                for name, order in (("random", pool), ("chosen", chosen)):
                    predictor = fit_predictor(data, _rows(data, order[:count]), seed)
                    times = predictor.predict_us(data.features.iloc[test])
                    found.setdefault(f"{count} {name}", []).append(_mape(traces, data, test, times))
        for name, mapes in found.items():
            print(f"{phone}, {name}: {np.mean(mapes):.2f} %", flush=True)


def _chosen(data: TrainingSet, pool: np.ndarray, seed: int) -> np.ndarray:
    """Shapes of the pool in the order in which they would be measured."""
    first = np.array([int(_rows(data, np.array([shape]))[0]) for shape in pool])
    frame = data.features.iloc[first]
    order = list(centres(frame, START))
    for count in COUNTS:
        known = Known.of(part(data, _rows(data, pool[order])), seed)
        kinds = ["measured" if row in order else "conv2d" for row in range(len(pool))]
        order += [int(one) for one in propose([known.unknown(frame)], kinds, {"conv2d": count - len(order)})]
    return np.asarray(pool[order])


def _plain(data: TrainingSet, train: np.ndarray, test: np.ndarray, seed: int) -> Floats:
    matrix = data.features[[*SHAPE, *SIZES]].to_numpy()
    dataset = lightgbm.Dataset(matrix[train], np.log(data.time_us[train]))
    booster = lightgbm.train({**PLAIN, "seed": seed}, dataset, ROUNDS)
    return np.exp(np.asarray(booster.predict(matrix[test], num_threads=1)))


def _mape(traces: pd.DataFrame, data: TrainingSet, test: np.ndarray, times: Floats) -> float:
    predicted = np.ones(len(data.shapes))
    predicted[test] = times
    rows = by_shape(data, HeldOut(predicted, predicted, predicted, np.zeros(len(predicted), dtype=bool)), traces)
    return held_out_metrics(rows[rows["shape"].isin({data.shapes[row] for row in test})])["mape"]


def _rows(data: TrainingSet, shapes: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.isin(data.shape_of, shapes))
