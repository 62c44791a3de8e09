"""Logging the training of a campaign's device classes: predictors of our own kernels and of the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from splitfleet.kernels import Device, describe_channels, lower_channels

from .predictor import threads_of
from .tracking import ClassRun, PredictorRun, TrainingRuns, log_runs
from .tracking_leftovers import training_id
from .tracking_notes import campaign_note, class_note, predictor_note
from .train import ClassModels

if TYPE_CHECKING:
    from .plots import Curve

RUNTIME = "splitfleet"


def log_training(results: Sequence[ClassModels], campaign: str) -> TrainingRuns:
    """Logs the training of all device classes of a campaign as nested runs.

    Raises UserError when the MLflow store cannot be used.
    """
    data = {result.models.device_class: result.training for result in results}
    classes = [_class_run(result) for result in results]
    return log_runs(classes, campaign, campaign_note(campaign, results), training_id(campaign, data), RUNTIME)


def _class_run(result: ClassModels) -> ClassRun:
    costs = result.models.costs
    figures = {
        f"{target}/{name}": value for target, all_ in result.metrics.items() for name, value in _flat(all_).items()
    }
    joins = {f"join_us/{join}/t{n}": us for join, by in costs.join_us.items() for n, us in by.items()}
    waits = {f"completion_us/{wait}": us for wait, us in costs.completion_us.items()}
    return ClassRun(
        result.models.device_class,
        class_note(result),
        result.seed,
        {
            "model": result.profile.get("model", ""),
            "soc": result.profile.get("soc", ""),
            "gpu": result.profile["capabilities"]["opencl"]["device"],
            "cpu_backend": result.models.backend,
        },
        {**figures, **joins, **waits, "svm_poll_allowed": costs.checked.allow_polling},
        {"constants.json": result.models.constants_json(), "profile.json": result.profile},
        [_predictor_run(result, target) for target in result.models.predictors],
        result.operating_point,
    )


def _predictor_run(result: ClassModels, target: str) -> PredictorRun:
    rows = result.held_out[result.held_out["target"] == target]
    return PredictorRun(
        target,
        f"{_what(target)} on {result.models.device_class}",
        predictor_note(result, target),
        result.models.predictors[target],
        result.training[target],
        rows,
        result.learning.get(target, ()),
        partial(_curves, result, target),
    )


def _curves(result: ClassModels, target: str) -> list[Curve]:
    from .plots import channel_curves

    models = result.models
    device = Device.from_capabilities(result.profile["capabilities"])
    lower = partial(lower_channels, device=device, precision=models.precision, tuned=models.tuning)
    table_of = lower if threads_of(target) is None else describe_channels
    return channel_curves(result.held_out[result.held_out["target"] == target], models.predictors[target], table_of)


def _what(target: str) -> str:
    threads = threads_of(target)
    if threads is None:
        return {"gpu_execution": "GPU execution time", "gpu_dispatch": "GPU dispatch time"}[target]
    return f"CPU time, {threads} thread{'s' if threads != 1 else ''}"


def _flat(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name != "by_kernel"}
