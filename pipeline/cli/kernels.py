"""`splitfleet kernels ...`: what the kernels and the lowerings are worth on their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splitfleet.kernels.errors import UserError

from .output import JsonFlag, print_json, print_table

if TYPE_CHECKING:
    from splitfleet.kernels.litert.agreement import Agreement

app = typer.Typer(help="Check kernels and lowerings.", no_args_is_help=True)

_SHOWN = 10


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
