"""A real MLflow on a real SQLite store."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from splitfleet.kernels import parse_operator
from splitfleet.kernels.errors import UserError
from splitfleet.predictors import registry
from splitfleet.predictors.package import open_package
from splitfleet.predictors.package_transfer import download_package
from splitfleet.predictors.revision import git_revision
from splitfleet.predictors.tracking import TrainingRuns
from splitfleet.predictors.tracking_leftovers import TRAINING_TAG, training_id
from splitfleet.predictors.tracking_store import check_answers, tracking_uri
from splitfleet.predictors.train import ClassModels
from splitfleet.predictors.training_runs import log_training

from . import synthetic

# MLflow and SQLAlchemy use what they themselves deprecate.
pytestmark = pytest.mark.filterwarnings(
    "default::DeprecationWarning", "default::PendingDeprecationWarning", "default::FutureWarning"
)


FOUR_DIGITS = 5e-4
"""Metrics are logged with four significant digits, for the pages that show them."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("store")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def runs(store: Path, trained: ClassModels) -> TrainingRuns:
    return log_training([trained], "synthetic")


@pytest.fixture(scope="module")
def version(runs: TrainingRuns, package_file: Path) -> int:
    run = runs.class_runs[synthetic.DEVICE_CLASS]
    registered = registry.register_package(package_file, run_id=run, metrics={"layers": 6.0}, tags={"demo": "yes"})
    assert (registered.alias, registered.reason) == ("champion", "there was no champion")
    return registered.version


@pytest.fixture
def client(runs: TrainingRuns) -> Any:
    import mlflow

    return mlflow.MlflowClient()


def predictor_runs(runs: TrainingRuns, client: Any) -> list[Any]:
    """The runs of the device class's predictors."""
    of_class = client.get_run(runs.class_runs[synthetic.DEVICE_CLASS])
    filter_string = f"tags.`mlflow.parentRunId` = '{of_class.info.run_id}' and tags.level = 'predictor'"
    return list(client.search_runs([of_class.info.experiment_id], filter_string))


def test_an_empty_store_is_not_created_by_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert tracking_uri() == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert registry.list_packages() == []
    with pytest.raises(UserError, match=r"unknown device class 'phone'.*run `splitfleet publish`"):
        download_package("phone", tmp_path)
    assert not list(tmp_path.iterdir())


def test_runs_are_nested_and_carry_what_happened(runs: TrainingRuns, client: Any, trained: ClassModels) -> None:
    top = client.get_run(runs.campaign_run)
    assert top.info.run_name == "synthetic"
    middle = client.get_run(runs.class_runs[synthetic.DEVICE_CLASS])
    assert middle.data.tags["mlflow.parentRunId"] == runs.campaign_run
    mape = trained.metrics["gpu_execution"]["mape"]
    assert middle.data.metrics["gpu_execution/mape"] == pytest.approx(mape, rel=FOUR_DIGITS)
    children = predictor_runs(runs, client)
    assert {run.data.tags["target"] for run in children} == set(trained.models.predictors)
    for run in children:
        target = run.data.tags["target"]
        assert run.info.run_name == target
        assert "MAPE" in run.data.tags["mlflow.note.content"]
        assert run.data.params["training_data_sha256"] == trained.training[target].sha256
        figures = {key: value for key, value in trained.metrics[target].items() if key != "by_kernel"}
        logged = {key: value for key, value in run.data.metrics.items() if "/" not in key}
        assert logged == pytest.approx(figures, rel=FOUR_DIGITS)
        assert run.data.metrics["size/1_smallest/n"] == 15
        assert any(key.startswith("kernel/") and key.endswith("/mape") for key in run.data.metrics)
        curve = client.get_metric_history(run.info.run_id, "learning/mape")
        assert [point.step for point in curve] == [shapes for shapes, _ in trained.learning[target]]
        assert run.data.tags["git_revision"] == git_revision()
        assert run.data.params["operating_point.isa"] == "avx2"
        plots = {Path(item.path).stem for item in client.list_artifacts(run.info.run_id, "plots")}
        assert plots == {
            "predicted_against_measured", "error_by_kernel", "error_against_size", "feature_importance",
            "learning_curve", "latency_along_channels",
        }  # fmt: skip


