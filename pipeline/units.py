"""How much two units of one phone model differ: jobs that were measured on two phones of a device class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def unit_figures(traces: pd.DataFrame) -> dict[str, Any] | None:
    """The spread between the phones of one device class: how many `jobs` on how many `phones`, and of each such job the
    slower time over the faster one: median and 90th percentile. `pairs` tells for each two phones the median of the
    second one's time over the first one's.

    `traces` are all of the class. None where no job gave a time on two phones.
    """
    timed = traces[(traces["status"] == "ok") & traces["purpose"].isin(["measure", "sister"])]
    timed = timed.assign(us=[_median_us(row) for row in timed.to_dict("records")])
    timed = timed[timed["us"] > 0][["job_id", "purpose", "phone", "us"]]
    first, second = (timed[timed["purpose"] == name] for name in ("measure", "sister"))
    both = first.merge(second, on="job_id", suffixes=("_a", "_b"))
    if both.empty:
        return None
    # A pair of phones is one pair, whichever of them came first.
    ratios = np.where(both["phone_a"] < both["phone_b"], both["us_b"] / both["us_a"], both["us_a"] / both["us_b"])
    by_pair: dict[tuple[str, str], list[float]] = {}
    for first_phone, second_phone, ratio in zip(both["phone_a"], both["phone_b"], ratios, strict=True):
        by_pair.setdefault((min(first_phone, second_phone), max(first_phone, second_phone)), []).append(ratio)
    spread = np.maximum(ratios, 1 / ratios)
    return {
        "jobs": len(both),
        "phones": len({name for pair in by_pair for name in pair}),
        "spread_median": float(np.median(spread)),
        "spread_p90": float(np.quantile(spread, 0.9)),
        "pairs": [
            {"phones": list(pair), "jobs": len(of_pair), "ratio_median": float(np.median(of_pair))}
            for pair, of_pair in sorted(by_pair.items())
        ],
    }


def _median_us(row: dict[Any, Any]) -> float:
    """The GPU's execution on the device's clock, else the host's time; 0 where there is none."""
    if row["kind"] == "gpu" and row["end_ns"] is not None and len(row["end_ns"]):
        return float(np.median(np.asarray(row["end_ns"]) - np.asarray(row["start_ns"]))) / 1e3
    wall = row["wall_ns"]
    return float(np.median(wall)) / 1e3 if wall is not None and len(wall) else 0.0
