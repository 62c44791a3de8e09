"""How `splitfleet predict --model` is shown."""

from __future__ import annotations

import typer

from splitfleet.predictors.network_times import NetworkTimes

from .output import print_table


def show_network(times: NetworkTimes) -> None:
    """A row for each distinct operator, the whole, and what has no time."""
    columns = list(times.operators[0].times_us)
    total = sum(sum(row.times_us.values()) * len(row.nodes) for row in times.operators)
    has_best = any(row.best for row in times.operators)
    print_table(
        f"{times.network} on {times.device_class}, predicted; times of one, in µs",
        ["operator ", "times", *columns, "share", *(["best "] if has_best else ["fused "])],
        [
            [
                f"{row.label} (outside what was measured)" if row.outside else row.label,
                str(len(row.nodes)),
                *(f"{row.times_us[column]:.0f}" for column in columns),
                f"{100 * sum(row.times_us.values()) * len(row.nodes) / total:.1f} %",
                row.best or row.fused,
            ]
            for row in times.operators
        ],
    )
    print_table(
        "The whole",
        ["what ", "predicted, ms"],
        [[name, f"{time_us / 1e3:.2f}"] for name, time_us in times.whole_us.items()],
    )
    if times.unsupported:
        flops, count = times.unsupported_flops_percent, times.unsupported_count_percent
        typer.echo(f"without a time: {flops:.2f} % of the FLOPs, {count:.1f} % of the operations")
        print_table(
            "Operations without a time",
            ["operation ", "count", "MFLOPs", "why "],
            [[row.type, str(row.count), f"{row.flops / 1e6:.1f}", row.reason] for row in times.unsupported],
        )
