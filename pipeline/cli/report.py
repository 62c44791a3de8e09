"""The report as tables for people."""

from __future__ import annotations

from typing import Any

import typer

from .output import print_table

_BEST_LAYERS = 12


def show_report(report: dict[str, Any]) -> None:
    """Prints what `campaign_report` found: one summary over all device classes, then the layers of each."""
    classes = report["device_classes"]
    title = f"Campaign {report['campaign']}: errors on held-out shapes, speed-ups over the better single processor"
    print_table(
        title,
        ["device class ", "jobs", "done", "rejected", "GPU exec. MAPE", "dispatch MAPE", "CPU MAPE", "layers", "split"]
        + ["speed-up predicted", "measured", "best", "not faster", "of search's best"],
        [_summary(name, found) for name, found in classes.items()],
    )
    for name, found in classes.items():
        if found["layers"]:
            _show_layers(name, found)
        for job in found["rejected_jobs"]:
            typer.echo(f"{name}: rejected {job['kind']} job {job['job_id'][:8]}: {job['status']}: {job['error']}")
        if found["package"]:
            typer.echo(f"{name}: package {found['package']['path']} (version {found['package']['version']})")


def _summary(name: str, found: dict[str, Any]) -> list[str]:
    predictors, splits = found["predictors"], found["splits"] or {}
    mapes = [_text(predictors.get(target, {}).get("mape"), "{:.1f} %") for target in _TARGETS]
    counts = [_text(splits.get(key), "{}") for key in ("layers", "split")]
    speedups = [_text(splits.get(key), "{:.2f}x") for key in ("predicted_speedup_median", "speedup_median")]
    missed = f"{splits['not_faster']} of {splits['measured_split']}" if splits else "-"
    return [
        name,
        *(str(found[key]) for key in ("jobs", "done", "rejected")),
        *mapes,
        *counts,
        *speedups,
        _text(splits.get("speedup_max"), "{:.2f}x"),
        missed,
        _text(splits.get("of_best_median"), "{:.1%}"),
    ]


_TARGETS = ("gpu_execution", "gpu_dispatch", "cpu")


def _show_layers(name: str, found: dict[str, Any]) -> None:
    print_table(
        f"{name}: layers measured again, interleaved (µs); the greatest speed-ups",
        ["layer ", "plan ", "join ", "CPU", "GPU", "plan", "predicted", "speed-up", "of search's best"],
        [
            [
                row["layer"],
                _plan(row),
                row["join"] or "",
                *(f"{row[key]:.0f}" for key in ("cpu_us", "gpu_us", "plan_us", "predicted_us")),
                f"{row['speedup']:.2f}x" + (" fault" if row["fault"] else ""),
                _text(row["of_best"], "{:.1%}"),
            ]
            for row in found["layers"][:_BEST_LAYERS]
        ],
    )
    costs = found["joins"]["join_us"]
    parts = [f"{join} {us:.0f} µs" for join, by_threads in sorted(costs.items()) for us in list(by_threads.values())[:1]]
    typer.echo(f"{name}: joining costs with one thread: {', '.join(parts)}\n")


def _plan(row: dict[str, Any]) -> str:
    if row["plan"] != "split":
        return f"all-{str(row['plan']).upper()}"
    return f"CPU {row['cut']} + GPU {row['channels'] - row['cut']}"


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
