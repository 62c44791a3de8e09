"""Operators as tables of numbers, one row each: the ground that lowering and the CPU predictors stand on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .operators import FLOAT_BYTES, Conv2d, DepthwiseConv2d, Linear, Operator, Pool2d

if TYPE_CHECKING:
    import pandas as pd

SHAPE_COLUMNS = (
    "is_conv",
    "is_depthwise",
    "is_maxpool",
    "is_avgpool",
    "in_height",
    "in_width",
    "in_channels",
    "kernel_h",
    "kernel_w",
    "stride",
    "pad_h",
    "pad_w",
    "out_width",
    "m",
    "n",
    "k",
    "pointwise",
    "activation",
    "has_residual",
)
"""One of the first four is 1, or none for a linear layer. `activation` is 0 none, 1 relu, 2 relu6."""

Columns = dict[str, NDArray[Any]]
"""Columns of a table by name, all of one length."""

_ACTIVATIONS = {"relu": 1, "add_relu": 1, "relu6": 2}


def describe_many(operators: Sequence[Operator]) -> pd.DataFrame:
    """One row an operator: SHAPE_COLUMNS, flops and bytes (fp32), none of which depends on a device.

    A linear layer stands as the 1x1 convolution that it equals: rows x 1 pixels of in_features channels.
    """
    import pandas as pd  # takes a second, which whoever only wants an operator or an error need not wait

    return pd.DataFrame(shapes_of_many(operators))


def describe_channels(operator: Operator, channels: NDArray[np.int64]) -> pd.DataFrame:
    """As `describe_many` for slices of one operator that have these numbers of output channels."""
    import pandas as pd

    return pd.DataFrame(shapes_of_channels(operator, channels))


def shapes_of_many(operators: Sequence[Operator]) -> Columns:
    """The columns of `describe_many`, which a DataFrame costs far more than computing them."""
    table = np.array([_shape(op) for op in operators], dtype=np.int64).reshape(-1, len(SHAPE_COLUMNS))
    return _complete(dict(zip(SHAPE_COLUMNS, table.T, strict=True)))


def shapes_of_channels(operator: Operator, channels: NDArray[np.int64]) -> Columns:
    """The columns of `describe_channels`."""
    channels = np.asarray(channels, dtype=np.int64)
    columns = {
        name: np.full(len(channels), value, dtype=np.int64)
        for name, value in zip(SHAPE_COLUMNS, _shape(operator), strict=True)
    }
    columns["n"] = channels
    if isinstance(operator, DepthwiseConv2d | Pool2d):
        columns["in_channels"] = channels
    return _complete(columns)


def _shape(op: Operator) -> tuple[int, ...]:
    m, n, k = op.matmul
    end = (m, n, k, int(is_pointwise(op)), _ACTIVATIONS.get(op.epilogue_name, 0), int(op.has_residual))
    if isinstance(op, Linear):
        return (0, 0, 0, 0, op.rows, 1, op.in_features, 1, 1, 1, 0, 0, 1, *end)
    pool = [int(isinstance(op, Pool2d) and op.mode == mode) for mode in ("max", "avg")]
    kind = (int(isinstance(op, Conv2d)), int(isinstance(op, DepthwiseConv2d)), *pool)
    window = (op.kernel_h, op.kernel_w, op.stride, op.pad_h, op.pad_w, op.output_width)
    return (*kind, *op.input_shape, *window, *end)


def is_pointwise(op: Operator) -> bool:
    """Whether the operator is a plain matrix product over its input as it lies."""
    return isinstance(op, Linear) or (isinstance(op, Conv2d) and op.is_pointwise)


def _complete(table: Columns) -> Columns:
    m, n, k = table["m"], table["n"], table["k"]
    is_pool = table["is_maxpool"] + table["is_avgpool"]
    table["flops"] = (2 - is_pool) * m * n * k
    table["input_bytes"] = table["in_height"] * table["in_width"] * table["in_channels"] * FLOAT_BYTES
    table["weight_bytes"] = (1 - is_pool) * n * k * FLOAT_BYTES
    table["output_bytes"] = m * n * FLOAT_BYTES
    table["residual_bytes"] = table["has_residual"] * table["output_bytes"]
    # What a convolution by matrix product has to gather first; nothing when it is pointwise.
    table["gathered_bytes"] = table["is_conv"] * (1 - table["pointwise"]) * m * k * FLOAT_BYTES
    return table