def test_logged_booster_is_text_and_scores_bit_for_bit(
    runs: TrainingRuns, store: Path, client: Any, trained: ClassModels
) -> None:
    import mlflow

    for run in predictor_runs(runs, client):
        target = run.data.tags["target"]
        uri = f"runs:/{run.info.run_id}/{target}"
        booster = mlflow.lightgbm.load_model(uri)
        frame = trained.training[target].features
        ours = trained.models.predictors[target].raw_score(frame)
        assert list(booster.predict(frame, raw_score=True)) == list(ours)
        assert list(mlflow.pyfunc.load_model(uri).predict(frame)) == list(ours)
    written = [path.name for path in store.rglob("*") if path.is_file()]
    assert "model.lgb" in written
    assert not [name for name in written if name.endswith((".pkl", ".pickle", ".joblib", ".cloudpickle"))]


def test_package_is_registered_with_alias_and_tags(version: int, client: Any, trained: ClassModels) -> None:
    found = client.get_model_version_by_alias(synthetic.DEVICE_CLASS, "champion")
    assert int(found.version) == version == 1
    assert found.tags["demo"] == "yes"
    [listed] = registry.list_packages()
    assert listed.device_class == synthetic.DEVICE_CLASS
    assert (listed.version, listed.aliases, listed.campaign) == (1, ("champion",), "synthetic")
    assert listed.cpu_mape == pytest.approx(trained.metrics["cpu"]["mape"], abs=1e-3)


def test_registered_package_loads_as_a_model(version: int, package_file: Path) -> None:
    import mlflow

    model = mlflow.pyfunc.load_model(f"models:/{synthetic.DEVICE_CLASS}@champion")
    answer = model.predict(pd.DataFrame({"operator": ["linear:rows=197,in=768,out=3072", "linear:rows=1,in=8,out=3"]}))
    assert list(answer["processor"]) == ["split", "cpu"]
    package = open_package(package_file)
    for text, row in zip(answer["operator"], answer.to_dict("records"), strict=True):
        decision, prediction = package.plan(parse_operator(text)), package.predict(parse_operator(text))
        assert (row["cut"], row["predicted_us"]) == (decision.cut, decision.predicted_us)
        assert row["gpu_execution_us"] == prediction.times_us["gpu_execution"]


def test_download_gives_the_same_bytes(version: int, package_file: Path, tmp_path: Path) -> None:
    inside = download_package(synthetic.DEVICE_CLASS, tmp_path).path
    assert inside == tmp_path / f"{synthetic.DEVICE_CLASS}.zip"
    named = download_package(synthetic.DEVICE_CLASS, tmp_path / "new" / "mine.zip").path
    assert inside.read_bytes() == named.read_bytes() == package_file.read_bytes()
    assert registry.champion_package(synthetic.DEVICE_CLASS).read_bytes() == package_file.read_bytes()


def test_an_unknown_device_is_offered_the_nearest_names(version: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown device class 'sinthetic-0123'; nearest: synthetic-0123abcd\."):
        download_package("sinthetic-0123", tmp_path)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://127.0.0.1:9", r"MLflow at http://127\.0\.0\.1:9 does not answer"),
        (
            "postgresql://me:secret@127.0.0.1:9/db",
            r"MLflow at postgresql://me:\.\.\.@127\.0\.0\.1:9/db does not answer",
        ),
        ("runs/mlruns", "not an http"),
        ("sqlite:////proc/nowhere/mlflow.db", "cannot make its folder"),
    ],
)
def test_a_store_that_cannot_be_used_gets_one_message(uri: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_answers(uri)


def test_a_server_that_does_not_answer_is_told_before_mlflow_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"does not answer .*; check MLFLOW_TRACKING_URI, or unset it"):
        registry.list_packages()


def test_a_server_that_answers_with_an_error_page_is_there() -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    check_answers(f"http://127.0.0.1:{server.server_port}")
    thread.join()
    server.server_close()


def test_what_a_broken_upload_left_is_removed(runs: TrainingRuns, client: Any, trained: ClassModels) -> None:
    whole = client.get_run(runs.campaign_run)
    tags = {TRAINING_TAG: training_id("broken", {trained.models.device_class: trained.training}), "level": "campaign"}
    top = client.create_run(whole.info.experiment_id, tags=tags)
    below = client.create_run(whole.info.experiment_id, tags={"mlflow.parentRunId": top.info.run_id})
    client.set_terminated(below.info.run_id)
    again = log_training([synthetic.with_one_predictor(trained)], "broken")
    assert {client.get_run(run.info.run_id).info.lifecycle_stage for run in (top, below)} == {"deleted"}
    assert client.get_run(again.campaign_run).info.lifecycle_stage == "active"
    assert client.get_run(runs.campaign_run).info.lifecycle_stage == "active", "another campaign's"
