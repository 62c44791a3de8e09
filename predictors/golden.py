"""Golden vectors: for some shapes, what each step from shape to time must give, so that a reader can prove itself."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from splitfleet.kernels import Device, describe_many, lower_many, operator_from_json
from splitfleet.kernels.errors import UserError

from .models import DeviceModels
from .observations import TrainingSet
from .predictor import Predictor, threads_of

SCHEMA_VERSION = 1
_VECTORS_PER_TARGET = 8
_ULPS = 1
_PROCESS_TOLERANCE = 1e-9  # relative: a process is matrix products, whose last bits depend on the machine


def golden_vectors(predictors: Mapping[str, Predictor], training: Mapping[str, TrainingSet]) -> dict[str, Any]:
    """Vectors of some training shapes of each target, spread evenly over them."""
    vectors = []
    for target, predictor in sorted(predictors.items()):
        data = training[target]
        count = min(_VECTORS_PER_TARGET, len(data.shapes))
        rows = np.linspace(0, len(data.shapes) - 1, count).round().astype(int)
        frame = data.features.iloc[rows]
        scores, times = predictor.raw_score(frame), predictor.predict_us(frame)
        for row, score, time_us in zip(rows, scores, times, strict=True):
            vectors.append(
                {
                    "target": target,
                    "operator": json.loads(data.shapes[row]),
                    "features": [float(value) for value in data.features.iloc[row]],
                    "raw_score": float(score),
                    "time_us": float(time_us),
                }
            )
    return {"schema": SCHEMA_VERSION, "vectors": vectors}


def check_golden(vectors: list[dict[str, Any]], models: DeviceModels, device: Device, where: str) -> None:
    """Computes every vector again. Raises UserError naming the first that differs, and in what."""
    predictors = models.predictors
    if missing := sorted(set(predictors) - {vector["target"] for vector in vectors}):
        raise UserError(f"{where}: no golden vector for {missing[0]}; get the package again")
    for vector in vectors:
        predictor = predictors[vector["target"]]
        operator = operator_from_json(vector["operator"])
        what = f"{where}: {vector['target']} of {operator.label}"
        is_gpu = threads_of(predictor.target) is None
        launches = lower_many([operator], device, precision=models.precision, tuned=models.tuning) if is_gpu else None
        frame = predictor.features(describe_many([operator]) if launches is None else launches)
        if list(frame.iloc[0]) != vector["features"]:
            raise UserError(
                f"{what}: this version of Splitfleet computes other features than the predictor was trained on; "
                "use the version that wrote the package, or run the campaign again"
            )
        check_scores(predictor, frame, vector, what)


def check_scores(predictor: Predictor, frame: pd.DataFrame, vector: Mapping[str, Any], what: str) -> None:
    """Raises UserError where a vector's raw score or time is not what the predictor gives for its features."""
    score = float(predictor.raw_score(frame)[0])
    if score != vector["raw_score"]:
        raise UserError(f"{what}: raw score {score!r} instead of {vector['raw_score']!r}; get the package again")
    time_us = float(predictor.predict_us(frame)[0])
    allowed = _ULPS * math.ulp(vector["time_us"])
    if predictor.process is not None:
        allowed = _PROCESS_TOLERANCE * vector["time_us"]
    if not abs(time_us - vector["time_us"]) <= allowed:
        raise UserError(f"{what}: {time_us!r} us instead of {vector['time_us']!r}; get the package again")
