"""Training runs and the model registry in MLflow.

A campaign is a run; below it are a run for each device class, and below that one for each predictor and one for each
package published. Every device class is a registered model whose versions are its packages; the alias `champion` is
the one in use.
"""

from __future__ import annotations

import difflib
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from splitfleet.kernels import Device, operator_from_json
from splitfleet.kernels.errors import UserError

from .archive import canonical_json
from .package import Package, open_package, verify_package
from .predictor import Predictor
from .tracking_leftovers import TRAINING_TAG, remove_unfinished, training_id
from .tracking_notes import campaign_note, class_note, package_note, predictor_note
from .tracking_store import connect, experiment_id, is_empty_store, store_errors, tracking_uri
from .train import ClassModels

CHAMPION = "champion"
_KIND = {"splitfleet.kind": "package"}
_MAPE_TAGS = ("gpu_execution", "gpu_dispatch", "cpu")

__all__ = [
    "TrainingRuns",
    "champion_package",
    "download_package",
    "list_packages",
    "log_training",
    "register_package",
    "tracking_uri",
]


@dataclass(frozen=True)
class TrainingRuns:
    """The MLflow run ids of one training: the campaign's, each device class's, and each Booster's model URI."""

    campaign_run: str
    class_runs: dict[str, str]
    model_uris: dict[tuple[str, str], str]


def log_training(results: Sequence[ClassModels], campaign: str) -> TrainingRuns:
    """Logs the training of all device classes of a campaign as nested runs.

    What an earlier call with the same training left unfinished, since the store went away, is removed first.
    Raises UserError when the MLflow store cannot be used.
    """
    mlflow = connect()
    experiment = experiment_id(mlflow)
    training = training_id(campaign, results)
    with store_errors():
        remove_unfinished(mlflow.MlflowClient(), experiment, training)
    class_runs, model_uris = {}, {}
    note = campaign_note(campaign, results)
    tags = {"campaign": campaign, "level": "campaign", TRAINING_TAG: training}
    with (
        store_errors(),
        mlflow.start_run(experiment_id=experiment, run_name=campaign, description=note, tags=tags) as top,
    ):
        mlflow.log_metric("device_classes", len(results))
        for result in results:
            name = result.models.device_class
            with mlflow.start_run(
                experiment_id=experiment, run_name=name, nested=True, description=class_note(result)
            ) as run:
                class_runs[name] = run.info.run_id
                _log_class(mlflow, result, campaign)
                for target in result.models.predictors:
                    model_uris[name, target] = _log_predictor(mlflow, result, target, campaign, experiment)
    return TrainingRuns(top.info.run_id, class_runs, model_uris)


def register_package(
    path: Path,
    *,
    run_id: str | None = None,
    metrics: Mapping[str, float] | None = None,
    tags: Mapping[str, str] | None = None,
) -> int:
    """Registers a package as the next version of its device class's model and gives it the alias `champion`.

    `run_id` is the device class's training run, under which the package's own run is put; `metrics` go into that run,
    `tags` onto the version. Returns the version.

    Raises UserError when the package is damaged or the store cannot be used.
    """
    package = verify_package(path)
    name = package.device_class
    mlflow = connect()
    note = package_note(package)
    with (
        store_errors(),
        mlflow.start_run(
            experiment_id=experiment_id(mlflow), run_name="package", parent_run_id=run_id, description=note
        ),
    ):
        mlflow.set_tags({"device_class": name, "level": "package", "campaign": _campaigns(package)})
        mlflow.log_metrics(_rounded(metrics or {}))
        mlflow.log_dict(package.split_table.to_json(), "split_table.json")
        info = _log_package(mlflow, package)
        client = mlflow.MlflowClient()
        if not client.search_registered_models(filter_string=f"name = '{name}'"):
            client.create_registered_model(name, tags=_KIND)
        client.update_registered_model(name, description=note)
        version = client.create_model_version(
            name,
            info.model_uri,
            run_id=info.run_id,
            model_id=info.model_id,
            tags={**_version_tags(package, path), **(tags or {})},
            description=note,
        )
        client.set_registered_model_alias(name, CHAMPION, version.version)
        for key, value in _model_tags(package, metrics or {}).items():
            client.set_registered_model_tag(name, key, value)
    return int(version.version)


