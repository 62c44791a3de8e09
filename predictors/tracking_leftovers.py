"""What is left in MLflow of a training whose logging broke off: found by a tag, removed before it is logged anew."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from .archive import canonical_json
from .observations import TrainingSet

TRAINING_TAG = "splitfleet.training"
_FINISHED = "FINISHED"


def training_id(campaign: str, data: Mapping[str, Mapping[str, TrainingSet]]) -> str:
    """The same for the same training data of the same device classes: `data[device class][predictor]`."""
    hashes = {name: {target: one.sha256 for target, one in sets.items()} for name, sets in data.items()}
    return sha256(canonical_json({"campaign": campaign, "data": hashes})).hexdigest()[:16]


def remove_unfinished(client: Any, experiment: str, training_id: str) -> None:
    """Deletes the campaign runs of this training that are not finished, with all runs and models below them."""
    found = client.search_runs([experiment], f"tags.`{TRAINING_TAG}` = '{training_id}'")
    for run in found:
        if run.info.status != _FINISHED:
            _remove(client, experiment, run.info.run_id)


def _remove(client: Any, experiment: str, run_id: str) -> None:
    for child in client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'"):
        _remove(client, experiment, child.info.run_id)
    for model in client.search_logged_models([experiment], filter_string=f"source_run_id = '{run_id}'"):
        client.delete_logged_model(model.model_id)
    client.delete_run(run_id)
