"""Operators as tables of numbers, one row each: the ground that lowering and the CPU predictors stand on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .operators import FLOAT_BYTES, Conv2d, Operator

SHAPE_COLUMNS = (
    "is_conv",
    "in_height",
    "in_width",
    "in_channels",
    "kernel_h",
    "kernel_w",
    "stride",
    "pad_h",
    "pad_w",
    "m",
    "n",
    "k",
    "pointwise",
)


def describe_many(operators: Sequence[Operator]) -> pd.DataFrame:
    """One row an operator: SHAPE_COLUMNS, flops and bytes, none of which depends on a device.

    A linear layer stands as the 1x1 convolution that it equals: rows x 1 pixels of in_features channels.
    """
    return _complete(pd.DataFrame([_shape(op) for op in operators], columns=list(SHAPE_COLUMNS), dtype=np.int64))


def describe_channels(operator: Operator, channels: NDArray[np.int64]) -> pd.DataFrame:
    """As `describe_many` for slices of one operator that have these numbers of output channels."""
    table = pd.DataFrame([_shape(operator)], columns=list(SHAPE_COLUMNS), dtype=np.int64)
    table = table.loc[table.index.repeat(len(channels))].reset_index(drop=True)
    table["n"] = np.asarray(channels, dtype=np.int64)
    return _complete(table)


def _shape(op: Operator) -> tuple[int, ...]:
    m, n, k = op.matmul
    if isinstance(op, Conv2d):
        sides = (op.height, op.width, op.in_channels, op.kernel_h, op.kernel_w, op.stride, op.pad_h, op.pad_w)
        return (1, *sides, m, n, k, int(op.is_pointwise))
    return (0, op.rows, 1, op.in_features, 1, 1, 1, 0, 0, m, n, k, 1)


def _complete(table: pd.DataFrame) -> pd.DataFrame:
    table["flops"] = 2 * table["m"] * table["n"] * table["k"]
    table["input_bytes"] = table["in_height"] * table["in_width"] * table["in_channels"] * FLOAT_BYTES
    table["weight_bytes"] = table["n"] * table["k"] * FLOAT_BYTES
    table["output_bytes"] = table["m"] * table["n"] * FLOAT_BYTES
    # What a convolution by matrix product has to gather first; nothing when it is pointwise.
    table["gathered_bytes"] = (1 - table["pointwise"]) * table["m"] * table["k"] * FLOAT_BYTES
    return table
