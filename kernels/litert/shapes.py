"""Operators as the delegate sees them: batch, width, height, and channels in slices of four."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from splitfleet.kernels.operators import Operator
from splitfleet.kernels.tables import describe_many

SLICE = 4
"""Channels in a slice: the delegate's tensors are vectors of four channels."""


def describe(operators: Sequence[Operator]) -> pd.DataFrame:
    """`describe_many` and, of the output, `batch`, `width`, `height`, `slices`, and `source_slices` of the input.

    A linear layer of many rows is a batch of images of one pixel, as in LiteRT.
    """
    table = describe_many(operators)
    linear = table[["is_conv", "is_depthwise", "is_maxpool", "is_avgpool"]].sum(axis=1) == 0
    rows = table["in_height"].where(linear, 1)
    height = (table["in_height"] + 2 * table["pad_h"] - table["kernel_h"]) // table["stride"] + 1
    width = (table["in_width"] + 2 * table["pad_w"] - table["kernel_w"]) // table["stride"] + 1
    return table.assign(
        batch=rows,
        height=height.where(~linear, 1),
        width=width.where(~linear, 1),
        slices=-(-table["n"] // SLICE),
        source_slices=-(-table["in_channels"] // SLICE),
    )
