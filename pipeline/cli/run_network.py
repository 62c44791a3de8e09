"""`splitfleet network`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .campaign import PhoneOption
from .output import JsonFlag, print_json, print_table

if TYPE_CHECKING:
    from splitfleet.pipeline.network_run import NetworkRun

ModelOption = Annotated[Path, typer.Option("--model", help="A .tflite or .onnx file.")]


def add_verbs(app: typer.Typer) -> None:
    app.command(epilog="Example: splitfleet network runs/demo --model resnet50.onnx")(network)


def network(
    campaign: Annotated[Path, typer.Argument(help="The folder of a campaign that was trained.")],
    model: ModelOption,
    phone: PhoneOption = None,
    json: JsonFlag = False,
) -> None:
    """Run a whole network on the phones with random weights: all-CPU, all-GPU and split, interleaved."""
    from splitfleet.kernels.readers import read_network
    from splitfleet.pipeline.campaign import phones_at
    from splitfleet.pipeline.network_run import run_network

    found = run_network(campaign, read_network(model), phones=phones_at(phone) if phone else None)
    if json:
        print_json([each.to_json() for each in found])
        return
    for each in found:
        _show(each)


def _ms(time_us: float | None) -> str:
    return "-" if time_us is None else f"{time_us / 1e3:.2f}"


def _show(times: NetworkRun) -> None:
    rows = [[way, _ms(times.predicted_us[way]), _ms(times.measured_us.get(way))] for way in times.predicted_us]
    if times.table_us:
        rows.append(
            ["split as its layers alone say", _ms(times.table_us["predicted"]), _ms(times.table_us["measured"])]
        )
    print_table(f"{times.network} on {times.device_class}, ms", ["way ", "predicted", "measured"], rows)
    if times.error is not None or times.glue_us is None:
        typer.echo(f"nothing was measured: {times.error}")
        return
    typer.echo(
        f"medians of {times.rounds} interleaved inferences; {times.split_operators} operators split; "
        f"{times.speedup:.2f} times as fast as the better processor alone"
    )
    typer.echo(
        f"all-CPU and all-GPU took {times.drift:+.1%} against when the network was planned (of both, what moved more)"
    )
    handed = ", ".join(f"{name} {time_us / 1e3:.2f} ms" for name, time_us in times.hand_overs_us.items())
    typer.echo(f"split, by how the GPU is told that the CPU is done: {handed}; the least is taken")
    typer.echo(
        f"{times.glue_us / 1e3:.2f} ms of each are glue, computed on the CPU; outputs differ by at most "
        f"{times.max_relative_error:.1e} of a tensor's largest value"
    )
