"""What a split table is worth: speed-ups as predicted and as measured, and how near the plans come to a search.

All figures are of the layers as planned, before any correction, and a speed-up is over the better single processor.
Measurements that beat the ideal are counted as faults and left out of the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

import numpy as np

from splitfleet.predictors.split_table import SplitTable

from .proved import Proved

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
NEAR_REGRET = 1.03
"""A plan that takes up to 3 % longer than the search's winner, or than the better processor, is as good as that."""

GAIN = 1.10
_SIZES = (
    (1e7, "below 10 MFLOP"),
    (1e8, "10 to 100 MFLOP"),
    (1e9, "0.1 to 1 GFLOP"),
    (float("inf"), "1 GFLOP and more"),
)


def split_figures(table: SplitTable, proved: Sequence[Proved]) -> dict[str, Any]:
    """The figures of a device class's splits; None where there is nothing that one could be of.

    layers, split: in the table, and split there (after corrections). measured, faults, corrected. Of the sound ones
    that were planned as split: measured_split, not_faster (no faster than the better processor), slower (by more than
    3 %), speedup and predicted_speedup (median, max, quantiles). Of the searched ones: searched, regret (the plan's
    time over the winner's, both measured again), near (how many have a regret of at most 1.03), of_best (its inverse),
    best_speedup_median; gaining: search gains 1.10 or more, and gaining_split: of these, planned as split.
    """
    sound = [each for each in proved if not each.is_fault]
    split = [each for each in sound if each.is_split]
    searched = [each for each in sound if each.regret is not None]
    gaining = [each for each in searched if (each.best_speedup or 0.0) >= GAIN]
    regrets = [each.regret for each in searched if each.regret is not None]
    return {
        "layers": len(table.entries),
        "split": sum(entry.decision.processor == "split" for entry in table.entries),
        "measured": len(proved),
        "calibrated": sum(each.calibrations > 0 for each in proved),
        "faults": len(proved) - len(sound),
        "corrected": sum(each.correction is not None for each in proved),
        "measured_split": len(split),
        "not_faster": sum(each.measured.speedup <= 1 for each in split),
        "slower": sum(each.measured.plan_us > NEAR_REGRET * each.single_us for each in split),
        **_spread("speedup", [each.measured.speedup for each in split]),
        **_spread("predicted_speedup", [each.decision.predicted_speedup for each in split]),
        "searched": len(searched),
        **_spread("regret", regrets),
        "near": sum(regret <= NEAR_REGRET for regret in regrets),
        **_first(searched),
        "of_best_median": 1 / median(regrets) if regrets else None,
        "of_best_min": 1 / max(regrets) if regrets else None,
        "best_speedup_median": median(each.best_speedup or 1.0 for each in searched) if searched else None,
        "gaining": len(gaining),
        "gaining_split": sum(each.is_split for each in gaining),
        "by_type": _groups(sound, lambda each: each.decision.operator.type),
        "by_size": _groups(sound, _size),
    }


def layer_rows(proved: Iterable[Proved]) -> list[dict[str, Any]]:
    """One row a measured layer, the greatest measured speed-up first."""
    return sorted(map(_row, proved), key=lambda row: -row["speedup"])


def _first(searched: Iterable[Proved]) -> dict[str, Any]:
    """The regret of plans from the predictors alone, where calibration followed."""
    regrets = [
        each.first_us / each.measured.search_us for each in searched if each.first_us and each.measured.search_us
    ]
    return {"first_regret_median": median(regrets) if regrets else None, "first_regrets": len(regrets)}


def _spread(name: str, values: Sequence[float]) -> dict[str, Any]:
    if not values:
        return {f"{name}_median": None, f"{name}_max": None, f"{name}_quantiles": None}
    quantiles = [float(value) for value in np.quantile(values, QUANTILES)]
    return {f"{name}_median": median(values), f"{name}_max": max(values), f"{name}_quantiles": quantiles}


def _groups(proved: Iterable[Proved], key: Callable[[Proved], str]) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[Proved]] = {}
    for each in proved:
        groups.setdefault(key(each), []).append(each)
    return {name: _group(groups[name]) for name in sorted(groups)}


def _group(proved: Sequence[Proved]) -> dict[str, Any]:
    split = [each for each in proved if each.is_split]
    regrets = [each.regret for each in proved if each.regret is not None]
    return {
        "measured": len(proved),
        "split": len(split),
        "speedup_median": median(each.measured.speedup for each in split) if split else None,
        "predicted_speedup_median": median(each.decision.predicted_speedup for each in split) if split else None,
        "searched": len(regrets),
        "regret_median": median(regrets) if regrets else None,
    }


def _size(each: Proved) -> str:
    return next(words for limit, words in _SIZES if each.decision.operator.flops < limit)


def _row(each: Proved) -> dict[str, Any]:
    decision, result = each.decision, each.measured
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
        "low_us": decision.low_us,
        "high_us": decision.high_us,
        "speedup": result.speedup,
        "predicted_speedup": decision.predicted_speedup,
        "best_speedup": each.best_speedup,
        "of_best": None if each.regret is None else 1 / each.regret,
        "regret": each.regret,
        "first_us": each.first_us,
        "calibrations": each.calibrations,
        "search_cut": result.search_cut,
        "fault": each.is_fault,
        "correction": each.correction,
    }
