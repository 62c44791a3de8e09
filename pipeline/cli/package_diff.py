"""What `splitfleet package diff` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from .output import print_table

if TYPE_CHECKING:
    from splitfleet.predictors.package_diff import PackageDiff

_MOST_DECISIONS = 40


def show_diff(found: PackageDiff, first: str, second: str) -> None:
    """Tables for people; nothing where nothing differs."""
    if found.origin:
        rows = [[name, _text(pair[0]), _text(pair[1])] for name, pair in found.origin.items()]
        print_table("Where they come from", ["", f"{first} ", f"{second} "], rows)
    print_table(
        "Errors on held-out shapes, each package's own",
        ["predictor ", "shapes", "then", "MAPE", "then"],
        [[one.target, *map(_text, one.shapes), *map(_percent, one.mape)] for one in found.errors],
    )
    print_table(
        "Errors on the shapes that both hold out",
        ["predictor ", "shapes", "MAPE", "then", "difference, points", "counts as worse above"],
        [
            [
                pair.target,
                str(pair.shapes),
                _percent(pair.champion_mape),
                _percent(pair.new_mape),
                f"{pair.difference:+.2f}",
                f"{pair.allowed:.2f}",
            ]
            for pair in found.common.pairs
        ],
    )
    both, same = found.layers
    if both or found.decisions:
        typer.echo(f"split tables: {both} operators in both, {same} with the same decision")
    if found.decisions:
        print_table(
            "Decisions that differ",
            ["operator ", "before ", "then ", "predicted, µs", "then"],
            [
                [one.operator, *map(_text, one.decision), *map(_time, one.predicted_us)]
                for one in found.decisions[:_MOST_DECISIONS]
            ],
        )
    if len(found.decisions) > _MOST_DECISIONS:
        typer.echo(f"{len(found.decisions) - _MOST_DECISIONS} more differ; --json shows all")


def _text(value: Any) -> str:
    return "-" if value is None else str(value)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} %"


def _time(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
