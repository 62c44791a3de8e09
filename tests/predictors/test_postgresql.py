"""The registry on a real MLflow server whose store is a real PostgreSQL: publish, list, download, import, champions."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from splitfleet.predictors import registry
from splitfleet.predictors.package import build_package
from splitfleet.predictors.package_transfer import download_package, import_package
from splitfleet.predictors.split_table import SplitTable
from splitfleet.predictors.train import ClassModels
from splitfleet.predictors.training_runs import log_training

from ..faults.test_mlflow import answers, kill
from ..infra.phones import wait_until
from ..ports import free_port
from . import synthetic

SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
NAME = synthetic.DEVICE_CLASS

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings(
        "default::DeprecationWarning", "default::PendingDeprecationWarning", "default::FutureWarning"
    ),
    pytest.mark.skipif(not SERVERS, reason="no PostgreSQL server is installed (Debian: postgresql)"),
    pytest.mark.skipif(importlib.util.find_spec("psycopg2") is None, reason="psycopg2 is not installed"),
    pytest.mark.skipif(
        os.geteuid() == 0 and shutil.which("setpriv") is None, reason="PostgreSQL refuses root, and setpriv is missing"
    ),
]


@contextmanager
def postgresql() -> Iterator[str]:
    """A server with an empty database, on loopback; its URI. It refuses root, so root lends it another user."""
    programs, port = SERVERS[-1].parent, free_port()
    with tempfile.TemporaryDirectory(prefix="splitfleet-postgresql-") as name, ExitStack() as stack:
        folder, as_other = Path(name), []
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
            as_other = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        make = [programs / "initdb", "--pgdata", folder / "data", "--auth=trust", "--username=mlflow", "--no-sync"]
        subprocess.run([*as_other, *make, "--encoding=UTF8"], check=True, capture_output=True, cwd=folder)
        settings = ["listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "fsync=off"]
        words = ["-D", folder / "data", "-p", str(port), *(word for one in settings for word in ("-c", one))]
        log = stack.enter_context((folder / "log").open("wb"))
        process = subprocess.Popen([*as_other, programs / "postgres", *words], stdout=log, stderr=log, cwd=folder)
        try:
            ready = [programs / "pg_isready", "--host=127.0.0.1", f"--port={port}"]
            answered = wait_until(lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0)
            assert answered, (folder / "log").read_text()
            yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
        finally:
            process.terminate()
            process.wait()


@contextmanager
def mlflow_server(folder: Path, store: str) -> Iterator[str]:
    folder.mkdir()
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store, "--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment)
    try:
        assert wait_until(lambda: answers(port)), (folder / "log").read_text()[-2000:]
        yield f"http://127.0.0.1:{port}"
    finally:
        kill(psutil.Process(process.pid))
        process.wait()


def test_packages_on_a_server_with_postgresql(
    trained: ClassModels, table: SplitTable, package_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_out = trained.held_out.assign(predicted_us=1.5 * trained.held_out["predicted_us"])
    worse = build_package(replace(trained, held_out=held_out), table, tmp_path / "worse.zip")
    with postgresql() as store, mlflow_server(tmp_path / "mlflow", store) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
        runs = log_training([synthetic.with_one_predictor(trained)], "synthetic")
        assert registry.register_package(package_file, run_id=runs.class_runs[NAME]).alias == "champion"
        assert import_package(worse).alias == "challenger"
        listed = [(one.version, one.aliases) for one in registry.list_packages()]
        assert listed == [(2, ("challenger",)), (1, ("champion",))]
        assert download_package(NAME, tmp_path / "got.zip").path.read_bytes() == package_file.read_bytes()
        assert download_package(f"{NAME}@challenger", tmp_path / "2.zip").path.read_bytes() == worse.read_bytes()
