"""The main job, end to end: a phone over ADB, the agent on PoCL, Ray, MLflow, proof on the phone, a package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from splitfleet.kernels import Linear
from splitfleet.pipeline.calibrating import ROUNDS
from splitfleet.predictors.package import open_package
from splitfleet.predictors.traces import read_traces

from .main_job import MainJob

# MLflow and SQLAlchemy use what they themselves deprecate.
pytestmark = pytest.mark.filterwarnings(
    "default::DeprecationWarning", "default::PendingDeprecationWarning", "default::FutureWarning"
)


def test_from_a_phone_to_a_published_table(main_job: MainJob) -> None:
    (counts,) = main_job.summary["counts"]
    assert counts["jobs"] == 2 * 24 + 4 + 3 + 8  # on the GPU, on the CPU, on both, joins, ways to move bytes
    assert counts["done"] + counts["rejected"] == counts["jobs"]

    traces = read_traces(main_job.folder / "runs" / "my-campaign")
    assert not traces.duplicated(["job_id", "phone", "purpose"]).any()
    assert len(traces[traces["purpose"] == "measure"]) == counts["jobs"]
    sync = traces[(traces["kind"] == "sync") & (traces["status"] == "ok")]
    assert (sync["checked_joins"] == 1000).all()
    assert (sync["mismatches"] == 0).all()

    (name,) = main_job.report["device_classes"]
    found = main_job.report["device_classes"][name]
    for target in ("gpu_execution", "gpu_dispatch", "cpu"):
        metrics = found["predictors"][target]
        assert metrics["n"] > 0
        assert metrics["mape"] > 0
        assert 0 <= metrics["within_10"] <= 100
    assert found["splits"]["layers"] > 2
    assert found["splits"]["measured"] == len(found["layers"]) == 2
    assert found["splits"]["searched"] + found["splits"]["faults"] >= 1, "a busy machine may have slowed the plan alone"

    comparisons = traces[(traces["kind"] == "compare") & (traces["status"] == "ok")]
    rounds = [len(row[0]["wall_ns"]) for row in comparisons["variants"]]
    assert sum(count >= 31 for count in rounds) == 2, "the proof"
    assert all(count == ROUNDS for count in rounds if count < 31), "calibration"
    assert name in main_job.text

    assert main_job.listed[0]["aliases"] == ["champion"]
    package = open_package(main_job.folder / "phone.zip")
    assert package.device_class == name == main_job.predicted["device_class"]
    assert package.split_table.find(Linear(48, 256, 512), "exact") is not None
    proved = [entry.measured for entry in package.split_table.entries if entry.measured]  # which two: as times are
    assert len(proved) == 2
    assert min(each.repetitions for each in proved) >= 31
    rows = [entry.rows for entry in package.split_table.entries if entry.rows]
    assert (rows[0].low, rows[-1].high) == (1, 40)
    in_range = package.split_table.find(Linear(7, 64, 128), "range")
    assert in_range is not None
    assert "test-phone" not in (main_job.folder / "phone.zip").read_bytes().decode("latin-1").replace(name, "")
    _assert_same_scores_as_mlflow(main_job.folder)


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
