"""Held-out errors broken down: by kernel family and by size of the operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .features import family_of
from .metrics import error_metrics, interval_metrics
from .observations import TrainingSet

SIZES = ("1_smallest", "2_smaller", "3_larger", "4_largest")
"""Quarters of the shapes, by their FLOPs."""


def held_out_metrics(rows: pd.DataFrame) -> dict[str, float]:
    """The figures of `error_metrics` and `interval_metrics` over rows of a frame of held-out shapes."""
    return {
        **error_metrics(rows["measured_us"], rows["predicted_us"]),
        **interval_metrics(rows["measured_us"], rows["low_us"], rows["high_us"]),
    }


def with_flops(rows: pd.DataFrame, data: TrainingSet) -> pd.DataFrame:
    """Held-out rows with the columns `flops` of their shapes and `family` of their kernels."""
    flops = dict(zip(data.shapes, data.features["flops"], strict=True))
    families = [family_of(str(kernel)) for kernel in rows["kernel"]]
    return rows.assign(flops=[float(flops[shape]) for shape in rows["shape"]], family=families)


def by_family(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """The figures of each kernel family, the most frequent first. `rows` come from `with_flops`."""
    names = rows["family"].value_counts().index
    return {str(name): held_out_metrics(rows[rows["family"] == name]) for name in names}


def by_size(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The figures of each quarter of the shapes by FLOPs, with the quarter's bounds; without those that are empty."""
    edges = np.quantile(rows["flops"], [0.25, 0.5, 0.75])
    quarter = np.searchsorted(edges, rows["flops"].to_numpy(), side="left")
    found = {}
    for index, name in enumerate(SIZES):
        part = rows[quarter == index]
        if len(part):
            bounds = {"least_flops": float(part["flops"].min()), "most_flops": float(part["flops"].max())}
            found[name] = {**held_out_metrics(part), **bounds}
    return found
