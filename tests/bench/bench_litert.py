"""What dispatch features from the LiteRT lowering are worth on real phones, against sizes alone, in the same run.

Needs USC's tflite_cnn_ops_gpu.csv, named by SPLITFLEET_USC_CSV. Convolutions' latencies are predicted for each phone,
5-fold, by shape: a shape is predicted by a model that has not seen it, and all its rows count as one median.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray

from splitfleet.kernels import Operator
from splitfleet.kernels.litert import LitertGpu, lower_many
from splitfleet.kernels.litert.usc import PHONE_GPUS, Recorded, read_recorded
from splitfleet.predictors.features import Vocabulary, gpu_features
from splitfleet.predictors.fitting import BOOSTER_PARAMETERS, predict_held_out
from splitfleet.predictors.metrics import error_metrics
from splitfleet.predictors.observations import TrainingSet
from splitfleet.predictors.predictor import GPU_EXECUTION

RECORDED = "SPLITFLEET_USC_CSV"
SHAPE = ["in_height", "in_channels", "kernel_h", "stride", "pad_h", "m", "n"]
SIZES = ["flops", "input_bytes", "weight_bytes", "output_bytes"]
# One booster for all three sets of features, fitted to the logarithm of the latency.
BOOSTER = {**BOOSTER_PARAMETERS, "objective": "regression", "num_leaves": 15, "seed": 0}
ROUNDS, FOLDS = 400, 5

Floats = NDArray[np.float64]


@pytest.mark.skipif(RECORDED not in os.environ, reason=f"{RECORDED} does not name tflite_cnn_ops_gpu.csv")
def bench_dispatch_features_on_phones() -> None:
    recorded = read_recorded(Path(os.environ[RECORDED]))
    print("\nMAPE in %, share within 10 %: shape; with sizes; with dispatch; dispatch and cost model")
    for phone, name in PHONE_GPUS.items():
        operators, latency_us = _medians(recorded, phone)
        data = _training_set(operators, latency_us, LitertGpu.from_name(name))
        table = lower_many(operators, LitertGpu.from_name(name))
        matrices = [table[SHAPE], table[SHAPE + SIZES], data.features]
        predictions = [_boosted(matrix.to_numpy(np.float64), latency_us) for matrix in matrices]
        predictions.append(predict_held_out(data, seed=0))
        errors = [error_metrics(latency_us, predicted_us) for predicted_us in predictions]
        figures = "; ".join(f"{error['mape']:.1f}, {error['within_10']:.0f} %" for error in errors)
        print(f"{phone} ({name}), {len(operators)} shapes: {figures}", flush=True)


def _medians(recorded: list[Recorded], phone: str) -> tuple[list[Operator], Floats]:
    times: dict[Operator, list[float]] = defaultdict(list)
    for row in recorded:
        if row.phone == phone and row.operation == "CONV_2D":
            times[row.operator].append(row.latency_us)
    return list(times), np.array([np.median(of_shape) for of_shape in times.values()])


def _training_set(operators: list[Operator], latency_us: Floats, gpu: LitertGpu) -> TrainingSet:
    table = lower_many(operators, gpu)
    kernels = [str(kernel) for kernel in table["kernel"]]
    vocabulary = Vocabulary.of(kernels)
    shapes = [json.dumps(operator.to_json()) for operator in operators]
    return TrainingSet(GPU_EXECUTION, vocabulary, gpu_features(table, vocabulary), shapes, kernels, latency_us)


def _boosted(matrix: Floats, latency_us: Floats) -> Floats:
    predicted = np.zeros(len(latency_us))
    for test in np.array_split(np.random.default_rng(0).permutation(len(latency_us)), FOLDS):
        train = np.setdiff1d(np.arange(len(latency_us)), test)
        data = lightgbm.Dataset(matrix[train], np.log(latency_us[train]), params=BOOSTER)
        predicted[test] = np.exp(lightgbm.train(BOOSTER, data, ROUNDS).predict(matrix[test]))
    return predicted
