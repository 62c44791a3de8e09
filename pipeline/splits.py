"""What a split table is worth: speed-ups as predicted and as measured, and how near the plans come to a search."""

from __future__ import annotations

from statistics import median
from typing import Any

from splitfleet.predictors.split_table import Measured, SplitEntry, SplitTable

FAULT_TOLERANCE = 1.05
"""Sharing the work can at best add the two processors' rates; a measured time that beats this by more is a fault."""


def is_fault(measured: Measured) -> bool:
    """Whether the measured speed-up is more than the processors' rates allow."""
    ideal_us = measured.cpu_us * measured.gpu_us / (measured.cpu_us + measured.gpu_us)
    return measured.plan_us * FAULT_TOLERANCE < ideal_us


def split_figures(table: SplitTable) -> dict[str, Any]:
    """The figures of a device class's splits. A speed-up is over the better single processor; None where none exists.

    layers, split: planned, and planned as split. measured, searched: proved on the phone. Of the layers planned as
    split and measured without fault: speedup_median, speedup_max, the same as predicted, and not_faster, those measured
    no faster than the better processor alone. of_best_median: the search's winner's time over the plan's, both
    measured again. faults: measurements that beat the ideal.
    """
    entries = table.entries
    measured = [(entry, entry.measured) for entry in entries if entry.measured]
    sound = [(entry, result) for entry, result in measured if not is_fault(result)]
    split = [(entry, result) for entry, result in sound if entry.decision.processor == "split"]
    speedups = [result.speedup for _, result in split]
    predicted = [entry.decision.predicted_speedup for entry, _ in split]
    of_best = [share for _, result in sound if (share := of_search(result)) is not None]
    return {
        "layers": len(entries),
        "split": sum(entry.decision.processor == "split" for entry in entries),
        "measured": len(measured),
        "measured_split": len(split),
        "searched": len(of_best),
        "faults": len(measured) - len(sound),
        "not_faster": sum(speedup <= 1 for speedup in speedups),
        "speedup_median": median(speedups) if speedups else None,
        "speedup_max": max(speedups, default=None),
        "predicted_speedup_median": median(predicted) if predicted else None,
        "predicted_speedup_max": max(predicted, default=None),
        "of_best_median": median(of_best) if of_best else None,
        "of_best_min": min(of_best, default=None),
    }


def of_search(result: Measured) -> float | None:
    """The search's winner's time over the plan's; 1 is as good as search."""
    return None if result.search_us is None else result.search_us / result.plan_us


def layer_rows(table: SplitTable) -> list[dict[str, Any]]:
    """One row a measured layer, the greatest measured speed-up first."""
    rows = [_row(entry, entry.measured) for entry in table.entries if entry.measured]
    return sorted(rows, key=lambda row: -row["speedup"])


def _row(entry: SplitEntry, result: Measured) -> dict[str, Any]:
    decision = entry.decision
    return {
        "layer": decision.operator.label,
        "plan": decision.processor,
        "cut": decision.cut,
        "channels": decision.operator.channels,
        "threads": decision.threads,
        "join": decision.join,
        "cpu_us": result.cpu_us,
        "gpu_us": result.gpu_us,
        "plan_us": result.plan_us,
        "predicted_us": decision.predicted_us,
        "speedup": result.speedup,
        "predicted_speedup": decision.predicted_speedup,
        "of_best": of_search(result),
        "search_cut": result.search_cut,
        "fault": is_fault(result),
    }
