"""Where MLflow keeps runs and models: MLFLOW_TRACKING_URI, else a SQLite file below the current folder."""

from __future__ import annotations

import importlib
import logging
import os
import socket
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

from splitfleet.kernels.errors import UserError

EXPERIMENT = "splitfleet"
_ANSWER_TIMEOUT_S = 5.0
_SQLITE = "sqlite:///"
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_SERVERS = ("http", "https")
_ENVIRONMENT = {
    # Splitfleet tells nobody what its users do.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    # A server that goes away is said so within seconds; by default its client tries for minutes, for each run anew.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, else `sqlite:///<current folder>/runs/mlflow.db`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{Path.cwd() / 'runs' / 'mlflow.db'}"


def is_empty_store() -> bool:
    """Whether the store is a SQLite file that does not exist yet; looking into it would create it, slowly."""
    file = _sqlite_file(tracking_uri())
    return file is not None and not file.exists()


def connect() -> ModuleType:
    """The `mlflow` module, quiet and set on the store, once the store has answered.

    Raises UserError when the store cannot be used or does not answer within a few seconds.
    """
    uri = tracking_uri()
    check_answers(uri)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        # It warns of type hints of its own.
        warnings.simplefilter("ignore")
        mlflow = importlib.import_module("mlflow")
        importlib.import_module("mlflow.pyfunc")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with store_errors():
        mlflow.set_tracking_uri(uri)
    return mlflow


def experiment_id(mlflow: ModuleType) -> str:
    """The experiment's id; it is made where there is none, with its artifacts beside a SQLite store."""
    with store_errors():
        found = mlflow.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        file = _sqlite_file(tracking_uri())
        artifacts = None if file is None else (file.parent / "mlartifacts").resolve().as_uri()
        return str(mlflow.create_experiment(EXPERIMENT, artifact_location=artifacts))


def check_answers(uri: str) -> None:
    """Raises UserError unless the store at `uri` is of a kind that MLflow can use here, and answers."""
    parts = urlsplit(uri)
    scheme = parts.scheme.partition("+")[0]
    advice = "check MLFLOW_TRACKING_URI, or unset it to use runs/mlflow.db in the current folder"
    if scheme not in (*_SERVERS, *_DATABASE_PORTS, "sqlite"):
        raise UserError(f"MLflow store {uri!r}: not an http(s) server nor a database; {advice}")
    if (file := _sqlite_file(uri)) is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"MLflow store {uri}: cannot make its folder: {error.strerror}; {advice}") from error
        return
    try:
        if scheme in _SERVERS:
            with urllib.request.urlopen(uri.rstrip("/") + "/health", timeout=_ANSWER_TIMEOUT_S):
                return
        address = (parts.hostname or "localhost", parts.port or _DATABASE_PORTS[scheme])
        with socket.create_connection(address, timeout=_ANSWER_TIMEOUT_S):
            return
    except urllib.error.HTTPError as error:
        error.close()  # it answers, even if it has no such page for us
    except (OSError, ValueError) as error:
        raise UserError(f"MLflow at {_without_password(uri)} does not answer ({error}); {advice}") from error


@contextmanager
def store_errors() -> Iterator[None]:
    """Turns what MLflow and its database raise into a UserError that names the store."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"MLflow store {_without_password(tracking_uri())}: {first}") from error


def rounded(metrics: Mapping[str, float]) -> dict[str, float]:
    """To four significant digits: the UI shows a metric as it was logged."""
    return {name: float(f"{value:.4g}") for name, value in metrics.items()}


def _sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def _without_password(uri: str) -> str:
    password = urlsplit(uri).password
    return uri.replace(f":{password}@", ":...@") if password else uri
