"""A new phone from a few probes, replayed on USC's data set: each phone in turn is new, the others are its elders.

Needs USC's tflite_cnn_ops_gpu.csv, named by SPLITFLEET_USC_CSV. SPLITFLEET_REPLAY_SEEDS (default 0,1,2: draws of folds)
and SPLITFLEET_REPLAY_PHONES (default all: which are new in turn) make it shorter.

Shapes are in five folds. The strict setting: elders are trained on four folds, probes are chosen from the same four,
and errors are counted on the fifth, which nobody has measured. The lenient one: elders are trained on all shapes, those
of the fifth fold too. Errors are of convolutions, by shape, whose measured and predicted times are medians over rows.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from splitfleet.kernels.litert.usc import PHONE_GPUS
from splitfleet.pipeline.trace_import import import_traces
from splitfleet.predictors.breakdown import held_out_metrics
from splitfleet.predictors.fitting import HeldOut, fit_predictor
from splitfleet.predictors.litert_train import by_shape, litert_sets
from splitfleet.predictors.observations import TrainingSet
from splitfleet.predictors.predictor import Floats, Predictor
from splitfleet.predictors.probing import centres
from splitfleet.predictors.traces import read_traces
from splitfleet.predictors.transfer import transfer

RECORDED = "SPLITFLEET_USC_CSV"
SEEDS = tuple(map(int, os.environ.get("SPLITFLEET_REPLAY_SEEDS", "0,1,2").split(",")))
PHONES = tuple(os.environ.get("SPLITFLEET_REPLAY_PHONES", ",".join(PHONE_GPUS)).split(","))
COUNTS, FOLDS = (25, 100), 5

pytestmark = pytest.mark.skipif(RECORDED not in os.environ, reason=f"{RECORDED} does not name tflite_cnn_ops_gpu.csv")


def bench_adopt(tmp_path: Path) -> None:
    """MAPE and share within 10 % by phone and number of probes, mean over folds and seeds."""
    traces = {phone: _traces(phone, tmp_path) for phone in PHONE_GPUS}
    sets = {phone: litert_sets(rows)["products"] for phone, rows in traces.items()}
    found: dict[tuple[str, int, str], list[dict[str, float]]] = {}
    whole = {phone: fit_predictor(data, np.arange(len(data.shapes)), 0) for phone, data in sets.items()}
    for seed in SEEDS:
        for fold in _folds(sets, seed):
            known = {phone: fit_predictor(data, _rows(data, fold, inside=False), 0) for phone, data in sets.items()}
            for new in PHONES:
                for setting, models in (("strict", known), ("lenient", whole)):
                    elders = [model for phone, model in models.items() if phone != new]
                    for count in COUNTS:
                        figures = _replayed(traces[new], sets[new], fold, elders, count, seed)
                        found.setdefault((new, count, setting), []).append(figures)
        _show(found)


def bench_from_scratch(tmp_path: Path) -> None:
    """The same probes without elders."""
    traces = {phone: _traces(phone, tmp_path) for phone in PHONE_GPUS}
    sets = {phone: litert_sets(rows)["products"] for phone, rows in traces.items()}
    found: dict[tuple[str, int, str], list[dict[str, float]]] = {}
    for seed in SEEDS:
        for fold in _folds(sets, seed):
            for new in PHONES:
                for count in COUNTS:
                    figures = _replayed(traces[new], sets[new], fold, [], count, seed)
                    found.setdefault((new, count, "from scratch"), []).append(figures)
    _show(found)


def _replayed(
    traces: pd.DataFrame, data: TrainingSet, fold: set[str], elders: list[Predictor], count: int, seed: int
) -> dict[str, float]:
    """The figures on the fold's convolutions of a transfer from `count` probes outside it."""
    candidates = _convolutions(data, _first(data, _rows(data, fold, inside=False)))
    probes = candidates[centres(data.features.iloc[candidates], count)]
    predictor = transfer(data, elders, 0, probes) if elders else fit_predictor(data, probes, 0)
    test = _convolutions(data, _rows(data, fold, inside=True))
    predicted: Floats = np.ones(len(data.shapes))
    frame = data.features.iloc[test]
    predicted[test] = predictor.predict_us(frame)
    low, high = predicted.copy(), predicted.copy()
    low[test], high[test] = predictor.intervals.bounds(frame, predicted[test])
    rows = by_shape(data, HeldOut(predicted, low, high, np.zeros(len(predicted), dtype=bool)), traces)
    return held_out_metrics(rows[rows["shape"].isin({data.shapes[row] for row in test})])


def _folds(sets: dict[str, TrainingSet], seed: int) -> list[set[str]]:
    shapes = sorted(set().union(*(data.shapes for data in sets.values())))
    order = np.random.default_rng(seed).permutation(len(shapes))
    return [{shapes[index] for index in part} for part in np.array_split(order, FOLDS)]


def _rows(data: TrainingSet, fold: set[str], *, inside: bool) -> np.ndarray:
    return np.array([row for row, shape in enumerate(data.shapes) if (shape in fold) == inside])


def _first(data: TrainingSet, rows: np.ndarray) -> np.ndarray:
    """One row a shape: the fusion that was measured most often."""
    ordered = rows[np.lexsort((rows, -data.repeats[rows], data.shape_of[rows]))]
    _, first = np.unique(data.shape_of[ordered], return_index=True)
    return np.sort(ordered[first])


def _convolutions(data: TrainingSet, rows: np.ndarray) -> np.ndarray:
    return np.array([row for row in rows if '"type":"conv2d"' in data.shapes[row]])


def _traces(phone: str, folder: Path) -> pd.DataFrame:
    into = folder / phone
    if not into.exists():
        import_traces(Path(os.environ[RECORDED]), into, format="usc-mobile-ml", phone=phone, gpu=PHONE_GPUS[phone])
    return read_traces(into)


def _show(found: dict[tuple[str, int, str], list[dict[str, float]]]) -> None:
    print("\nphone, probes, setting: MAPE, median, within 10 %, coverage of 90 % intervals, width; folds x seeds")
    for (phone, count, setting), figures in sorted(found.items()):
        names = ("mape", "median_ape", "within_10", "coverage_90", "width")
        means = ", ".join(f"{np.mean([figure[name] for figure in figures]):.2f}" for name in names)
        print(f"{phone}, {count}, {setting}: {means}; {len(figures)}", flush=True)
