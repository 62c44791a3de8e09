"""Where a kernel family can be used at all: by what it computes, and by the device's limits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..device import Device
from ..precision import Precision, storage_bytes
from ..tables import Columns

Bools = NDArray[np.bool_]

MATVEC_ROWS = 8
"""The most rows that a work-item of `matvec` computes; more rows read the weights once more."""

MATVEC_ITEMS = 128
"""The most work-items of a work-group of `matvec` (MAX_ITEMS of its source)."""

TILED_LANES, TILED_DEPTH, TILED_PANEL, TILED_MOST_ROWS = 16, 16, 4, 8
"""Of `matmul_tiled`: side of its work-group, steps of k in a tile, columns and most rows of a work-item."""

WINOGRAD_TILE = 4
"""Output pixels along a side of a tile of `winograd`."""

WINOGRAD_PLACES = 36
"""Products of one tile and channel: a patch of 6 x 6."""

WINOGRAD_CHANNELS = 4
"""`winograd` transforms input channels by vectors of at least so many."""

CONSTANT_PANEL = 4
CONSTANT_MOST_CHANNELS = 32
"""Output channels that a work-item of `conv_constant` keeps sums of."""

TEXEL = 4
"""Channels in one texel of an image."""

_WIDEST_PANEL = 16


def matvec(shapes: Columns) -> Bools:
    return np.asarray((shapes["pointwise"] == 1) & (shapes["m"] <= MATVEC_ROWS))


def matmul_tiled(shapes: Columns, device: Device, precision: Precision) -> Bools:
    """Matrix products, where work-group and tiles fit the device."""
    items = TILED_LANES**2
    local_bytes = TILED_DEPTH * TILED_LANES * (TILED_MOST_ROWS + TILED_PANEL) * (2 if precision == "fp16" else 4)
    fits = device.max_work_group_size >= items and min(device.max_work_item_sizes[:2]) >= TILED_LANES
    return np.asarray((shapes["pointwise"] == 1) & fits & (local_bytes <= device.local_bytes))


def winograd(shapes: Columns, device: Device, precision: Precision) -> Bools:
    """3x3 convolutions of stride 1 and whole vectors of channels, whose transformed tensors the device can hold."""
    fits = (shapes["is_conv"] == 1) & (shapes["stride"] == 1)
    fits &= (shapes["kernel_h"] == 3) & (shapes["kernel_w"] == 3)
    tiles, channels = winograd_tiles(shapes), shapes["in_channels"]
    fits &= channels % WINOGRAD_CHANNELS == 0
    columns = _round_up(shapes["n"], _WIDEST_PANEL)
    largest = np.maximum(np.maximum(tiles * channels, tiles * columns), channels * columns)
    return np.asarray(fits & (WINOGRAD_PLACES * largest * storage_bytes(precision) <= device.max_alloc_bytes))


def winograd_tiles(shapes: Columns) -> NDArray[np.int64]:
    """Tiles that cover the output of each convolution, were it 3x3 and of stride 1."""
    across = -(-(shapes["in_width"] + 2 * shapes["pad_w"] - 2) // WINOGRAD_TILE)
    return np.asarray(across * -(-(shapes["in_height"] + 2 * shapes["pad_h"] - 2) // WINOGRAD_TILE))


def conv_constant(shapes: Columns, device: Device, precision: Precision) -> Bools:
    """Convolutions whose output channels fit a work-item, and whose weights fit the constant memory."""
    return np.asarray(
        (shapes["is_conv"] == 1)
        & (shapes["n"] <= CONSTANT_MOST_CHANNELS)
        & (constant_bytes(shapes, precision) <= device.constant_bytes)
    )


def constant_bytes(shapes: Columns, precision: Precision) -> NDArray[np.int64]:
    """Of the weights of `conv_constant`, filled up to whole panels."""
    return np.asarray(_round_up(shapes["n"], CONSTANT_PANEL) * shapes["k"] * storage_bytes(precision))


def conv_image(shapes: Columns, device: Device) -> Bools:
    """Convolutions and linear layers whose images keep the device's limits."""
    widest, highest = device.image2d_max
    slices = -(-shapes["in_channels"] // TEXEL)
    taps = shapes["kernel_h"] * shapes["kernel_w"]
    wide = np.maximum(shapes["in_width"] * slices, _round_up(shapes["n"], 2 * TEXEL))
    high = np.maximum(shapes["in_height"], taps * slices)
    kind = (shapes["is_conv"] == 1) | (shapes["pointwise"] == 1)
    return np.asarray(kind & (wide <= widest) & (high <= highest))


def _round_up(values: NDArray[np.int64], multiple: int) -> NDArray[np.int64]:
    return -(-values // multiple) * multiple
