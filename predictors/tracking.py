"""Training runs in MLflow, of whatever was trained: a campaign, below it its device classes, below those predictors.

What a device class and a predictor are logged with is the same for our own kernels (`training_runs`) and for LiteRT's
(`litert_tracking`). Packages are runs below their device class, too (`registry`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pandas as pd

from .archive import canonical_json
from .breakdown import by_family, by_size, held_out_metrics, with_flops
from .learning import LearningCurve
from .observations import TrainingSet
from .predictor import Predictor
from .revision import git_revision
from .tracking_leftovers import TRAINING_TAG, remove_unfinished
from .tracking_store import connect, experiment_id, rounded, store_errors

if TYPE_CHECKING:
    from .plots import Curve


@dataclass(frozen=True)
class PredictorRun:
    """What is logged of one predictor. `held_out` are its rows: shape, kernel, measured_us, predicted_us, low_us,
    high_us, outside. `curves` draws on request the latency along output channels. `more` are further figures."""

    name: str
    title: str
    note: str
    predictor: Predictor
    data: TrainingSet
    held_out: pd.DataFrame
    learning: LearningCurve
    curves: Callable[[], list[Curve]]
    more: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ClassRun:
    """What is logged of one device class. `files` are JSON files of the run by name."""

    device_class: str
    note: str
    seed: int
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    files: Mapping[str, Any]
    predictors: Sequence[PredictorRun]
    operating_point: Mapping[str, Any]


@dataclass(frozen=True)
class TrainingRuns:
    """The MLflow run ids of one training: the campaign's, and each device class's."""

    campaign_run: str
    class_runs: dict[str, str]


def log_runs(classes: Sequence[ClassRun], campaign: str, note: str, training: str, runtime: str) -> TrainingRuns:
    """Logs the training of all device classes of a campaign as nested runs. `training` names what was trained on.

    What an earlier call with the same training left unfinished, since the store went away, is removed first.
    Raises UserError when the MLflow store cannot be used.
    """
    mlflow = connect()
    experiment = experiment_id(mlflow)
    with store_errors():
        remove_unfinished(mlflow.MlflowClient(), experiment, training)
    class_runs = {}
    common = {"campaign": campaign, "runtime": runtime, "git_revision": git_revision()}
    tags = {**common, "level": "campaign", TRAINING_TAG: training}
    with (
        store_errors(),
        mlflow.start_run(experiment_id=experiment, run_name=campaign, description=note, tags=tags) as top,
    ):
        mlflow.log_metric("device_classes", len(classes))
        for one in classes:
            tags = {**common, "level": "device class", "device_class": one.device_class}
            with _nested(mlflow, experiment, one.device_class, one.note, tags) as run:
                class_runs[one.device_class] = run.info.run_id
                _log_class(mlflow, one)
                for predictor in one.predictors:
                    tags = {**common, "level": "predictor", "device_class": one.device_class, "target": predictor.name}
                    with _nested(mlflow, experiment, predictor.name, predictor.note, tags):
                        _log_predictor(mlflow, one, predictor)
    return TrainingRuns(top.info.run_id, class_runs)


def _nested(mlflow: ModuleType, experiment: str, name: str, note: str, tags: Mapping[str, str]) -> Any:
    return mlflow.start_run(experiment_id=experiment, run_name=name, nested=True, description=note, tags=tags)


def _log_class(mlflow: ModuleType, one: ClassRun) -> None:
    point = {f"operating_point.{key}": value for key, value in sorted(one.operating_point.items())}
    hashes = {f"training_data_sha256.{run.name}": run.data.sha256 for run in one.predictors}
    mlflow.log_params({**one.params, "seed": one.seed, **point, **hashes})
    mlflow.log_metrics(rounded(one.metrics))
    for name, content in one.files.items():
        mlflow.log_dict(content, name)


def _log_predictor(mlflow: ModuleType, one: ClassRun, run: PredictorRun) -> None:
    predictor, data = run.predictor, run.data
    rows = with_flops(run.held_out, data)
    mlflow.log_params(
        {
            **data.design.booster,
            "seed": one.seed,
            "trees": predictor.booster.num_trees(),
            "process_share": predictor.share,
            "shapes": len(set(data.shapes)),
            "observations": len(data.shapes),
            "features": len(predictor.feature_names),
            "cost_model_terms": len(predictor.cost_model.terms),
            "training_data_sha256": data.sha256,
            **{f"operating_point.{key}": value for key, value in sorted(one.operating_point.items())},
        }
    )
    info = _log_booster(mlflow, run)
    families, sizes = by_family(rows), by_size(rows)
    parts = {f"kernel/{name}/{key}": found[key] for name, found in families.items() for key in _OF_A_PART}
    parts |= {f"size/{name}/{key}": found[key] for name, found in sizes.items() for key in _OF_A_PART}
    mlflow.log_metrics(rounded({**held_out_metrics(rows), **run.more, **parts}), model_id=info.model_id)
    for shapes, mape in run.learning:
        mlflow.log_metric("learning/mape", float(f"{mape:.4g}"), step=shapes)
    mlflow.log_dict(families, "error_by_kernel.json")
    mlflow.log_dict(sizes, "error_by_size.json")
    mlflow.log_text(canonical_json(predictor.to_json()).decode(), "predictor.json")
    mlflow.log_text(rows.to_csv(index=False), "held_out.csv")
    _log_plots(mlflow, run, rows)


_OF_A_PART = ("n", "mape", "within_10", "coverage_90")


def _log_plots(mlflow: ModuleType, run: PredictorRun, rows: pd.DataFrame) -> None:
    from . import explaining_plots, plots

    figures = {
        "predicted_against_measured": plots.predicted_against_measured(rows, run.title),
        "error_by_kernel": plots.error_by_kernel(rows, run.title),
        "error_against_size": explaining_plots.error_against_size(rows, run.title),
        "feature_importance": explaining_plots.feature_importance(run.predictor, run.data.features, run.title),
    }
    if run.learning:
        figures["learning_curve"] = explaining_plots.learning_curve(run.learning, run.title)
    if curves := run.curves():
        figures["latency_along_channels"] = plots.latency_along_channels(curves, run.title)
    for name, figure in figures.items():
        mlflow.log_figure(figure, f"plots/{name}.png")


def _log_booster(mlflow: ModuleType, run: PredictorRun) -> Any:
    """The Booster as LightGBM text: no pickle, and nothing for MLflow to infer from the environment."""
    import lightgbm
    import mlflow.lightgbm as flavour
    from mlflow.models import infer_signature

    example = run.data.features.head(3)
    return flavour.log_model(
        run.predictor.booster,
        name=run.name,
        signature=infer_signature(example, run.predictor.raw_score(example)),
        input_example=example,
        pip_requirements=[f"lightgbm=={lightgbm.__version__}", "pandas"],
    )
