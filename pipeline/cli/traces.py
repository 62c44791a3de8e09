"""`splitfleet traces import`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .output import JsonFlag, print_json

app = typer.Typer(help="Bring in measurements that were made elsewhere.", no_args_is_help=True)


@app.callback()
def traces() -> None:
    """Bring in measurements that were made elsewhere."""


_EXAMPLE = (
    "Example: splitfleet traces import tflite_cnn_ops_gpu.csv --format usc-mobile-ml --phone pixel4 "
    "--gpu 'Adreno 640' --into runs/pixel4"
)


@app.command("import", epilog=_EXAMPLE)
def import_(
    file: Annotated[Path, typer.Argument(help="The file with the measurements.", show_default=False)],
    format: Annotated[str, typer.Option(help="usc-mobile-ml, or table: a CSV or Parquet file (docs/traces.md).")],
    phone: Annotated[str, typer.Option(help="The phone's name: in usc-mobile-ml that of its columns.")],
    gpu: Annotated[str, typer.Option(help="The phone's GPU, as 'Adreno 640' or 'Mali-G76 MP12'.")],
    into: Annotated[Path, typer.Option(help="The folder that gets the traces.")],
    networks: Annotated[
        Path | None, typer.Option(help="Times of whole networks whose operations are in the file (docs/networks.md).")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Import a phone's times, measured with LiteRT, as traces that `splitfleet train` and `evaluate` take."""
    from splitfleet.pipeline.trace_import import import_traces

    done = import_traces(file, into, format=format, phone=phone, gpu=gpu, networks=networks)
    if json:
        print_json({**asdict(done), "path": str(done.path)})
        return
    kinds = ", ".join(f"{count} {kind}" for kind, count in done.traces.items())
    typer.echo(f"{done.path}: {sum(done.traces.values())} traces of {done.device_class} ({kinds})")
    if done.networks:
        typer.echo(f"{done.networks} networks were measured whole")
    if done.untimed:
        typer.echo(f"{done.untimed} rows have no time: shapes without a measurement")
    for what, count in done.skipped.items():
        typer.echo(f"passed over: {count} rows of {what}")
    typer.echo(f"to train on them: splitfleet train {into}")
