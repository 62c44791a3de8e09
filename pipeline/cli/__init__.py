"""The command line: `splitfleet`, with one thin verb for each public function.

Heavy modules (mlflow, ray, lightgbm, pyopencl) are imported inside the verbs that need them, so `--help` is quick.
Exit codes: 0 done; 2 the user's or a phone's error, told in one message; 1 ours; 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import Any

import typer
import typer.core

from splitfleet.kernels.errors import HarnessError, SplitfleetError

from .adopt import add_verb as add_adopt_verb
from .agent import app as agent_verbs
from .campaign import app as campaign_verbs
from .devices import add_verbs as add_device_verbs
from .doctor import add_verb as add_doctor_verb
from .host import app as host_verbs
from .kernels import app as kernel_verbs
from .models import add_verbs as add_model_verbs
from .packages import app as package_verbs
from .run_network import add_verbs as add_network_verb
from .traces import app as trace_verbs
from .tune import add_verbs as add_tune_verb
from .ui import add_verbs as add_ui_verb


class _Verbs(typer.core.TyperGroup):
    """The verbs, each of which Ctrl-C ends with a word."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.secho("interrupted; the same command goes on where it stopped", err=True)
            raise typer.Exit(130) from None


app = typer.Typer(
    name="splitfleet",
    cls=_Verbs,
    help="Profile a fleet of phones, train latency predictors, and publish how to split layers between GPU and CPU.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Example: splitfleet campaign run examples/demo.toml",
)
app.add_typer(campaign_verbs, name="campaign")
app.add_typer(host_verbs, name="host")
app.add_typer(package_verbs, name="package")
app.add_typer(kernel_verbs, name="kernels")
app.add_typer(agent_verbs, name="agent")
app.add_typer(trace_verbs, name="traces")
for add_verbs in (
    add_adopt_verb,
    add_device_verbs,
    add_doctor_verb,
    add_model_verbs,
    add_network_verb,
    add_tune_verb,
    add_ui_verb,
):
    add_verbs(app)


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except SplitfleetError as error:
        typer.secho(f"error: {error}", err=True, fg="red")
        sys.exit(1 if isinstance(error, HarnessError) else 2)
    except ModuleNotFoundError as error:
        # Reading packages needs the core install alone; the other verbs live on extras.
        if error.name is None or error.name.startswith("splitfleet"):
            raise
        typer.secho(
            f"error: this verb needs the Python package {error.name!r}, which is not installed; "
            "install the extras: pip install 'splitfleet[fleet,mlflow,opencl]'",
            err=True,
            fg="red",
        )
        sys.exit(2)
