"""Predictors of LiteRT's GPU delegate in MLflow: a run for each phone, and a registered model for each device class.

Below a phone's run there is one for each group of operators. The registered model's version is the package, so what
`splitfleet evaluate` takes from the store is what `splitfleet train` wrote.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.litert.operations import operation_from_json

from .litert_package import open_litert_package
from .litert_train import LitertTraining
from .tracking import CHAMPION, champion_file
from .tracking_store import connect, experiment_id, is_empty_store, store_errors, tracking_uri

_KIND = {"splitfleet.kind": "litert"}


class LitertFile:
    """`predict` takes a DataFrame with a text column `operator` (docs/traces.md): times in us, bounds, out of range."""

    def __init__(self, path: Path) -> None:
        self.models = open_litert_package(path)

    def predict(self, model_input: pd.DataFrame) -> pd.DataFrame:
        """One row an operator. Raises UserError for a text that is none."""
        from .litert_predict import predict_operations

        return predict_operations(self.models, list(model_input["operator"]))


def _load_pyfunc(path: str) -> LitertFile:
    return LitertFile(Path(path))


def log_litert(trained: Sequence[tuple[LitertTraining, Path]]) -> dict[str, int]:
    """Logs trainings and registers their packages as champions; returns the versions by device class.

    Raises UserError when the MLflow store cannot be used.
    """
    mlflow = connect()
    experiment = experiment_id(mlflow)
    versions = {}
    for result, package in trained:
        note = _note(result)
        name = result.models.device_class
        with store_errors(), mlflow.start_run(experiment_id=experiment, run_name=name, description=note):
            _log_class(mlflow, result)
            for group in result.models.predictors:
                _log_group(mlflow, result, group, experiment)
            versions[name] = _register(mlflow, result, package, note)
    return versions


def champion_litert(device_class: str) -> Path:
    """A local file with the champion package of a device class. Raises UserError where there is none."""
    advice = (
        f"train it first (splitfleet train), or name a folder that was trained with --model; store {tracking_uri()}"
    )
    if is_empty_store():
        raise UserError(f"{device_class}: no model is registered; {advice}")
    mlflow = connect()
    with store_errors():
        found = mlflow.MlflowClient().search_registered_models(filter_string=f"name = '{device_class}'")
    if not found or CHAMPION not in found[0].aliases:
        raise UserError(f"{device_class}: no champion is registered; {advice}")
    return champion_file(mlflow, device_class)


def _log_class(mlflow: ModuleType, result: LitertTraining) -> None:
    models = result.models
    mlflow.set_tags({"level": "device class", "device_class": models.device_class, "runtime": "litert"})
    mlflow.log_params({**models.operating_point, "phones": ", ".join(result.phones), "seed": result.seed})
    figures = {
        f"{operator}/{name}": float(f"{value:.4g}")
        for operator, all_ in result.metrics.items()
        for name, value in all_.items()
        if name != "by_kernel"
    }
    mlflow.log_metrics(figures)
    mlflow.log_text(result.held_out.to_csv(index=False), "held_out.csv")


def _log_group(mlflow: ModuleType, result: LitertTraining, group: str, experiment: str) -> None:
    predictor, data = result.models.predictors[group], result.training[group]
    note = f"One predictor for {', '.join(predictor.operator_types)}: cost model x exp(Booster and Gaussian process)."
    with mlflow.start_run(experiment_id=experiment, run_name=group, nested=True, description=note):
        mlflow.set_tags({"level": "predictor", "device_class": result.models.device_class, "runtime": "litert"})
        mlflow.log_params(
            {
                **data.design.booster,
                "seed": result.seed,
                "trees": predictor.booster.num_trees(),
                "process_share": predictor.share,
                "observations": len(data.shapes),
                "features": len(predictor.feature_names),
                "training_data_sha256": data.sha256,
            }
        )
        for name, content in predictor.to_files().items():
            mlflow.log_text(content.decode(), f"model/{name}")
        rows = result.held_out[result.held_out["operator"].isin(predictor.operator_types)]
        for operator, figures in result.metrics.items():
            if operator in predictor.operator_types:
                mlflow.log_dict(figures["by_kernel"], f"error_by_kernel/{operator}.json")
        _log_plots(mlflow, rows, result.models.device_class, predictor.target)


def _log_plots(mlflow: ModuleType, rows: pd.DataFrame, device_class: str, target: str) -> None:
    from .plots import error_by_kernel, predicted_against_measured

    mlflow.log_figure(predicted_against_measured(rows, device_class, target), "plots/predicted_against_measured.png")
    mlflow.log_figure(error_by_kernel(rows, device_class, target), "plots/error_by_kernel.png")


def _register(mlflow: ModuleType, result: LitertTraining, package: Path, note: str) -> int:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    name = result.models.device_class
    info = mlflow.pyfunc.log_model(
        name="package",
        loader_module=__name__,
        data_path=str(package),
        signature=ModelSignature(inputs=Schema([ColSpec(DataType.string, "operator")])),
        input_example=pd.DataFrame({"operator": [_example(result)]}),
        pip_requirements=["splitfleet"],
    )
    client = mlflow.MlflowClient()
    if not client.search_registered_models(filter_string=f"name = '{name}'"):
        client.create_registered_model(name, tags=_KIND)
    client.update_registered_model(name, description=note)
    tags = {f"{operator}_mape": f"{figures['mape']:.3f}" for operator, figures in result.metrics.items()}
    version: Any = client.create_model_version(
        name, info.model_uri, run_id=info.run_id, model_id=info.model_id, tags=tags, description=note
    )
    client.set_registered_model_alias(name, CHAMPION, version.version)
    return int(version.version)


def _example(result: LitertTraining) -> str:
    shape = next(iter(result.training.values())).shapes[0]
    return operation_from_json(json.loads(shape)).label


def _note(result: LitertTraining) -> str:
    rows = [
        f"| {operator} | {m['n']} | {m['mape']:.1f} % | {m['within_10']:.0f} % | {m['coverage_90']:.0f} % |"
        for operator, m in result.metrics.items()
    ]
    point = result.models.operating_point
    head = "| operator | shapes | MAPE | within 10 % | in 90 % intervals |\n|---|---|---|---|---|\n"
    return (
        f"GPU times of **{', '.join(result.phones)}** ({point['gpu']}, {point['precision']}) under LiteRT's GPU "
        "delegate. Errors on shapes held out of training:\n\n" + head + "\n".join(rows)
    )
