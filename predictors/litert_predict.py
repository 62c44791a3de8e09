"""Predicting operators by name on a GPU under LiteRT, from the models alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.litert import LitertGpu
from splitfleet.kernels.litert.operations import Operation, lower_operations, parse_operation
from splitfleet.kernels.litert.usc_operations import FUSED

from .litert_train import GROUPS, LitertModels


def predict_operations(models: LitertModels, texts: Sequence[str]) -> pd.DataFrame:
    """`predict_fused` of operators by their texts; nothing is fused into them.

    Raises UserError for a text that is no operator or has an epilogue, or a type not trained on.
    """
    operations = [parse_operation(text) for text in texts]
    for operation in operations:
        if getattr(operation, "epilogue", "none") != "none":
            raise UserError(f"{operation.label}: nothing is fused into an operator alone; leave its epilogue out")
    return predict_fused(models, [(operation, {}) for operation in operations])


def predict_fused(models: LitertModels, listed: Sequence[tuple[Operation, Mapping[str, int]]]) -> pd.DataFrame:
    """One row an operation: operator (its text), kernel, predicted_us, low_us, high_us (90 %), outside (what was seen).

    Each comes with the layers fused into it, as {"add": 1}; kinds are those of `usc_operations.FUSED`. Raises
    UserError for a type not trained on.
    """
    operations = [operation for operation, _ in listed]
    gpu = LitertGpu.from_name(models.operating_point["gpu"])
    table = lower_operations(operations, gpu, models.operating_point["precision"])
    table = table.assign(**{f"fused_{kind}": [fused.get(kind, 0) for _, fused in listed] for kind in FUSED})
    types = pd.Series([operation.type for operation in operations], index=table.index, dtype=object)
    known = {name for predictor in models.predictors.values() for name in predictor.operator_types}
    if missing := sorted(set(types) - known):
        raise UserError(f"{models.device_class}: its predictors were not trained on {', '.join(missing)}")
    parts = []
    for group, predictor in models.predictors.items():
        rows = table[types.isin(GROUPS[group])]
        if len(rows):
            frame = predictor.features(rows)
            low, high = predictor.bounds_us(frame)
            values = {"predicted_us": predictor.predict_us(frame), "low_us": low, "high_us": high}
            parts.append(pd.DataFrame({**values, "outside": predictor.outside(frame)}, index=rows.index))
    result = pd.concat(parts).sort_index()
    result.insert(0, "operator", [operation.label for operation in operations])
    result.insert(1, "kernel", table["kernel"])
    return result
