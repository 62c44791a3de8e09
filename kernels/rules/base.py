"""The rules of a generic GPU.

* family: a linear layer and a pointwise convolution are `matmul`, or `matvec` up to 8 rows; any other convolution is
  `conv_direct`, or, by LiteRT's thresholds for GPUs that it does not know, `winograd` from 64 input and output
  channels and 32 tiles on, and `conv_constant` up to 32 output channels and 1024 bytes of weights;
* panel (columns a work-item computes): the widest of 16, 8, 4 that is at most twice the device's preferred float
  vector and wastes at most a quarter of the columns, else 4;
* block rows: the tallest of 6, 4, 2, 1 that wastes at most a quarter of the rows and leaves at least
  32 work-items to every compute unit, else 1;
* work-group: powers of two within 64 work-items and the device's limits, up to 8 along panels, the rest along rows.

Block and work-group change with the number of output channels, so the times along channels have steps. The shape of
the rules (block by work-items per compute unit, work-group by grid) follows the LiteRT GPU delegate
(github.com/google-ai-edge/LiteRT, tflite/delegates/gpu/common); the figures were chosen on PoCL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..device import Device
from ..precision import Precision
from ..tables import Columns
from . import possible

Ints = NDArray[np.int64]
_BLOCK_ROWS = (6, 4, 2, 1)
PANELS = (16, 8, 4)
_MAX_WASTE = 0.25
_ITEMS_PER_COMPUTE_UNIT = 32
_WORK_GROUP = 64
_WORK_GROUP_PANELS = 8
_MATVEC_ITEMS = {"adreno": 128, "nvidia": 32, "intel": 32, "powervr": 32}
_MATVEC_SPLIT = 4
_MATVEC_LANES = 4
_WINOGRAD_CHANNELS = 64
_WINOGRAD_TILES = 32
_CONSTANT_BYTES = 1024


@dataclass(frozen=True)
class Sharing:
    """How work-items of `matvec` share its work: columns of each (`panel`, by shape), neighbours that share a panel's
    line (`lanes`), work-items that share one dot product (`split`), and the most in one work-group (`items`)."""

    panel: Ints
    lanes: int
    split: int
    items: int


@dataclass(frozen=True)
class Block:
    """The output of one work-item, by shape: rows (or pixels) by columns (or channels)."""

    rows: Ints
    panel: Ints


class Rules:
    """Decisions about whole columns of shapes at once, for one device and precision."""

    def __init__(self, device: Device, precision: Precision) -> None:
        self.device = device
        self.precision = precision

    def family(self, shapes: Columns) -> NDArray[np.object_]:
        """The name of the kernel family of each shape."""
        family = np.where(shapes["pointwise"] == 1, "matmul", "conv_direct").astype(object)
        for name in ("depthwise", "maxpool", "avgpool"):
            family[shapes[f"is_{name}"] == 1] = name
        for name, better in self.preferred(shapes).items():
            family[better] = name
        return family

    def preferred(self, shapes: Columns) -> dict[str, NDArray[np.bool_]]:
        """Families that are faster than the plain ones, and for which shapes; of several the last one is taken."""
        small = possible.constant_bytes(shapes, self.precision) <= _CONSTANT_BYTES
        large = np.minimum(shapes["in_channels"], shapes["n"]) >= _WINOGRAD_CHANNELS
        large &= possible.winograd_tiles(shapes) >= _WINOGRAD_TILES
        return {
            "matvec": possible.matvec(shapes),
            "winograd": possible.winograd(shapes, self.device, self.precision) & large,
            "conv_constant": possible.conv_constant(shapes, self.device, self.precision) & small,
        }

    def block(self, shapes: Columns, m: Ints | None = None, copies: int = 1) -> Block:
        """The output block of a work-item. `m`: rows where these are not the shape's own; `copies` of the product."""
        m, n = shapes["m"] if m is None else m, shapes["n"]
        widest = max(2 * self.device.preferred_vector_float, min(PANELS))
        fits = [(panel <= widest) & (round_up(n, panel) - n <= _MAX_WASTE * n) for panel in PANELS]
        panel = np.select(fits, list(PANELS), default=min(PANELS))
        least = _ITEMS_PER_COMPUTE_UNIT * self.device.compute_units
        items = -(-n // panel) * copies
        fits = [(round_up(m, rows) - m <= _MAX_WASTE * m) & (-(-m // rows) * items >= least) for rows in _BLOCK_ROWS]
        return Block(np.select(fits, list(_BLOCK_ROWS), default=1), panel)

    def matvec(self, rows: Ints) -> Sharing:
        """How `matvec` shares its work, by rows of a block.

        As in LiteRT's fully connected kernel, four work-items share a dot product and a work-group holds 128 of them
        on Adreno, 32 on NVIDIA, Intel and PowerVR, else 64.
        """
        device = self.device
        items = min(_MATVEC_ITEMS.get(device.vendor_family, _WORK_GROUP), device.max_work_group_size)
        split = _MATVEC_SPLIT if items >= 2 * _MATVEC_SPLIT and device.max_work_item_sizes[1] >= _MATVEC_SPLIT else 1
        return Sharing(np.full_like(rows, min(PANELS)), _MATVEC_LANES, split, items)

    def work_group(self, gx: Ints, gy: Ints) -> tuple[Ints, Ints]:
        """The work-group of a grid of gx (along columns) x gy (along rows) work-items."""
        device = self.device
        budget = min(_WORK_GROUP, device.max_work_group_size)
        lx = power_of_two(np.minimum(gx, min(_WORK_GROUP_PANELS, budget, device.max_work_item_sizes[0])))
        ly = power_of_two(np.minimum(np.minimum(gy, budget // lx), device.max_work_item_sizes[1]))
        return lx, ly


def round_up(value: Any, multiple: Any) -> Any:
    return -(-value // multiple) * multiple


def power_of_two(values: Ints) -> Ints:
    """The largest power of two that is at most each value."""
    return 2 ** np.floor(np.log2(values)).astype(np.int64)
