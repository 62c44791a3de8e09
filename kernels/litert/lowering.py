"""The second lowering: how LiteRT's GPU delegate would run operators, as the same table that our own plans give.

It launches nothing. Traces measured with that runtime get their features from here, and a planner can ask it for the
steps in latency that another number of output channels brings. `choice` picks the kernel, `blocks` the work of a
work-item, `work_groups` the work-group, `launches` puts them together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.operators import Operator

from .choice import WINOGRAD, choose_kernels, element_bytes, winograd_tiles
from .gpu import LitertGpu, check_precision
from .launches import WINOGRAD_MATRICES, Launches, launch, transform_work_groups
from .shapes import SLICE, describe


def lower_many(operators: Sequence[Operator], gpu: LitertGpu, precision: str = "fp16") -> pd.DataFrame:
    """One row an operator: `describe_many`'s columns, and of the launch that the delegate would make:

    * `family`, and `kernel`: the family with its block, for example `conv_generic_r4p8`: 4 pixels x 8 channels;
    * as in `splitfleet.kernels.lower_many`: block_rows (pixels), panel (channels), gx and gy (work-items along
      channels and along pixels), lx and ly (the same of a work-group), gz and lz (1), work_groups, work_group_size,
      threads, sharing_items (work-items that share an output block), work_groups_per_unit, loop, padded_flops,
      packed_bytes, input_reads_bytes, weight_reads_bytes, converted_bytes (0), utilisation;
    * launches: 3 for a Winograd convolution, else 1; the figures above are then those of its batched product, and
      scratch_bytes are what the transforms hand on;
    * the delegate's own view: block_x, block_y, block_slices; grid_x, grid_y, grid_z and local_x, local_y, local_z
      (work-items); waves_per_group and waves (of all work-groups); source_slices and slices (of four channels);
      winograd_tiles and transform_work_groups (0 without Winograd); launch_work: work-groups per compute unit x
      waves of a work-group x block (pixels x slices) x loop in slices.

    Raises UserError for an unknown precision, and for fp32 on Apple GPUs with matrix units that the delegate uses
    for it (M1, and Metal family 8 on): that kernel is not described.
    """
    check_precision(precision)
    if precision == "fp32" and gpu.has_float_matrix_units:
        raise UserError(f"{gpu.name}: LiteRT's fp32 kernel for Apple's matrix units is not described; use fp16")
    shapes = describe(operators)
    families = choose_kernels(shapes, gpu, precision)
    plans = [_quantities(str(family), shapes[families == family], gpu, precision) for family in np.unique(families)]
    own = shapes.drop(columns=["batch", "width", "height"])
    return pd.concat([own, pd.concat(plans).sort_index()], axis=1) if plans else own


def _quantities(family: str, shapes: pd.DataFrame, gpu: LitertGpu, precision: str) -> pd.DataFrame:
    made = launch(family, shapes, gpu, precision)
    pixels, channels = made.blocks.x * made.blocks.y, made.blocks.slices * SLICE
    per_unit = -(-made.work_groups // gpu.compute_units)
    waves = -(-made.group_size // gpu.wave_size(precision))
    value_bytes = element_bytes(precision)
    return pd.DataFrame(
        {
            "family": family,
            "kernel": [f"{family}_r{rows}p{panel}" for rows, panel in zip(pixels, channels, strict=True)],
            "block_rows": pixels,
            "panel": channels,
            "gx": made.panels,
            "gy": made.items // made.sharing // made.panels,
            "lx": made.local_panels,
            "ly": made.group_size // made.local_panels,
            "gz": 1,
            "lz": 1,
            "work_groups": made.work_groups,
            "work_group_size": made.group_size,
            "threads": made.work_groups * made.group_size,
            "sharing_items": made.sharing,
            "work_groups_per_unit": per_unit,
            "loop": made.loop,
            "padded_flops": 2 * made.items * made.block_outputs * made.loop,
            "packed_bytes": made.packed_bytes,
            "input_reads_bytes": made.items * made.reads * value_bytes,
            "weight_reads_bytes": made.items * made.weight_reads * value_bytes,
            "converted_bytes": 0,
            "utilisation": made.outputs * made.sharing / (made.work_groups * made.group_size * made.block_outputs),
            "launches": 1,
            **_delegates_view(made),
            "waves_per_group": waves,
            "waves": waves * made.work_groups,
            "launch_work": per_unit * waves * pixels * made.blocks.slices * made.loop // SLICE,
            **_transforms(family, shapes, gpu, precision),
        },
        index=shapes.index,
    )


def _delegates_view(made: Launches) -> dict[str, object]:
    columns: dict[str, object] = {
        "block_x": made.blocks.x,
        "block_y": made.blocks.y,
        "block_slices": made.blocks.slices,
    }
    for axis, name in enumerate("xyz"):
        columns |= {f"grid_{name}": made.grid[:, axis], f"local_{name}": made.local[:, axis]}
    return columns


def _transforms(family: str, shapes: pd.DataFrame, gpu: LitertGpu, precision: str) -> dict[str, object]:
    """What a Winograd convolution launches besides: both transforms, and the two tensors that they hand on."""
    if family != WINOGRAD:
        return dict.fromkeys(("winograd_tiles", "transform_work_groups", "scratch_bytes"), 0)
    tiles = winograd_tiles(shapes)
    values = (shapes["source_slices"] + shapes["slices"]).to_numpy() * SLICE * WINOGRAD_MATRICES * tiles
    return {
        "launches": 3,
        "winograd_tiles": tiles,
        "transform_work_groups": transform_work_groups(shapes, gpu),
        "scratch_bytes": values * element_bytes(precision),
    }
