"""What publishing refuses before it looks for a phone. The whole of it: test_main_job.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from splitfleet.kernels.errors import UserError
from splitfleet.pipeline.ledger import Ledger
from splitfleet.pipeline.publishing import publish_campaign
from splitfleet.predictors.traces import write_traces

from ..predictors.synthetic import trace_rows
from .campaigns import write_campaign
from .profiles import profile


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A campaign's folder with traces of a phone that is not there."""
    folder = tmp_path / "run"
    with Ledger(folder):
        pass
    write_campaign(tmp_path, "127.0.0.1:1", name="campaign").rename(folder / "campaign.toml")
    phone = profile("Absent Phone")
    phone.save(folder / "profiles")
    rows = [row | {"device_class": phone.device_class} for row in trace_rows(12)]
    write_traces(rows, folder / "traces" / "phone=a" / "traces.parquet")
    return folder


def test_what_is_not_trained_is_not_published(folder: Path) -> None:
    with pytest.raises(UserError, match=f"its predictors are not trained; run: splitfleet train {folder}"):
        publish_campaign(folder)


def test_traces_that_came_after_training_need_a_new_one(folder: Path) -> None:
    name = profile("Absent Phone").device_class
    trained = {name: {"run_id": "r", "data_sha256": {"gpu_execution": "of other traces"}, "metrics": {}}}
    (folder / "training.json").write_text(json.dumps({"schema": 1, "device_classes": trained}))
    with pytest.raises(UserError, match=f"{name} has new traces since training; run: splitfleet train {folder}"):
        publish_campaign(folder)
