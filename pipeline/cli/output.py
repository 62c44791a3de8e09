"""How verbs print: JSON for programs, rich tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

_WIDE = 200

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def print_json(data: Any) -> None:
    typer.echo(json.dumps(data, indent=2, sort_keys=True))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, named: bool = True) -> None:
    """A table whose numbers are right-aligned: a column whose name ends in a space, or that has none, is text."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_header=named)
    for column in columns:
        table.add_column(column.strip(), justify="right" if column.strip() == column != "" else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    # A pipe or a file has no width: nothing needs folding there.
    width = None if sys.stdout.isatty() else _WIDE
    # What phones and files say may hold brackets, which are no markup.
    console = Console(highlight=False, markup=False, width=width)
    console.print(table)
