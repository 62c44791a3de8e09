"""Searches the booster's settings for each group of LiteRT's operators, once: random search with a stated budget.

    SPLITFLEET_USC_CSV=tflite_cnn_ops_gpu.csv python -m tests.bench.search_boosters

The budget is 24 settings a group (SPLITFLEET_SEARCH_SETTINGS), drawn with seed 0, beside the settings that
`predictors/design.py` starts from. Each is judged on two phones (Pixel 4, Galaxy S10) by five folds over shapes: the
mean absolute error of log(time / cost model), of the number of trees that is best, as training chooses it. A setting
takes the place of the first only if it is better on both phones. What is found is kept in `predictors/settings.json`.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd

from splitfleet.kernels.litert.usc import PHONE_GPUS
from splitfleet.pipeline.trace_import import import_traces
from splitfleet.predictors.cost_model import fit_cost_model
from splitfleet.predictors.design import design_of
from splitfleet.predictors.features import CATEGORICAL
from splitfleet.predictors.fitting import shape_folds
from splitfleet.predictors.litert_train import litert_sets
from splitfleet.predictors.observations import TrainingSet
from splitfleet.predictors.predictor import GPU_EXECUTION
from splitfleet.predictors.settings import SETTINGS_FILE
from splitfleet.predictors.traces import read_traces

_PHONES = ("pixel4", "s10")
_BUDGET = int(os.environ.get("SPLITFLEET_SEARCH_SETTINGS", "24"))
_ROUNDS = (10, 25, 50, 100, 200, 400)
_FOLDS, _SEED = 5, 0
_SPACE: dict[str, tuple[Any, ...]] = {
    "learning_rate": (0.02, 0.03, 0.04, 0.06),
    "num_leaves": (4, 6, 8, 12, 15, 20),
    "min_data_in_leaf": (3, 5, 8, 12),
    "feature_fraction": (0.3, 0.5, 0.7, 1.0),
    "lambda_l2": (0.0, 1.0, 5.0),
    "objective": ("regression", "regression_l1"),
}


def main() -> None:
    sets = {phone: _sets(phone) for phone in _PHONES}
    start = design_of(GPU_EXECUTION, "litert").booster
    found: dict[str, dict[str, Any]] = {}
    for group in sorted(set.intersection(*(set(of_phone) for of_phone in sets.values()))):
        data = [of_phone[group] for of_phone in sets.values()]
        folds = [list(_folds(one)) for one in data]
        first = [_error(of_phone, start) for of_phone in folds]
        best, best_errors = {}, first
        for setting in _draw():
            errors = [_error(of_phone, {**start, **setting}) for of_phone in folds]
            better = all(new < old for new, old in zip(errors, first, strict=True))
            if better and np.mean(errors) < np.mean(best_errors):
                best, best_errors = setting, errors
        print(
            f"{group}: {_text(first)} -> {_text(best_errors)} with {best or 'the settings it started from'}", flush=True
        )
        if best:
            found[group] = best
    SETTINGS_FILE.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", "utf-8")


def _sets(phone: str) -> dict[str, TrainingSet]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(os.environ["SPLITFLEET_USC_CSV"])
        import_traces(file, Path(folder), format="usc-mobile-ml", phone=phone, gpu=PHONE_GPUS[phone])
        return litert_sets(read_traces(Path(folder)))


def _draw() -> Iterator[dict[str, Any]]:
    draw = np.random.default_rng(_SEED)
    for _ in range(_BUDGET):
        yield {name: values[draw.integers(len(values))] for name, values in _SPACE.items()}


def _folds(data: TrainingSet) -> Iterator[tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]]:
    """Of each fold the features to train on, the matrix held out, and what is wanted of either."""
    every = np.arange(len(data.time_us))
    for test in shape_folds(data.shape_of, _FOLDS, _SEED):
        train = np.setdiff1d(every, test)
        frame = data.features.iloc[train]
        terms = design_of(GPU_EXECUTION, "litert").terms
        model = fit_cost_model(frame, data.time_us[train], terms, data.vocabulary.families)
        wanted = np.log(data.time_us / model.predict_us(data.features))
        yield frame, data.features.iloc[test].to_numpy(np.float64), wanted[train], wanted[test]


def _error(folds: list[Any], setting: Mapping[str, Any]) -> float:
    """The mean absolute error in the logarithm, with the best number of trees."""
    errors = np.zeros((len(_ROUNDS), len(folds)))
    for column, (frame, matrix, residual, wanted) in enumerate(folds):
        dataset = lightgbm.Dataset(
            frame.to_numpy(np.float64),
            residual,
            feature_name=list(frame.columns),
            categorical_feature=list(CATEGORICAL),
            params=dict(setting),
        )
        booster = lightgbm.train({**setting, "seed": _SEED}, dataset, max(_ROUNDS))
        for row, rounds in enumerate(_ROUNDS):
            score = booster.predict(matrix, raw_score=True, num_iteration=rounds, num_threads=1)
            errors[row, column] = np.abs(wanted - score).mean()
    return float(errors.mean(axis=1).min())


def _text(errors: list[float]) -> str:
    return ", ".join(f"{phone} {100 * error:.2f} %" for phone, error in zip(_PHONES, errors, strict=True))


if __name__ == "__main__":
    main()
