"""`splitfleet kernels ...`: what the kernels and the lowerings are worth on their own."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splitfleet.kernels.errors import UserError

from .output import JsonFlag, print_json, print_table

if TYPE_CHECKING:
    from splitfleet.kernels.check import CheckRow
    from splitfleet.kernels.litert.agreement import Agreement

app = typer.Typer(help="Check kernels and lowerings.", no_args_is_help=True)

_SHOWN = 10


@app.command(epilog="Example: splitfleet kernels check --platform 'Portable Computing Language' --cases 500")
def check(
    platform: Annotated[str, typer.Option(help="Text in the OpenCL platform's name.")] = "",
    device: Annotated[str, typer.Option(help="Text in the device's name.")] = "",
    cases: Annotated[int, typer.Option(min=1, help="Operators to compute.")] = 300,
    seed: Annotated[int, typer.Option(help="Other seeds draw other operators.")] = 0,
    json: JsonFlag = False,
) -> None:
    """Compute operators on a local OpenCL device as the rules of each vendor would, and compare with NumPy.

    Ends with 1 where a kernel is wrong or fails.
    """
    from splitfleet.kernels.check import check_device
    from splitfleet.pipeline.local_device import local_opencl_device

    chosen = local_opencl_device(platform, device)
    title = f"{chosen.name} ({chosen.platform.name}, driver {chosen.driver_version})"
    with typer.progressbar(length=cases, label="cases", file=sys.stderr) as bar:
        rows = check_device(chosen, cases=cases, seed=seed, progress=lambda done: bar.update(1))
    if json:
        print_json({"device": title, "cases": cases, "seed": seed, "kernels": [asdict(row) for row in rows]})
    else:
        _show_check(title, rows)
    if any(row.status != "ok" for row in rows):
        raise typer.Exit(1)


@app.command(epilog="Example: splitfleet kernels plan linear:rows=197,in=768,out=3072 --device info.json")
def plan(
    operator: Annotated[str, typer.Argument(help="The operator in words, as linear:rows=197,in=768,out=3072.")],
    device: Annotated[Path, typer.Option(help="What `splitfleet-agent info` printed on the phone.")],
    precision: Annotated[str, typer.Option(help="fp32, fp16 or fp16_fp32.")] = "fp32",
) -> None:
    """Print the launch plan of an operator on a phone's GPU, as JSON."""
    from splitfleet.kernels import Device, lower, parse_operator
    from splitfleet.kernels.precision import as_precision
    from splitfleet.pipeline.agent_info import parse_info

    try:
        info = parse_info(device.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{device}: {error}; save there what `splitfleet-agent info` prints") from error
    target = Device.from_capabilities(info)
    print_json(lower(parse_operator(operator), target, precision=as_precision(precision)).to_json())


@app.command("litert-check", epilog="Example: splitfleet kernels litert-check dataset/tflite_cnn_ops_gpu.csv")
def litert_check(
    path: Annotated[Path, typer.Argument(help="tflite_cnn_ops_gpu.csv of USC's mobile-ml-benchmark.")],
    gpu: Annotated[
        list[str] | None, typer.Option(help="PHONE=GPU: the GPU of a phone in the file, as 'a03s=PowerVR GE8320'.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Compare the kernels that our rules of LiteRT's GPU delegate choose with those that it chose on phones.

    Ends with 1 where they disagree.
    """
    from splitfleet.kernels.litert.agreement import compare
    from splitfleet.kernels.litert.usc import PHONE_GPUS, read_recorded

    phones = compare(read_recorded(path), PHONE_GPUS | dict(_named(text) for text in gpu or []))
    if json:
        print_json([_as_json(phone) for phone in phones])
    else:
        _show(phones)
    if any(phone.disagreements for phone in phones):
        raise typer.Exit(1)


def _show_check(title: str, rows: list[CheckRow]) -> None:
    columns = ["kernel ", "cases", "worst error", "tolerance", "status "]
    table = [[row.kernel, str(row.cases), f"{row.worst_error:.1e}", f"{row.tolerance:.1e}", row.status] for row in rows]
    print_table(f"Kernels on {title}, against NumPy", columns, table)
    for row in rows:
        if row.status != "ok":
            typer.echo(row.worst)


def _named(text: str) -> tuple[str, str]:
    phone, equals, name = text.partition("=")
    if not (phone and equals and name):
        raise UserError(f"--gpu {text!r}: expected PHONE=GPU, for example 'a03s=PowerVR GE8320'")
    return phone, name


def _as_json(phone: Agreement) -> dict[str, object]:
    return {
        "phone": phone.phone,
        "gpu": phone.gpu,
        "rows": phone.rows,
        "fused": phone.fused,
        "recorded": dict(phone.recorded),
        "predicted": dict(phone.predicted),
        "disagreements": len(phone.disagreements),
    }


def _show(phones: list[Agreement]) -> None:
    choices = sorted({choice for phone in phones for choice in (*phone.recorded, *phone.predicted, "winograd")})
    rows = [
        [
            phone.phone,
            phone.gpu,
            choice,
            *map(str, (phone.recorded.get(choice, 0), phone.predicted.get(choice, 0))),
            str(phone.disagreements_about(choice)),
            str(phone.rows),
            str(phone.fused),
        ]
        for phone in phones
        for choice in choices
    ]
    columns = ["phone ", "GPU ", "kernel ", "recorded", "predicted", "disagreements", "of rows", "fused, not compared"]
    print_table("Kernels that LiteRT chose, and our rules", columns, rows)
    for phone in phones:
        for row, predicted in phone.disagreements[:_SHOWN]:
            typer.echo(f"{phone.phone}, line {row.line}: {row.operator.label}: {row.kernel}; predicted {predicted}")