def list_packages() -> list[dict[str, Any]]:
    """Every registered package: device_class, version, aliases, campaign, published (UTC), and MAPE of the predictors.

    Raises UserError when the MLflow store cannot be used.
    """
    if is_empty_store():
        return []
    client = connect().MlflowClient()
    packages = []
    with store_errors():
        for model in client.search_registered_models(filter_string="tags.`splitfleet.kind` = 'package'"):
            aliases: dict[int, list[str]] = {}
            for alias, version in model.aliases.items():
                aliases.setdefault(int(version), []).append(alias)
            for version in client.search_model_versions(f"name = '{model.name}'"):
                number = int(version.version)
                packages.append(_listed(model.name, number, sorted(aliases.get(number, [])), version))
    return sorted(packages, key=lambda package: (package["device_class"], -package["version"]))


def download_package(device: str, out: Path) -> Path:
    """Copies the champion package of a device class to `out`: a file, or a folder that gets `<device class>.zip`.

    Raises UserError for an unknown device class, naming the nearest ones, and when the store cannot be used or what it
    gives is damaged.
    """
    package = champion_package(device)
    open_package(package)
    target = out / f"{device}.zip" if out.is_dir() else out
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(package, target)
    except OSError as error:
        raise UserError(f"{target}: cannot write the package: {error.strerror or error}") from error
    return target


def champion_package(device: str) -> Path:
    """A local file with the champion package of a device class: in the store itself where that is local.

    Raises UserError for an unknown device class, naming the nearest ones, and when the store cannot be used.
    """
    names = sorted({package["device_class"] for package in list_packages() if CHAMPION in package["aliases"]})
    if device not in names:
        raise UserError(_unknown_device(device, names))
    return champion_file(connect(), device)


def champion_file(mlflow: ModuleType, device: str) -> Path:
    """A local file with the one zip of a registered model's champion. Raises UserError where there is not one."""
    with store_errors():
        folder = mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{device}@{CHAMPION}")
    found = sorted(Path(folder).rglob("*.zip"))
    if len(found) != 1:
        raise UserError(f"{device}: the registered model holds {len(found)} packages; publish it again")
    return found[0]


def _log_class(mlflow: ModuleType, result: ClassModels, campaign: str) -> None:
    opencl = result.profile["capabilities"]["opencl"]
    mlflow.set_tags({"campaign": campaign, "level": "device class", "device_class": result.models.device_class})
    mlflow.log_params(
        {
            "model": result.profile.get("model", ""),
            "soc": result.profile.get("soc", ""),
            "gpu": opencl["device"],
            "cpu_backend": result.models.backend,
            "seed": result.seed,
            **{f"operating_point.{key}": value for key, value in sorted(result.operating_point.items())},
        }
    )
    figures = {
        f"{target}/{name}": value for target, all_ in result.metrics.items() for name, value in _flat(all_).items()
    }
    costs = result.models.costs
    joins = {f"join_us/{join}/t{n}": us for join, by in costs.join_us.items() for n, us in by.items()}
    waits = {f"completion_us/{wait}": us for wait, us in costs.completion_us.items()}
    mlflow.log_metrics(_rounded({**figures, **joins, **waits, "svm_poll_allowed": costs.checked.allow_polling}))
    mlflow.log_dict(result.models.constants_json(), "constants.json")
    mlflow.log_dict(result.profile, "profile.json")


def _log_predictor(mlflow: ModuleType, result: ClassModels, target: str, campaign: str, experiment: str) -> str:
    predictor, data = result.models.predictors[target], result.training[target]
    device_class = result.models.device_class
    rows = result.held_out[result.held_out["target"] == target]
    note = predictor_note(result, target)
    with mlflow.start_run(experiment_id=experiment, run_name=target, nested=True, description=note):
        mlflow.set_tags({"campaign": campaign, "level": "predictor", "device_class": device_class, "target": target})
        mlflow.log_params(
            {
                **data.design.booster,
                "seed": result.seed,
                "trees": predictor.booster.num_trees(),
                "process_share": predictor.share,
                "shapes": len(data.shapes),
                "features": len(predictor.feature_names),
                "cost_model_terms": len(predictor.cost_model.terms),
                "training_data_sha256": data.sha256,
            }
        )
        info = _log_booster(mlflow, predictor, data.features)
        mlflow.log_metrics(_flat(result.metrics[target]), model_id=info.model_id)
        mlflow.log_dict(result.metrics[target]["by_kernel"], "error_by_kernel.json")
        mlflow.log_text(canonical_json(predictor.to_json()).decode(), "predictor.json")
        mlflow.log_text(rows.to_csv(index=False), "held_out.csv")
        _log_plots(mlflow, result, predictor, rows)
    return str(info.model_uri)


