"""An MLflow server that dies while a training is logged, and comes back."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest

from splitfleet.pipeline.ledger import Ledger
from splitfleet.predictors.traces import write_traces

from ..infra.phones import wait_until
from ..pipeline.campaigns import write_campaign
from ..pipeline.profiles import profile
from ..ports import free_port
from ..predictors import synthetic
from .conftest import Record
from .record import Outcome

pytestmark = pytest.mark.filterwarnings(
    "default::DeprecationWarning", "default::PendingDeprecationWarning", "default::FutureWarning"
)


@contextmanager
def server(folder: Path, port: int) -> Iterator[psutil.Process]:
    """A real MLflow server on a store that is kept in `folder`."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "artifacts"),
    ]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment)
    whole = psutil.Process(process.pid)
    try:
        assert wait_until(lambda: answers(port)), (folder / "server.log").read_text()[-2000:]
        yield whole
    finally:
        kill(whole)
        process.wait()


def kill(whole: psutil.Process) -> None:
    for process in [*whole.children(recursive=True), whole]:
        process.kill()


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
            return True
    except OSError:
        return False


def runs_in(folder: Path, level: str) -> list[Any]:
    """The runs of a level that are not deleted."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiments = [one.experiment_id for one in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.level = '{level}'"))


def has_begun(folder: Path) -> bool:
    """Whether a campaign's run is in the store; asked often, so without MLflow's own client, which takes a core."""
    asked = "SELECT COUNT(*) FROM tags WHERE key = 'level' AND value = 'campaign'"
    with closing(sqlite3.connect(f"file:{folder}/mlflow.db?mode=ro", uri=True)) as database:
        return bool(database.execute(asked).fetchone()[0])


def campaign_folder(folder: Path, seed: int) -> Path:
    """A campaign of which only training is missing."""
    phone = profile()
    rows = [{**row, "device_class": phone.device_class} for row in synthetic.trace_rows(20, seed)]
    write_traces(rows, folder / "traces" / "phone=a" / "traces.parquet")
    phone.save(folder / "profiles")
    write_campaign(folder, name="campaign")
    with Ledger(folder):
        pass
    return folder


def train(folder: Path, port: int) -> subprocess.Popen[str]:
    program = "from splitfleet.pipeline.cli import main; main()"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    return subprocess.Popen(
        [sys.executable, "-c", program, "train", str(folder)], stderr=subprocess.PIPE, text=True, env=environment
    )


def test_mlflow_dies_while_a_training_is_logged(tmp_path: Path, seed: int, record: Record) -> None:
    store = tmp_path / "store"
    store.mkdir()
    folder, port, chance = campaign_folder(tmp_path / "campaign", seed), free_port(), Random(f"mlflow {seed}")
    with server(store, port) as whole:
        training = train(folder, port)
        assert wait_until(lambda: training.poll() is not None or has_begun(store))
        time.sleep(chance.uniform(0, 1.5))
        kill(whole)
        _, said = training.communicate(timeout=240)
    assert training.returncode == 2, said
    assert f"when it is back, run splitfleet train {folder}" in said
    assert "Traceback" not in said
    noted = json.loads((folder / "training.json").read_text())
    assert [item["run_id"] for item in noted["device_classes"].values()] == [None]
    with ExitStack() as stack:
        stack.enter_context(server(store, port))
        began = time.monotonic()
        training = train(folder, port)
        _, said = training.communicate(timeout=240)
        extra_s = time.monotonic() - began
    assert training.returncode == 0, said
    after = json.loads((folder / "training.json").read_text())
    for name, item in after["device_classes"].items():
        assert item["run_id"]
        assert item["metrics"] == noted["device_classes"][name]["metrics"], "another training"
        assert item["data_sha256"] == noted["device_classes"][name]["data_sha256"]
    runs = {level: runs_in(store, level) for level in ("campaign", "device class", "predictor")}
    assert {run.info.status for of_level in runs.values() for run in of_level} == {"FINISHED"}
    targets = [run.data.tags["target"] for run in runs["predictor"]]
    expected = set(noted["device_classes"][name]["data_sha256"])
    outcome = Outcome(
        "MLflow gone during training",
        seed,
        len(expected),
        len(expected - set(targets)),
        len(targets) - len(set(targets)) + len(runs["campaign"]) - 1,
        extra_s,
    )
    record(outcome)
