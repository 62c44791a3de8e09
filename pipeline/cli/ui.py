"""`splitfleet ui`: the MLflow UI on the right store."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer


def add_verbs(app: typer.Typer) -> None:
    app.command(epilog="Example: splitfleet ui --port 5001")(ui)


def ui(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65535)] = 5000,
) -> None:
    """Open the MLflow UI on the store that campaigns write to (MLFLOW_TRACKING_URI, else runs/mlflow.db)."""
    from splitfleet.predictors.tracking_store import tracking_uri

    uri = tracking_uri()
    if uri.startswith("http"):
        typer.echo(f"the store is a server with a UI of its own: {uri}")
        return
    typer.echo(f"MLflow UI on {uri}: http://127.0.0.1:{port} (Ctrl-C ends it)")
    # MLflow's own jobs (for judging language models) are seven processes more, and some of them outlive the server.
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    server = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", "127.0.0.1"]
    os.execv(sys.executable, [*server, "--port", str(port), "--workers", "1"])