def _log_plots(mlflow: ModuleType, result: ClassModels, predictor: Predictor, rows: pd.DataFrame) -> None:
    from .plots import channel_curves, error_by_kernel, latency_along_channels, predicted_against_measured

    names = (result.models.device_class, predictor.target)
    mlflow.log_figure(predicted_against_measured(rows, *names), "plots/predicted_against_measured.png")
    mlflow.log_figure(error_by_kernel(rows, *names), "plots/error_by_kernel.png")
    curves = channel_curves(rows, predictor, Device.from_capabilities(result.profile["capabilities"]))
    if curves:
        mlflow.log_figure(latency_along_channels(curves, *names), "plots/latency_along_channels.png")


def _log_booster(mlflow: ModuleType, predictor: Predictor, features: pd.DataFrame) -> Any:
    """The Booster as LightGBM text: no pickle, and nothing for MLflow to infer from the environment."""
    import lightgbm
    import mlflow.lightgbm as flavour
    from mlflow.models import infer_signature

    example = features.head(3)
    return flavour.log_model(
        predictor.booster,
        name=predictor.target,
        signature=infer_signature(example, predictor.raw_score(example)),
        input_example=example,
        pip_requirements=[f"lightgbm=={lightgbm.__version__}", "pandas"],
    )


def _log_package(mlflow: ModuleType, package: Package) -> Any:
    from importlib.metadata import version

    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    return mlflow.pyfunc.log_model(
        name="package",
        loader_module="splitfleet.predictors.pyfunc",
        data_path=str(package.path),
        signature=ModelSignature(inputs=Schema([ColSpec(DataType.string, "operator")])),
        input_example=pd.DataFrame({"operator": [operator_from_json(package.golden[0]["operator"]).label]}),
        pip_requirements=[f"lightgbm=={version('lightgbm')}", "splitfleet"],
    )


def _version_tags(package: Package, path: Path) -> dict[str, str]:
    mapes = {f"{name}_mape": f"{package.metrics[name]['mape']:.3f}" for name in _MAPE_TAGS}
    split = sum(entry.decision.processor == "split" for entry in package.split_table.entries)
    return {
        **mapes,
        "campaign": _campaigns(package),
        "layers": str(len(package.split_table.entries)),
        "layers_split": str(split),
        "package_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def _model_tags(package: Package, metrics: Mapping[str, float]) -> dict[str, str]:
    """What the list of models shows at a glance, of the champion."""
    tags = {
        "model": str(package.profile.get("model", "")),
        "gpu_mape": f"{package.metrics['gpu_execution']['mape']:.1f} %",
    }
    if "speedup_median" in metrics:
        tags["speedup_median"] = f"{metrics['speedup_median']:.2f}x"
    return tags


def _listed(name: str, number: int, aliases: list[str], version: Any) -> dict[str, Any]:
    published = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    mapes = {f"{key}_mape": version.tags.get(f"{key}_mape") for key in _MAPE_TAGS}
    return {
        "device_class": name,
        "version": number,
        "aliases": aliases,
        "campaign": version.tags.get("campaign", ""),
        "published": published.strftime("%Y-%m-%d %H:%M"),
        **{key: None if value is None else float(value) for key, value in mapes.items()},
    }


def _unknown_device(device: str, names: list[str]) -> str:
    if not names:
        return f"unknown device class {device!r}: no package is published in {tracking_uri()}; run `splitfleet publish`"
    near = difflib.get_close_matches(device, names, 3, 0.4) or names[:3]
    return f"unknown device class {device!r}; nearest: {', '.join(near)}. `splitfleet package list` shows all"


def _campaigns(package: Package) -> str:
    return ", ".join(package.manifest["created_from"]["campaigns"])


def _flat(metrics: Mapping[str, Any]) -> dict[str, float]:
    return _rounded({name: value for name, value in metrics.items() if name != "by_kernel"})


def _rounded(metrics: Mapping[str, float]) -> dict[str, float]:
    """To four significant digits: the UI shows a metric as it was logged."""
    return {name: float(f"{value:.4g}") for name, value in metrics.items()}
