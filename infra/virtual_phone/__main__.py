"""`python -m splitfleet.infra.virtual_phone PHONE.toml`; `... fault ROOT KIND`; `... answer ROOT`."""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from splitfleet.kernels.errors import SplitfleetError, UserError

from .control import ORDERS, Answer, give_order
from .description import load_description
from .phone import Phone

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
Root = Annotated[Path, typer.Argument(help="The folder of a running phone (its --root).", show_default=False)]


@app.command()
def run(
    description: Annotated[Path, typer.Argument(help="The phone's description (TOML).", show_default=False)],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    root: Annotated[Path | None, typer.Option(help="The phone's folder; kept. Default: a temporary one.")] = None,
    ready_file: Annotated[Path | None, typer.Option(help="Written when ready: the address, HOST:PORT.")] = None,
) -> None:
    """Starts a phone in the foreground; SIGTERM or Ctrl-C ends it and all its programs."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        described = load_description(description)
        with nullcontext(root) if root else tempfile.TemporaryDirectory(prefix="virtual-phone-") as folder:
            phone = Phone(described, Path(folder), port)
            asyncio.run(phone.run(ready_file))
    except SplitfleetError as error:
        _stop(error)


@app.command()
def fault(
    root: Root,
    kind: Annotated[
        str,
        typer.Argument(
            help="drop, stall, vanish, reboot, wipe, unauthorized, disk-full, temperature, thermal-status, battery, "
            "screen, load, clock, agent, kernel, or clear."
        ),
    ],
    seconds: Annotated[float | None, typer.Option(help="How long; clock: how far.")] = None,
    after_bytes: Annotated[int | None, typer.Option("--bytes", help="After so many bytes: drop.")] = None,
    service: Annotated[str | None, typer.Option(help="drop: bytes of sync, shell or exec streams only.")] = None,
    millidegrees: Annotated[int | None, typer.Option(help="temperature, battery.")] = None,
    zone: Annotated[str | None, typer.Option(help="temperature: of this thermal zone only.")] = None,
    level: Annotated[int | None, typer.Option(help="battery: percent.")] = None,
    status: Annotated[str | None, typer.Option(help="battery: charging, ...; thermal-status: 0 to 6.")] = None,
    powered_by: Annotated[str | None, typer.Option(help="battery: ac, usb or none.")] = None,
    on: Annotated[bool | None, typer.Option("--on/--off", help="screen.")] = None,
    load: Annotated[float | None, typer.Option(help="load.")] = None,
    effect: Annotated[str | None, typer.Option(help="kernel: hang, crash, nonsense; agent: kill, ...")] = None,
    after_results: Annotated[int | None, typer.Option(help="agent: once it has written so many results.")] = None,
    seed: Annotated[int | None, typer.Option(help="agent: which garbage, where it is torn.")] = None,
    job: Annotated[int | None, typer.Option(help="kernel: of this GPU job, counted from 1 as they arrive.")] = None,
    after_seconds: Annotated[float | None, typer.Option(help="Begin later; not for clear.")] = None,
) -> None:
    """Gives a running phone a fault. Example: fault /tmp/phone vanish --seconds 20"""
    given = {
        "kind": kind,
        "seconds": seconds,
        "bytes": after_bytes,
        "service": service,
        "millidegrees": millidegrees,
        "zone": zone,
        "level": level,
        "status": status,
        "powered_by": powered_by,
        "on": on,
        "load": load,
        "effect": effect,
        "after_results": after_results,
        "seed": seed,
        "job": job,
        "after_seconds": after_seconds,
    }
    _give_fault(root, {key: value for key, value in given.items() if value is not None})


def _give_fault(root: Path, given: dict[str, Any]) -> None:
    try:
        typer.echo(give_order(root, ORDERS.validate_python(given)))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(step) for step in problem["loc"])
        _stop(UserError(f"fault {given['kind']}: {where}: {problem['msg']}"))
    except SplitfleetError as error:
        _stop(error)


@app.command()
def answer(root: Root, allow: Annotated[bool, typer.Option("--allow/--deny", help="The answer.")] = True) -> None:
    """Answers the prompt "Allow USB debugging?" on a running phone whose description says authorize = "ask"."""
    try:
        typer.echo(give_order(root, Answer(kind="answer", allow=allow)))
    except SplitfleetError as error:
        _stop(error)


def _stop(error: SplitfleetError) -> None:
    typer.echo(f"error: {error}", err=True)
    raise typer.Exit(2 if isinstance(error, UserError) else 1)


def main() -> None:
    """Without the name of a command, the first argument is a phone's description."""
    arguments = sys.argv[1:]
    if arguments and not arguments[0].startswith("-") and arguments[0] not in ("fault", "answer", "run"):
        arguments.insert(0, "run")
    app(arguments)


if __name__ == "__main__":
    main()
