"""What a predictor is made of, by runtime and target: its features, the cost model's terms, the booster's settings.

How they were chosen is in docs/predictors.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from . import litert_features as litert
from .features import CPU_FEATURES, GPU_FEATURES, Vocabulary, cpu_features, gpu_features

Runtime = Literal["splitfleet", "litert"]
RUNTIMES: tuple[Runtime, ...] = ("splitfleet", "litert")
"""`splitfleet`: our own kernels, run by our agent. `litert`: LiteRT's GPU delegate, measured by others."""

_BOOSTER: dict[str, Any] = {
    "learning_rate": 0.05,
    "num_leaves": 7,
    "min_data_in_leaf": 5,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 1.0,
    "max_bin": 63,
    "min_data_per_group": 5,
    "cat_smooth": 5.0,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}
# A loaded host makes some shapes slower and none faster; on quiet phones squared error is better.
_ROBUST = {**_BOOSTER, "objective": "regression_l1"}
_QUIET = {
    **_BOOSTER,
    "objective": "regression",
    "learning_rate": 0.04,
    "num_leaves": 15,
    "extra_trees": True,
    "feature_fraction": 0.5,
    "max_bin": 127,
}

_GPU_TERMS = (
    "one", "padded_flops", "unit_work", "iterations", "input_reads_bytes", "weight_reads_bytes", "input_bytes",
    "packed_bytes", "output_bytes", "residual_bytes", "scratch_bytes", "converted_bytes", "threads", "work_groups",
    "thread_work", "launches",
)  # fmt: skip
_DISPATCH_TERMS = ("one", "launches", "threads", "work_groups", "packed_bytes", "output_bytes")
_CPU_TERMS = (
    "one", "flops", "line_flops", "row_block_flops", "gathered_bytes", "input_bytes", "weight_bytes",
    "output_bytes", "residual_bytes", "m", "n",
)  # fmt: skip
_GPU_SMOOTH = (
    "m", "n", "k", "in_channels", "in_height", "kernel_h", "stride", "loop", "threads", "work_groups", "unit_work",
    "input_bytes", "packed_bytes", "output_bytes", "block_rows", "panel", "work_group_size", "work_groups_per_unit",
    "input_reads_bytes", "weight_reads_bytes", "padding", "intensity", "utilisation",
)  # fmt: skip
_CPU_SMOOTH = (
    "m", "n", "k", "in_channels", "in_height", "kernel_h", "stride", "flops", "gathered_bytes", "input_bytes",
    "weight_bytes", "output_bytes", "intensity",
)  # fmt: skip
_RANGE = ("m", "n", "k", "in_channels", "in_height", "kernel_h", "stride")


@dataclass(frozen=True)
class Design:
    """`make` gives the columns `features`; `terms` are summed by the cost model; a Gaussian process looks at `smooth`
    (logarithms of all but `plain`); `range` says whether a shape lies inside what was measured."""

    make: Callable[[pd.DataFrame, Vocabulary], pd.DataFrame]
    features: tuple[str, ...]
    terms: tuple[str, ...]
    smooth: tuple[str, ...]
    plain: tuple[str, ...]
    range: tuple[str, ...]
    booster: dict[str, Any]


_LITERT = Design(
    litert.litert_features,
    litert.LITERT_FEATURES,
    litert.LITERT_TERMS,
    litert.SMOOTH,
    litert.PLAIN,
    litert.RANGE,
    _QUIET,
)
_PLAIN = ("kernel_h", "stride")
_EXECUTION = Design(gpu_features, GPU_FEATURES, _GPU_TERMS, _GPU_SMOOTH, _PLAIN, _RANGE, _ROBUST)
_DISPATCH = Design(gpu_features, GPU_FEATURES, _DISPATCH_TERMS, _GPU_SMOOTH, _PLAIN, _RANGE, _ROBUST)
_CPU = Design(cpu_features, CPU_FEATURES, _CPU_TERMS, _CPU_SMOOTH, _PLAIN, _RANGE, _ROBUST)


def design_of(target: str, runtime: Runtime = "splitfleet") -> Design:
    """The design of a predictor of this target."""
    if runtime == "litert":
        return _LITERT
    if target == "gpu_execution":
        return _EXECUTION
    return _DISPATCH if target == "gpu_dispatch" else _CPU
