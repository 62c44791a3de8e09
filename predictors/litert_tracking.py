"""Logging the training on imported traces of LiteRT's GPU delegate: the same runs as a campaign's.

The import's folder is the campaign, each phone's GPU a device class, each group of operators a predictor.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from splitfleet.kernels import Operator
from splitfleet.kernels.errors import UserError
from splitfleet.kernels.litert import LitertGpu
from splitfleet.kernels.litert.operations import lower_operations, operation_from_json

from .litert_train import LitertTraining
from .registry import CHAMPION, PROVISIONAL, find_version, list_packages, package_file
from .tracking import ClassRun, PredictorRun, TrainingRuns, log_runs
from .tracking_leftovers import training_id
from .tracking_notes import litert_campaign_note, litert_class_note, litert_predictor_note
from .tracking_store import tracking_uri

if TYPE_CHECKING:
    from .plots import Curve

RUNTIME = "litert"


def log_litert(results: Sequence[LitertTraining], name: str) -> TrainingRuns:
    """Logs trainings on imported traces as nested runs; `name` is the import's. Raises UserError as `log_runs`."""
    data = {result.models.device_class: result.training for result in results}
    classes = [_class_run(result) for result in results]
    return log_runs(classes, name, litert_campaign_note(name, results), training_id(name, data), RUNTIME)


def champion_or_provisional(device_class: str) -> Path:
    """A local file with the champion package of a device class, or with an adopted phone's provisional one.

    Raises UserError where there is neither.
    """
    advice = (
        f"train it first (splitfleet train), or name a folder that was trained with --model; store {tracking_uri()}"
    )
    aliases = {alias for one in list_packages() if one.device_class == device_class for alias in one.aliases}
    for alias in (CHAMPION, PROVISIONAL):
        if alias in aliases:
            return package_file(find_version(f"{device_class}@{alias}"))
    raise UserError(f"{device_class}: no model is registered; {advice}")


def _class_run(result: LitertTraining) -> ClassRun:
    models = result.models
    return ClassRun(
        models.device_class,
        litert_class_note(result),
        result.seed,
        {"phones": ", ".join(result.phones), "gpu": models.operating_point["gpu"]},
        {f"{operator}/{name}": value for operator, all_ in result.metrics.items() for name, value in _flat(all_)},
        {},
        [_predictor_run(result, group) for group in models.predictors],
        models.operating_point,
    )


def _predictor_run(result: LitertTraining, group: str) -> PredictorRun:
    predictor = result.models.predictors[group]
    rows = result.held_out[result.held_out["operator"].isin(predictor.operator_types)]
    operators = [operator for operator in predictor.operator_types if operator in result.metrics]
    of_operators = {
        f"{operator}/{name}": value
        for operator in operators
        if len(operators) > 1
        for name, value in _flat(result.metrics[operator])
    }
    return PredictorRun(
        group,
        f"{', '.join(predictor.operator_types)}: GPU time on {result.models.device_class}",
        litert_predictor_note(result, group),
        predictor,
        result.training[group],
        rows,
        result.learning.get(group, ()),
        partial(_curves, result, group),
        of_operators,
    )


def _curves(result: LitertTraining, group: str) -> list[Curve]:
    """Along the output channels of the layers that have some; what LiteRT alone runs (means, ...) has no such curve."""
    from .plots import channel_curves

    models = result.models
    gpu, precision = LitertGpu.from_name(models.operating_point["gpu"]), models.operating_point["precision"]
    rows = result.held_out[result.held_out["operator"].isin(models.predictors[group].operator_types)]
    operations = [operation_from_json(json.loads(shape)) for shape in rows["shape"]]
    channels = [operation.channels if isinstance(operation, Operator) else 0 for operation in operations]

    def table_of(operator: Operator, counts: NDArray[np.int64]) -> pd.DataFrame:
        return lower_operations([operator.with_channels(int(count)) for count in counts], gpu, precision)

    layers = rows.assign(channels=channels).query("channels > 0")
    return channel_curves(layers, models.predictors[group], table_of)


def _flat(metrics: dict[str, Any]) -> list[tuple[str, float]]:
    return [(name, value) for name, value in metrics.items() if name != "by_kernel"]
