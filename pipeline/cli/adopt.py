"""`splitfleet adopt`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splitfleet.kernels.errors import UserError

from .output import JsonFlag, print_json, print_table

if TYPE_CHECKING:
    from splitfleet.pipeline.adopting import Adopted


def add_verb(app: typer.Typer) -> None:
    app.command(
        epilog="Example: splitfleet adopt 192.168.1.20:5555, or: splitfleet adopt --from probes.csv "
        "--format usc-mobile-ml --phone pixel4 --gpu 'Adreno 640'"
    )(adopt)


def adopt(
    phone: Annotated[
        str | None, typer.Argument(metavar="[PHONE]", help="The new phone's HOST:PORT.", show_default=False)
    ] = None,
    probes: Annotated[
        Path | None, typer.Option("--from", help="Take probes that were measured with LiteRT from this file instead.")
    ] = None,
    format: Annotated[str, typer.Option(help="Of the file: usc-mobile-ml, or table (docs/traces.md).")] = "table",
    named: Annotated[
        str | None, typer.Option("--phone", help="The phone's HOST:PORT; with --from its name, as in traces import.")
    ] = None,
    gpu: Annotated[str | None, typer.Option(help="With --from: the phone's GPU, as 'Adreno 640'.")] = None,
    elder: Annotated[
        list[Path] | None,
        typer.Option(help="A package, or a trained folder, of a phone to learn from, instead of the champions."),
    ] = None,
    count: Annotated[int, typer.Option("--probes", min=25, max=100, help="How many shapes to measure.")] = 50,
    out: Annotated[
        Path | None, typer.Option(help="The folder that gets traces and package. [default: runs/adopt-PHONE]")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Make a provisional package for a new phone: a few probes, and the models of phones that were measured before."""
    name = phone or named
    if not name or (phone and named):
        raise UserError("name the new phone once: splitfleet adopt HOST:PORT, or with --from FILE --phone NAME")
    from splitfleet.pipeline.profile import slug

    folder = out or Path("runs") / f"adopt-{slug(name)}"
    if probes is None:
        from splitfleet.pipeline.adopting_phone import adopt_phone

        adopted = adopt_phone(name, folder, count=count, elders=elder)
    else:
        from splitfleet.pipeline.adopting import adopt_probes

        if gpu is None:
            raise UserError("--from FILE needs --gpu: the phone's GPU, as 'Adreno 640'")
        adopted = adopt_probes(probes, folder, format=format, phone=name, gpu=gpu, elders=elder)
    if json:
        print_json(adopted.to_json())
    else:
        _show(adopted)


def _show(adopted: Adopted) -> None:
    print_table(
        f"{adopted.device_class}: errors by {adopted.errors}",
        ["predictor ", "shapes", "MAPE", "median", "within 10 %", "in 90 % intervals"],
        [
            [target, str(m["n"]), *(f"{m[key]:.1f} %" for key in ("mape", "median_ape", "within_10", "coverage_90"))]
            for target, m in adopted.metrics.items()
        ],
    )
    typer.echo(f"learnt from {', '.join(adopted.elders)}")
    typer.echo(f"provisional package: {adopted.path}, version {adopted.version} in the registry; it is no champion")
