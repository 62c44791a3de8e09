"""The report as tables for people: one summary for each device class, and its layers."""

from __future__ import annotations

from itertools import groupby
from statistics import median
from typing import Any

import typer

from .output import print_table

_BEST_LAYERS = 12
_REJECTED_OF_A_STATUS = 10
_TARGETS = {
    "gpu_execution": "GPU execution time",
    "gpu_dispatch": "GPU dispatch time",
    "cpu": "CPU time",
}


def show_report(report: dict[str, Any]) -> None:
    """Prints what `campaign_report` found."""
    for name, found in report["device_classes"].items():
        print_table(name, ["", ""], [[what, value] for what, value in _summary(found)], named=False)
        _show_overheads(found)
        if found["layers"]:
            _show_layers(found)
        if found["rejected_jobs"]:
            _show_rejected(found["rejected_jobs"])


def _summary(found: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [("jobs", f"{found['jobs']}: {found['done']} done, {found['rejected']} rejected")]
    for target, words in _TARGETS.items():
        if m := found["predictors"].get(target):
            error = f"MAPE {m['mape']:.1f} %, within 10 %: {m['within_10']:.0f} %, of {m['n']} held-out shapes"
            rows.append((f"{words}, error", error))
    if units := found["units"]:
        spread = f"median {units['spread_median'] - 1:.1%}, 90th percentile {units['spread_p90'] - 1:.1%}"
        rows.append(("units of the model differ by", f"{spread} ({units['jobs']} jobs on {units['phones']} phones)"))
    if found["join_order"]:
        rows.append(("joining", found["join_order"]))
    if polling := found["polling"]:
        rows.append(("polling is", f"{'allowed' if polling['allowed'] else 'refused'}: {polling['reason']}"))
    if chains := found["chains"]:
        share = f"{chains['ratio_median']:.1%} of its time alone (median of {chains['operators']} operators)"
        rows.append((f"a GPU execution in a chain of {chains['chain_length']}", share))
    if found["halves_together"]:
        rows.append(("both halves at once", _interference(found)))
    if splits := found["splits"]:
        rows += _split_rows(splits, found["phone_seconds"])
    if found["package"]:
        rows.append(("package", f"{found['package']['path']} (version {found['package']['version']})"))
    return rows


def _split_rows(splits: dict[str, Any], seconds: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [("layers split in the table", f"{splits['split']} of {splits['layers']}")]
    if splits["measured_split"]:
        measured = f"median {splits['speedup_median']:.2f}x, best {splits['speedup_max']:.2f}x"
        predicted = f"median {splits['predicted_speedup_median']:.2f}x, best {splits['predicted_speedup_max']:.2f}x"
        of = f"of {splits['measured_split']} measured"
        rows += [
            ("speed-up of split layers, measured", f"{measured}; {_quantiles(splits['speedup_quantiles'])}"),
            ("the same, predicted", predicted),
            ("split layers no faster than the better processor", f"{splits['not_faster']} {of}"),
            ("more than 3 % slower than it", f"{splits['slower']} {of}, before corrections"),
        ]
    if splits["corrected"]:
        rows.append(("plans corrected after measuring", f"{splits['corrected']} of {splits['measured']}"))
    if splits["searched"]:
        of = f"of {splits['searched']} layers"
        spread = _quantiles(splits["regret_quantiles"])
        worst = f"median {splits['regret_median']:.3f}, worst {splits['regret_max']:.3f} {of}; {spread}"
        found = f"{splits['gaining_split']} of {splits['gaining']} where search gains 1.10x or more"
        rows += [
            ("plan's time over exhaustive search's best", worst),
            ("within 3 % of that best", f"{splits['near']} {of}"),
            ("search's best, speed-up", f"median {splits['best_speedup_median']:.2f}x"),
            ("planned as split", found),
        ]
    if splits["first_regrets"]:
        first = f"median {splits['first_regret_median']:.3f}, of {splits['first_regrets']} layers"
        rows.append(("the same of plans from predictors alone", first))
    if splits["faults"]:
        rows.append(("measurement faults (faster than the ideal)", str(splits["faults"])))
    spent = f"{seconds['campaign']:.0f} s campaign + {seconds['calibration']:.0f} s calibration"
    if seconds["exhaustive"]:
        share = (seconds["campaign"] + seconds["calibration"]) / seconds["exhaustive"]
        spent += f" = {share:.1%} of {seconds['exhaustive']:.0f} s for every cut of every layer"
    return [*rows, ("planning took, in phone seconds", spent)]


def _quantiles(values: list[float]) -> str:
    low, first, _, third, high = values
    return f"quartiles {first:.2f} to {third:.2f}, 80 % in {low:.2f} to {high:.2f}"


def _interference(found: dict[str, Any]) -> str:
    rows = found["halves_together"]
    cpu, gpu = (median(row[key] for row in rows) for key in ("cpu_slowdown", "gpu_slowdown"))
    text = f"CPU half {cpu:.2f}x, GPU half {gpu:.2f}x its time alone (median of {len(rows)} layers)"
    return f"{text}; learnt from {found['interference']['pairs']} joint jobs"


def _show_overheads(found: dict[str, Any]) -> None:
    if found["join_costs"]:
        print_table(
            "what joining the halves costs, in µs",
            ["join ", "threads", "median", "90th percentile", "repetitions"],
            [
                [
                    row["join"],
                    str(row["threads"]),
                    f"{row['median_us']:.1f}",
                    f"{row['p90_us']:.1f}",
                    str(row["repetitions"]),
                ]
                for row in found["join_costs"]
            ],
        )
    if found["transfers"]:
        print_table(
            "what moving bytes costs",
            ["operation ", "fixed", "rate", "bytes"],
            [
                [
                    row["operation"],
                    f"{row['fixed_us']:.1f} µs",
                    f"{row['rate_gb_s']:.1f} GB/s" if row["rate_gb_s"] else "-",
                    f"{row['smallest_bytes']} to {row['largest_bytes']}",
                ]
                for row in found["transfers"]
            ],
        )


def _show_layers(found: dict[str, Any]) -> None:
    print_table(
        "layers measured again, interleaved; times in µs, the greatest speed-ups first",
        ["layer ", "plan ", "CPU", "GPU", "plan", "predicted", "speed-up", "regret"],
        [
            [
                row["layer"],
                _plan(row),
                *(f"{row[key]:.0f}" for key in ("cpu_us", "gpu_us", "plan_us", "predicted_us")),
                f"{row['speedup']:.2f}x" + (" (fault)" if row["fault"] else ""),
                "" if row["regret"] is None else f"{row['regret']:.3f}",
            ]
            for row in found["layers"][:_BEST_LAYERS]
        ],
    )


def _show_rejected(jobs: list[dict[str, str]]) -> None:
    """The jobs that gave no time, by status; of a status that many jobs share, the first ones."""
    by_status = {status: list(of_status) for status, of_status in groupby(jobs, lambda job: job["status"])}
    counts = ", ".join(f"{len(of_status)} {status}" for status, of_status in by_status.items())
    print_table(
        f"jobs without a time: {counts}",
        ["status ", "kind ", "what ", "phone ", "job ", "error "],
        [
            [job["status"], job["kind"], job["what"], job["phone"], job["job_id"][:8], job["error"]]
            for of_status in by_status.values()
            for job in of_status[:_REJECTED_OF_A_STATUS]
        ],
    )
    for status, of_status in by_status.items():
        if len(of_status) > _REJECTED_OF_A_STATUS:
            typer.echo(f"{len(of_status) - _REJECTED_OF_A_STATUS} more are {status}: splitfleet report --json has all")


def _plan(row: dict[str, Any]) -> str:
    if row["plan"] != "split":
        return f"all-{str(row['plan']).upper()}"
    return f"CPU {row['cut']} + GPU {row['channels'] - row['cut']}"
