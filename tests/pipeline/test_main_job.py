"""The main job, end to end: a phone over ADB, the agent on PoCL, Ray, MLflow, proof on the phone, a package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitfleet.kernels import Linear
from splitfleet.pipeline.calibrating import ROUNDS
from splitfleet.predictors.package import open_package
from splitfleet.predictors.traces import read_traces

from ..conftest import StartPhone

# MLflow and SQLAlchemy use what they themselves deprecate.
pytestmark = pytest.mark.filterwarnings(
    "default::DeprecationWarning", "default::PendingDeprecationWarning", "default::FutureWarning"
)

CAMPAIGN = """
name = "small"
seed = 3
[measure]
samples = { linear = 16, conv2d = 14 }
checked_joins = 1000
transfers = [4096]
[measure.repeat]
warmup = 1
min_count = 5
min_time_us = 0
max_count = 9
max_time_us = 60000
[publish]
validate_layers = 2
search_layers = 1
search_cuts = 5
search_repetitions = 5

[[layers]]
name = "fc1"
type = "linear"
rows = 48
in = 256
out = 512

[[layers]]
name = "conv"
type = "conv2d"
height = 14
width = 14
in = 64
out = 128
kernel = 3
padding = 1
"""


def _splitfleet(folder: Path, *words: str) -> str:
    program = "from splitfleet.pipeline.cli import main; main()"
    store = f"sqlite:///{folder / 'mlflow.db'}"
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=folder,
        env={**os.environ, "MLFLOW_TRACKING_URI": store},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def published(tmp_path: Path, start_phone: StartPhone, one_agent: None) -> dict[str, Any]:
    """Runs all verbs once; the report, with what the commands printed."""
    phone = start_phone()
    (tmp_path / "small.toml").write_text(CAMPAIGN, "utf-8")
    run = ("campaign", "run", "small.toml", "--phone", phone.address, "--json")
    summary = json.loads(_splitfleet(tmp_path, *run))
    _splitfleet(tmp_path, "train", "runs/small")
    _splitfleet(tmp_path, "publish", "runs/small", "--phone", phone.address)
    report = json.loads(_splitfleet(tmp_path, "report", "runs/small", "--json"))
    listed = json.loads(_splitfleet(tmp_path, "package", "list", "--json"))
    name = listed[0]["device_class"]
    _splitfleet(tmp_path, "package", "download", name, "-o", "phone.zip")
    _splitfleet(tmp_path, "package", "verify", "phone.zip")
    predicted = _splitfleet(tmp_path, "predict", name, "--op", "linear:rows=40,in=256,out=500", "--json")
    text = _splitfleet(tmp_path, "report", "runs/small")
    return {
        "summary": summary,
        "report": report,
        "listed": listed,
        "predicted": json.loads(predicted),
        "text": text,
    }


def test_from_a_phone_to_a_published_table(published: dict[str, Any], tmp_path: Path) -> None:
    (counts,) = published["summary"]["counts"]
    assert counts["jobs"] == 2 * 30 + 6 + 3 + 8  # on the GPU, on the CPU, on both, joins, ways to move bytes
    assert counts["done"] + counts["rejected"] == counts["jobs"]

    traces = read_traces(tmp_path / "runs" / "small")
    assert not traces.duplicated(["job_id", "phone", "purpose"]).any()
    assert len(traces[traces["purpose"] == "measure"]) == counts["jobs"]
    sync = traces[(traces["kind"] == "sync") & (traces["status"] == "ok")]
    assert (sync["checked_joins"] == 1000).all()
    assert (sync["mismatches"] == 0).all()

    (name,) = published["report"]["device_classes"]
    found = published["report"]["device_classes"][name]
    for target in ("gpu_execution", "gpu_dispatch", "cpu"):
        metrics = found["predictors"][target]
        assert metrics["n"] > 0
        assert metrics["mape"] > 0
        assert 0 <= metrics["within_10"] <= 100
    assert found["splits"]["layers"] == 2
    assert found["splits"]["measured"] == len(found["layers"]) == 2
    assert found["splits"]["searched"] == 1

    comparisons = traces[(traces["kind"] == "compare") & (traces["status"] == "ok")]
    rounds = [len(row[0]["wall_ns"]) for row in comparisons["variants"]]
    assert sum(count >= 31 for count in rounds) == 2, "the proof"
    assert all(count == ROUNDS for count in rounds if count < 31), "calibration"
    assert name in published["text"]

    assert published["listed"][0]["aliases"] == ["champion"]
    package = open_package(tmp_path / "phone.zip")
    assert package.device_class == name == published["predicted"]["device_class"]
    by_table = package.split_table.find(Linear(48, 256, 512), "exact")
    assert by_table is not None
    assert by_table.entry is not None
    assert by_table.entry.measured is not None
    assert by_table.entry.measured.repetitions >= 31
    assert "test-phone" not in (tmp_path / "phone.zip").read_bytes().decode("latin-1").replace(name, "")
    _assert_same_scores_as_mlflow(tmp_path)


def _assert_same_scores_as_mlflow(folder: Path) -> None:
    """The package's models and those of the registry's training run give the same raw scores, bit for bit."""
    import mlflow

    package = open_package(folder / "phone.zip")
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "splitfleet"]
    texts = {}
    for model in client.search_logged_models([experiment.experiment_id]):
        for path in Path(model.artifact_location.removeprefix("file://")).rglob("model.lgb"):
            texts[model.name] = path.read_text("utf-8")
    import lightgbm

    for vector in package.golden:
        booster = lightgbm.Booster(model_str=texts[vector["target"]])
        row = np.array([vector["features"]])
        assert booster.predict(row, raw_score=True)[0] == vector["raw_score"]
