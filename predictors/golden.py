"""Golden vectors: for some shapes, what each step from shape to time must give, so that a reader can prove itself."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
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
    for target, predictor in sorted(models.predictors.items()):
        own = [vector for vector in vectors if vector["target"] == target]
        if not own:
            raise UserError(f"{where}: no golden vector for {target}; get the package again")
        operators = [operator_from_json(vector["operator"]) for vector in own]
        what = [f"{where}: {target} of {operator.label}" for operator in operators]
        is_gpu = threads_of(target) is None
        launches = lower_many(operators, device, precision=models.precision, tuned=models.tuning) if is_gpu else None
        frame = predictor.features(describe_many(operators) if launches is None else launches)
        for name, found, vector in zip(what, frame.to_numpy(), own, strict=True):
            if list(found) != vector["features"]:
                raise UserError(
                    f"{name}: this version of Splitfleet computes other features than the predictor was trained on; "
                    "use the version that wrote the package, or run the campaign again"
                )
        check_scores(predictor, frame, own, what)


def check_scores(
    predictor: Predictor, frame: pd.DataFrame, vectors: Sequence[Mapping[str, Any]], what: Sequence[str]
) -> None:
    """Raises UserError where a vector's raw score or time is not what the predictor gives for its row of `frame`.

    `what` [n] names the vectors [n] in errors.
    """
    scores, times_us = predictor.raw_score(frame), predictor.predict_us(frame)
    for name, vector, score, time_us in zip(what, vectors, scores, times_us, strict=True):
        if float(score) != vector["raw_score"]:
            raise UserError(f"{name}: raw score {score!r} instead of {vector['raw_score']!r}; get the package again")
        allowed = _ULPS * math.ulp(vector["time_us"])
        if predictor.process is not None:
            allowed = _PROCESS_TOLERANCE * vector["time_us"]
        if not abs(float(time_us) - vector["time_us"]) <= allowed:
            raise UserError(f"{name}: {time_us!r} us instead of {vector['time_us']!r}; get the package again")
