"""Training a campaign's predictors: from its traces to MLflow, and a note in the folder of what was trained.

The note is the outbox: it is written before MLflow is asked, and a class in it that has no run is logged by the next
`train` or `publish`. The models themselves are kept in the folder, so nothing is trained twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitfleet.kernels.errors import UserError
from splitfleet.predictors.observations import TrainingSet
from splitfleet.predictors.traces import read_traces
from splitfleet.predictors.tracking import TrainingRuns
from splitfleet.predictors.train import ClassModels, ClassTraces, class_models, class_traces
from splitfleet.predictors.training_runs import log_training

from .campaign_run import campaign_of
from .host_files import write_json, writing_into
from .join_record import joins_before
from .ledger import Ledger
from .profile import load_profiles
from .training_tasks import fit_classes, fitted_class

TRAINING_FILE = "training.json"
_SCHEMA = 1


@dataclass(frozen=True)
class TrainedClass:
    """What the folder remembers of a device class's training: its MLflow run, data hashes and held-out errors.

    Without a run, MLflow has not got it yet.
    """

    run_id: str | None
    data_sha256: dict[str, str]
    metrics: dict[str, dict[str, Any]]


def train_campaign(folder: Path) -> dict[str, ClassModels]:
    """Trains every device class of a campaign and logs all to MLflow; returns the models by device class.

    Raises UserError when the folder holds no traces, too few of them, or the MLflow store cannot be used. In the last
    case the training is noted in the folder, and the next call, or publishing, logs it.
    """
    campaign = campaign_of(folder)
    results = train_classes(folder)
    _note(folder, results, None)
    _log(folder, results, campaign.name)
    return results


def _log(folder: Path, results: dict[str, ClassModels], campaign: str) -> None:
    try:
        runs = log_training(list(results.values()), campaign)
    except UserError as error:
        raise UserError(
            f"{error}\nThe predictors of {folder} are trained, and noted in {folder / TRAINING_FILE}, but MLflow has "
            f"not got them: when it is back, run splitfleet train {folder} (or publish, which logs them too)"
        ) from error
    _note(folder, results, runs)


def _note(folder: Path, results: dict[str, ClassModels], runs: TrainingRuns | None) -> None:
    trained = {
        name: {
            "run_id": runs.class_runs[name] if runs else None,
            "data_sha256": _data_hashes(result.training),
            "metrics": result.metrics,
        }
        for name, result in results.items()
    }
    content = {"schema": _SCHEMA, "campaign_run": runs.campaign_run if runs else None, "device_classes": trained}
    with writing_into(folder):
        write_json(folder / TRAINING_FILE, content)


def train_classes(folder: Path) -> dict[str, ClassModels]:
    """The models of every device class that has measurements. The same traces give the same models.

    Those that were fitted before on the same data by the same code are taken from the folder (`training_tasks`).
    """
    seed, classes = campaign_of(folder).seed, _class_traces(folder)
    fitted = fit_classes({name: given.training for name, given in classes.items()}, seed, folder)
    return {name: class_models(given, fitted[name], seed) for name, given in classes.items()}


def _class_traces(folder: Path) -> dict[str, ClassTraces]:
    traces = read_traces(folder)
    measured = set(traces.loc[traces["purpose"] == "measure", "device_class"])
    profiles = {name: profile for name, profile in load_profiles(folder / "profiles").items() if name in measured}
    with Ledger(folder, read_only=True) as ledger:
        before = {name: joins_before(ledger, name) for name in profiles}
    return {
        name: class_traces(traces[traces["device_class"] == name], profile.to_json(), checked_before=before[name])
        for name, profile in profiles.items()
    }


def trained_classes(folder: Path) -> dict[str, TrainedClass]:
    """What `train_campaign` noted. Raises UserError where it has not run."""
    try:
        data = json.loads((folder / TRAINING_FILE).read_text("utf-8"))
    except OSError:
        raise UserError(f"{folder}: its predictors are not trained; run: splitfleet train {folder}") from None
    except ValueError as error:
        raise UserError(f"{folder / TRAINING_FILE}: damaged ({error}); run: splitfleet train {folder}") from None
    if data.get("schema") != _SCHEMA:
        raise UserError(f"{folder / TRAINING_FILE}: schema {data.get('schema')!r}; run: splitfleet train {folder}")
    return {name: TrainedClass(**item) for name, item in data["device_classes"].items()}


def campaign_run_id(folder: Path) -> str | None:
    """The campaign's own run in MLflow; None where nothing is trained, or MLflow has not got it."""
    try:
        run_id = json.loads((folder / TRAINING_FILE).read_text("utf-8"))["campaign_run"]
    except (OSError, ValueError, KeyError):
        return None
    return None if run_id is None else str(run_id)


def same_training(folder: Path) -> dict[str, tuple[ClassModels, TrainedClass]]:
    """The trained models as the folder keeps them, with their MLflow runs; logs what MLflow has not got yet.

    Raises UserError when traces or code have changed since, and when there is something to log and MLflow cannot be
    used.
    """
    noted, seed = trained_classes(folder), campaign_of(folder).seed
    results = {}
    for name, given in _class_traces(folder).items():
        if name not in noted or noted[name].data_sha256 != _data_hashes(given.training):
            raise UserError(f"{folder}: {name} has new traces since training; run: splitfleet train {folder}")
        fitted = fitted_class(folder, name, given.training, seed)
        if fitted is None:
            raise UserError(
                f"{folder}: the predictors of {name} are not kept there, are damaged, or were trained by another "
                f"version of Splitfleet; run: splitfleet train {folder}"
            )
        results[name] = class_models(given, fitted, seed)
    if any(noted[name].run_id is None for name in results):
        _log(folder, results, campaign_of(folder).name)
        noted = trained_classes(folder)
    return {name: (result, noted[name]) for name, result in results.items()}


def _data_hashes(training: Mapping[str, TrainingSet]) -> dict[str, str]:
    return {target: data.sha256 for target, data in training.items()}
