"""Features of what LiteRT's GPU delegate ran: from the quantities of its lowering, and the layers fused into it.

Beside the quantities themselves there are products that a time can be proportional to. Most are as in `features`; those
that are new describe waiting: a work-item sums its loop one step after the other, and as many waves as a compute unit
holds at once wait together, so a launch takes about loop x rounds of waves x what a step waits for. Nothing tells how
many waves a unit holds, so rounds are there for 2, 8 and 32, and the fit takes its choice.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from splitfleet.kernels.litert.usc_operations import FUSED

from .features import SHAPE_FEATURES, Vocabulary, take, with_codes

OCCUPANCIES = (2, 8, 32)
"""Waves that a compute unit may hold at once."""

_TAP_OCCUPANCY = 8

_LAUNCH = (
    "out_width", "block_rows", "panel", "gx", "gy", "lx", "ly", "work_groups", "work_group_size", "threads",
    "work_groups_per_unit", "loop", "padded_flops", "packed_bytes", "input_reads_bytes", "weight_reads_bytes",
    "launches", "scratch_bytes", "utilisation", "block_x", "block_y", "block_slices", "grid_x", "grid_y", "grid_z",
    "local_x", "local_y", "local_z", "waves_per_group", "waves", "launch_work", "slices", "source_slices",
    "transform_work_groups", "groups", "parts", "aligned", "dot_form", "wave_fill", "unit_fill",
)  # fmt: skip
_ROUNDS = tuple(f"rounds{count}{part}" for count in OCCUPANCIES for part in ("", "_rows", "_panel", "_block"))
_DERIVED = (
    "one", "unit_work", "iterations", "thread_work", "padding", "intensity", "loop_rows", "loop_panel",
    "group_weight_reads", "group_input_reads", "added_values", "fused_values",
    "swish_values", "tap_threads", "tap_rounds", "window_reads", "strided_reads", "out_height", "source_padding",
    "output_padding", "units_filled", "grid_fill", "single_values", "part_threads", *_ROUNDS,
)  # fmt: skip
_FUSED = tuple(f"fused_{name}" for name in FUSED)

LITERT_FEATURES = ("kernel", "family", *SHAPE_FEATURES, *_LAUNCH, *_FUSED, "fused", *_DERIVED)

LITERT_TERMS = (
    "one", "padded_flops", "unit_work", "launch_work", "iterations", "thread_work", "input_reads_bytes",
    "weight_reads_bytes", "group_weight_reads", "group_input_reads", "input_bytes", "packed_bytes", "output_bytes",
    "added_values", "fused_values", "swish_values", "fused", "tap_threads", "tap_rounds", "window_reads",
    "strided_reads", "threads", "work_groups", "waves", "scratch_bytes", "transform_work_groups",
    "loop", "loop_rows", "loop_panel", "single_values", "part_threads", *_ROUNDS,
)  # fmt: skip
"""What the cost model sums: work, reads, tensors, work-items, waiting."""

SMOOTH = (
    "m", "n", "k", "in_channels", "in_height", "out_height", "threads", "work_groups", "launch_work", "loop", "waves",
    "unit_work", "input_bytes", "packed_bytes", "output_bytes", "padding", "intensity", "unit_fill", "block_rows",
    "panel", "work_group_size", "input_reads_bytes", "weight_reads_bytes", "source_padding", "output_padding",
    "local_x", "local_y", "local_z", "grid_x", "grid_y", "grid_z", "wave_fill", "grid_fill", "units_filled",
    "loop_rows", "loop_panel", "rounds2", "rounds8", "rounds32", "rounds8_block", "groups", "parts",
    "stride", "kernel_h", "aligned", "dot_form", "fused", *_FUSED,
)  # fmt: skip
"""What a Gaussian process looks at; logarithms of all but PLAIN."""

PLAIN = ("stride", "kernel_h", "aligned", "dot_form", "fused", *_FUSED)

RANGE = ("m", "n", "k", "in_channels", "in_height", "kernel_h", "stride", "groups", "parts")
"""What says whether a shape lies inside what was measured."""


def litert_features(table: pd.DataFrame, vocabulary: Vocabulary) -> pd.DataFrame:
    """LITERT_FEATURES of a table of launches: columns `kernel`, the lowering's, and `fused_*` (0 where absent).

    Raises UserError when a quantity is missing, as in traces of another version.
    """
    given = table.assign(**{name: 0 for name in _FUSED if name not in table.columns})
    frame = take(given, (*SHAPE_FEATURES, *_LAUNCH, *_FUSED))
    derived = _products(frame) | _waiting(frame) | _fills(frame)
    frame = pd.concat([frame, pd.DataFrame(derived)], axis=1)
    return with_codes(frame, table["kernel"].to_numpy(), vocabulary)[list(LITERT_FEATURES)]


def _products(f: pd.DataFrame) -> dict[str, pd.Series[float]]:
    block = f["block_rows"] * f["panel"]
    fused = f[list(_FUSED)].sum(axis=1)
    return {
        "one": f["m"] * 0 + 1,
        "unit_work": f["work_groups_per_unit"] * f["work_group_size"] * block * f["loop"],
        "iterations": f["gx"] * f["gy"] * f["loop"],
        "thread_work": block * f["loop"],
        "padding": f["padded_flops"] / f["flops"],
        "intensity": f["flops"] / (f["input_bytes"] + f["weight_bytes"] + f["output_bytes"]),
        "group_weight_reads": f["work_groups"] * f["lx"] * f["panel"] * f["loop"],
        "group_input_reads": f["work_groups"] * f["ly"] * f["block_rows"] * f["loop"],
        "window_reads": f["input_reads_bytes"] * (f["kernel_h"] * f["kernel_w"] > 1),
        "strided_reads": f["input_reads_bytes"] * (f["stride"] > 1),
        "single_values": (1 - f["aligned"]) * f["m"] * f["n"],
        "part_threads": (f["parts"] - 1) * f["threads"],
        "fused": fused,
        "added_values": f["fused_add"] * f["m"] * f["n"],
        "fused_values": fused * f["m"] * f["n"],
        "swish_values": f["fused_hard_swish"] * f["m"] * f["n"],
    }


def _waiting(f: pd.DataFrame) -> dict[str, pd.Series[float]]:
    columns = {"loop_rows": f["loop"] * f["block_rows"], "loop_panel": f["loop"] * f["panel"]}
    waves = f["work_groups_per_unit"] * f["waves_per_group"]
    taps = f["kernel_h"] * f["kernel_w"]
    columns |= {"tap_threads": taps * f["threads"], "tap_rounds": taps * np.ceil(waves / _TAP_OCCUPANCY)}
    for count in OCCUPANCIES:
        steps = f["loop"] * np.ceil(waves / count)
        columns[f"rounds{count}"] = steps
        columns[f"rounds{count}_rows"] = steps * f["block_rows"]
        columns[f"rounds{count}_panel"] = steps * f["panel"]
        columns[f"rounds{count}_block"] = steps * f["block_rows"] * f["panel"]
    return columns


def _fills(f: pd.DataFrame) -> dict[str, pd.Series[float]]:
    """How much of what is launched is of use, and how many units have something to do."""
    covered = [np.ceil(f[f"grid_{axis}"] / f[f"local_{axis}"]) * f[f"local_{axis}"] for axis in "xyz"]
    return {
        "out_height": f["m"] / f["out_width"],
        "source_padding": f["source_slices"] * 4 / f["in_channels"],
        "output_padding": f["slices"] * 4 / f["n"],
        "grid_fill": f["grid_x"] * f["grid_y"] * f["grid_z"] / (covered[0] * covered[1] * covered[2]),
        "units_filled": f["work_groups"] / f["work_groups_per_unit"],
    }
