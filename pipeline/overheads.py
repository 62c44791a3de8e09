"""What sharing work costs beside the work: joining the halves, and moving bytes. Taken from a campaign's traces."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from splitfleet.predictors.split_table import JOINS, Join

_Floats = NDArray[np.float64]
_LEAST_SHARE = 0.1


def join_rows(traces: pd.DataFrame) -> list[dict[str, Any]]:
    """For each join and thread count, median and 90th percentile in us of wall - (end - queued) over all repetitions.

    `traces` are those of one device class.
    """
    sync = traces[(traces["kind"] == "sync") & (traces["status"] == "ok")]
    rows = []
    for key, jobs in sync.groupby(["join", "threads"]):
        join, threads = cast(tuple[str, float], key)
        costs_us = np.concatenate([_costs_us(row) for row in jobs.to_dict("records")])
        rows.append(
            {
                "join": join,
                "threads": int(threads),
                "median_us": float(np.median(costs_us)),
                "p90_us": float(np.quantile(costs_us, 0.9)),
                "repetitions": len(costs_us),
            }
        )
    return sorted(rows, key=lambda row: (row["threads"], row["median_us"]))


def join_order(rows: list[dict[str, Any]]) -> str:
    """Whether polling beats the event wait and that beats finish, at every thread count; else where they do not."""
    by_threads: dict[int, dict[Join, float]] = {}
    for row in rows:
        by_threads.setdefault(row["threads"], {})[row["join"]] = row["median_us"]
    wrong = []
    for threads, costs in sorted(by_threads.items()):
        there = [join for join in JOINS if join in costs]
        for first, second in pairwise(there):
            if costs[first] >= costs[second]:
                figures = f"{costs[second]:.1f} µs against {costs[first]:.1f} µs"
                wrong.append(f"{_WORDS[second]} beats {_WORDS[first]} with {_threads(threads)} ({figures})")
    if wrong or not rows:
        return "; ".join(wrong)
    compared = [join for join in JOINS if any(join in costs for costs in by_threads.values())]
    return " beats ".join(_WORDS[join] for join in compared) if len(compared) > 1 else ""


_WORDS: dict[Join, str] = {"svm_poll": "polling", "event_wait": "event wait", "finish": "finish"}


def transfer_rows(traces: pd.DataFrame) -> list[dict[str, Any]]:
    """For each operation its fixed cost in us and its rate in GB/s: the line through time over bytes.

    The line is fitted on relative error, since times span five orders of magnitude; both figures are at least 0.
    `rate_gb_s` is None where only one size was measured, or where the bytes take less than a tenth of the fixed cost
    even of the largest transfer: nothing is moved then, as by a map of memory that is shared.
    """
    moved = traces[(traces["kind"] == "transfer") & (traces["status"] == "ok")]
    rows = []
    for operation, jobs in moved.groupby("operation"):
        of_size = jobs.assign(us=[float(np.median(ns)) / 1e3 for ns in jobs["wall_ns"]]).groupby("bytes")["us"].median()
        fixed_us, us_per_byte = _line(of_size.index.to_numpy(np.float64), of_size.to_numpy(np.float64))
        largest_bytes = int(of_size.index.max())
        is_moved = us_per_byte * largest_bytes > _LEAST_SHARE * fixed_us
        rows.append(
            {
                "operation": str(operation),
                "fixed_us": fixed_us,
                "rate_gb_s": 1e-3 / us_per_byte if is_moved else None,
                "smallest_bytes": int(of_size.index.min()),
                "largest_bytes": largest_bytes,
            }
        )
    return rows


def chain_figures(traces: pd.DataFrame) -> dict[str, Any] | None:
    """How long an execution takes within a chain, over the same one waited for by itself: the median over operators.

    None where no operator was measured both ways.
    """
    gpu = traces[(traces["kind"] == "gpu") & (traces["status"] == "ok")]
    gpu = gpu.assign(us=[float(np.median(ns)) / 1e3 for ns in gpu["wall_ns"]])
    chains = gpu[gpu["mode"] == "chain"]
    single = gpu[gpu["mode"] == "single"].groupby("operator")["us"].median()
    chained = (chains["us"] / chains["chain_length"]).groupby(chains["operator"]).median()
    ratios = (chained / single).dropna()
    if ratios.empty:
        return None
    length = int(chains["chain_length"].max())
    return {"operators": len(ratios), "chain_length": length, "ratio_median": float(ratios.median())}


def _line(sizes_bytes: _Floats, times_us: _Floats) -> tuple[float, float]:
    """Non-negative (fixed us, us per byte) with the least squared relative error."""
    from scipy.optimize import nnls

    scale = 1.0 / sizes_bytes.max()
    matrix = np.column_stack([np.ones(len(sizes_bytes)), sizes_bytes * scale]) / times_us[:, None]
    if len(sizes_bytes) == 1:
        return float(times_us[0]), 0.0
    (fixed_us, per_scaled), _ = nnls(matrix, np.ones(len(times_us)))
    return float(fixed_us), float(per_scaled * scale)


def _costs_us(row: dict[Any, Any]) -> _Floats:
    wall, end, queued = (np.asarray(row[name], dtype=np.float64) for name in ("wall_ns", "end_ns", "queued_ns"))
    return (wall - (end - queued)) / 1e3


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"
