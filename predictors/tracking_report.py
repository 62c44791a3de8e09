"""The report of a campaign, kept in MLflow with the campaign's run."""

from __future__ import annotations

from pathlib import Path

from .tracking_store import connect, store_errors


def log_report(file: Path, run_id: str) -> None:
    """Keeps the file with this run, in place of an earlier one of its name. Raises UserError when the store cannot be
    used."""
    mlflow = connect()
    with store_errors():
        mlflow.MlflowClient().log_artifact(run_id, str(file))
