"""The launch of each of the delegate's kernels: block, grid, work-group, and what one work-item reads.

Grids and fixed work-groups from github.com/google-ai-edge/LiteRT, tflite/delegates/gpu/common/tasks:
conv_generic.cc, conv_constants.cc, depthwise_conv.cc, depthwise_conv_3x3.cc and pooling.cc (7d88950e),
depthwise_conv_3x3_stride_h2.cc (45860926), fully_connected.cc (13db095a), winograd.cc (6168d9c7); reduce.cc of
github.com/tensorflow/tensorflow (09860328).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .blocks import GRID, LINEAR_SPATIAL, Blocks, Ints, choose_blocks, flat
from .choice import (
    AVERAGE_POOLING,
    CONV_CONSTANTS,
    CONV_GENERIC,
    DEPTHWISE,
    DEPTHWISE_3X3,
    DEPTHWISE_STRIDE_2,
    FULLY_CONNECTED,
    MAX_POOLING,
    MEAN,
    WINOGRAD,
    constant_bytes,
    element_bytes,
    winograd_tiles,
)
from .gpu import LitertGpu
from .shapes import SLICE
from .work_groups import conv_groups, fixed_groups, plain_groups, reduction_group

WINOGRAD_MATRICES = 36
"""Matrix products of a Winograd convolution: one for each value of a transformed 6x6 tile."""

_LINE_GROUP, _TILE_GROUP = (32, 1, 1), (8, 4, 1)
_DOT_ITEMS = 4  # work-items of fully_connected that share the dot products of one slice
_UP_GROUP, _DOWN_GROUP = (8, 6, 4), (32, 4, 2)


@dataclass(frozen=True)
class Launches:
    """One launch a row: arrays [n], `grid` and `local` (work-items of all and of a work-group) [n, 3].

    `panels` and `local_panels`: work-items along output slices, of all and of a work-group. `loop`: products summed by
    one work-item for one output. `reads`, `weight_reads`: input and weight values that one work-item reads.
    `packed_bytes`: the weights as they lie in memory. `outputs`: values to compute. `sharing`: work-items that share
    one output.
    """

    blocks: Blocks
    grid: Ints
    local: Ints
    panels: Ints
    local_panels: Ints
    loop: Ints
    reads: Ints
    weight_reads: Ints
    packed_bytes: Ints
    outputs: Ints
    sharing: int = 1

    @property
    def items(self) -> Ints:
        """Work-items that have something to compute."""
        return _volume(self.grid) * self.sharing

    @property
    def group_size(self) -> Ints:
        return _volume(self.local)

    @property
    def work_groups(self) -> Ints:
        return _volume(-(-self.grid // self.local))

    @property
    def block_outputs(self) -> Ints:
        """Output values of one work-item, padding included."""
        return self.blocks.x * self.blocks.y * self.blocks.slices * SLICE


def launch(family: str, shapes: pd.DataFrame, gpu: LitertGpu, precision: str) -> Launches:
    """The launches of operators that all get the kernel `family`."""
    return _LAUNCHES[family](shapes, gpu, precision)


def transform_work_groups(shapes: pd.DataFrame, gpu: LitertGpu) -> Ints:
    """Work-groups of Winograd's input transform and output transform together."""
    tiles, source, slices = winograd_tiles(shapes), _column(shapes, "source_slices"), _column(shapes, "slices")
    if gpu.vendor == "apple":
        across, down = -(-_column(shapes, "width") // 4), -(-_column(shapes, "height") // 4)
        up_grid, down_grid = _sides(across, down, source), _sides(tiles, 1, slices)
        up, lower = plain_groups(up_grid, gpu), plain_groups(down_grid, gpu)
    else:
        up_grid, down_grid = _sides(tiles, 6, source), _sides(tiles, 4, slices)
        up, lower = fixed_groups(up_grid, _UP_GROUP), fixed_groups(down_grid, _DOWN_GROUP)
    return _volume(-(-up_grid // up)) + _volume(-(-down_grid // lower))


def _conv_generic(shapes: pd.DataFrame, gpu: LitertGpu, precision: str) -> Launches:
    blocks = choose_blocks(shapes, gpu, precision)
    linear = _column(shapes, "is_conv") == 0  # channel-wise operators have other kernels
    along = flat(blocks)
    blocks = replace(blocks, x=np.where(linear, along.x, blocks.x), y=np.where(linear, along.y, blocks.y))
    image = _column(shapes, "width"), _column(shapes, "height")
    return _products(shapes, blocks, image, linear, _taps(shapes), gpu, precision)


def _winograd(shapes: pd.DataFrame, gpu: LitertGpu, precision: str) -> Launches:
    """The batched product alone: an image of `tiles` columns and 36 lines, each line with weights of its own.

    The delegate chooses its block from the size of the input and, on Apple, from the input's channels.
    """
    asked = shapes.assign(width=shapes["in_width"], height=shapes["in_height"], pointwise=1)
    if gpu.vendor == "apple":
        asked["slices"] = asked["source_slices"]
    blocks = flat(choose_blocks(asked, gpu, precision))
    if gpu.vendor == "powervr":
        blocks = replace(blocks, form=np.full(len(shapes), GRID))
    tiles, ones = winograd_tiles(shapes), np.ones(len(shapes), dtype=np.int64)
    image = tiles, ones * WINOGRAD_MATRICES
    made = _products(shapes, blocks, image, ones == 1, ones, gpu, precision)
    return replace(
        made,
        packed_bytes=made.packed_bytes * WINOGRAD_MATRICES,
        outputs=WINOGRAD_MATRICES * tiles * _column(shapes, "n"),
    )


def _products(
    shapes: pd.DataFrame,
    blocks: Blocks,
    image: tuple[Ints, Ints],
    one_line: NDArray[np.bool_],
    taps: Ints,
    gpu: LitertGpu,
    precision: str,
) -> Launches:
    """conv_generic over an `image` (width, height); `one_line` where its work-groups lie along the width alone."""
    columns, lines = -(-image[0] // blocks.x) * _column(shapes, "batch"), -(-image[1] // blocks.y)
    panels = -(-_column(shapes, "slices") // blocks.slices)
    in_grid, spatial = blocks.form == GRID, blocks.form == LINEAR_SPATIAL
    grid = np.select(
        [in_grid[:, None], spatial[:, None]],
        [_sides(columns, lines, panels), _sides(columns * lines, panels, 1)],
        default=_sides(columns * lines * panels, 1, 1),
    )
    local = fixed_groups(grid, _LINE_GROUP)
    if gpu.vendor in ("adreno", "mali"):
        local = conv_groups(grid, gpu)
    elif gpu.vendor == "apple":
        local = np.where((in_grid & ~one_line)[:, None], fixed_groups(grid, _TILE_GROUP), local)
    loop = _column(shapes, "source_slices") * SLICE * taps
    channels = blocks.slices * SLICE
    return Launches(
        blocks=blocks,
        grid=grid,
        local=local,
        panels=panels,
        local_panels=np.select([in_grid, spatial], [local[:, 2], local[:, 1]], default=1),
        loop=loop,
        reads=blocks.x * blocks.y * loop,
        weight_reads=channels * loop,
        packed_bytes=panels * channels * loop * element_bytes(precision),
        outputs=_column(shapes, "m") * _column(shapes, "n"),
    )


def _conv_constants(shapes: pd.DataFrame, gpu: LitertGpu, precision: str) -> Launches:
    """One work-item a pixel: it computes all channels."""
    slices = _column(shapes, "slices")
    ones = np.ones_like(slices)
    grid = _sides(_column(shapes, "width") * _column(shapes, "batch"), _column(shapes, "height"), 1)
    packed_bytes = constant_bytes(shapes, precision)
    return Launches(
        blocks=Blocks(ones, ones, slices, np.full(len(shapes), GRID)),
        grid=grid,
        local=plain_groups(grid, gpu),
        panels=ones,
        local_panels=ones,
        loop=_column(shapes, "k"),
        reads=_column(shapes, "source_slices") * SLICE * _taps(shapes),
        weight_reads=packed_bytes // element_bytes(precision),
        packed_bytes=packed_bytes,
        outputs=_column(shapes, "m") * _column(shapes, "n"),
    )


def _fully_connected(shapes: pd.DataFrame, gpu: LitertGpu, precision: str) -> Launches:
    """One output slice a column of work-items; the four of a column share its dot products."""
    slices, source = _column(shapes, "slices"), _column(shapes, "source_slices")
    ones = np.ones_like(slices)
    columns = 8 if gpu.vendor in ("powervr", "apple") else 16
    if gpu.vendor == "adreno" and gpu.generation != "3xx":
        columns = 32
    grid = _sides(slices, 1, 1)
    loop = -(-source // _DOT_ITEMS) * SLICE
    return Launches(
        blocks=Blocks(ones, ones, ones, np.full(len(shapes), GRID)),
        grid=grid,
        local=fixed_groups(grid, (columns, _DOT_ITEMS, 1)),
        panels=slices,
        local_panels=ones * columns,
        loop=loop,
        reads=loop,
        weight_reads=loop * SLICE,
        packed_bytes=slices * source * SLICE * SLICE * element_bytes(precision),
        outputs=_column(shapes, "n"),
        sharing=_DOT_ITEMS,
    )


def _depthwise(shapes: pd.DataFrame, gpu: LitertGpu, precision: str) -> Launches:
    taps = _taps(shapes)
    made = _channel_wise(shapes, (1, 1), taps, gpu)
    return replace(
        made,
        weight_reads=taps * SLICE,
        packed_bytes=made.panels * taps * SLICE * element_bytes(precision),
    )


def _depthwise_3x3(shapes: pd.DataFrame, gpu: LitertGpu, precision: str) -> Launches:
    """Two by two pixels from 4x4 of the input. PowerVR has the weights in local memory, for a fixed work-group."""
    made = _with_weights_and_bias(_channel_wise(shapes, (2, 2), np.full(len(shapes), 16), gpu), precision)
    if gpu.vendor == "powervr":
        made = replace(made, local=fixed_groups(made.grid, _TILE_GROUP), local_panels=np.ones_like(made.panels))
    return made


def _depthwise_stride_2(shapes: pd.DataFrame, gpu: LitertGpu, precision: str) -> Launches:
    """One by two pixels from 3x5 of the input."""
    return _with_weights_and_bias(_channel_wise(shapes, (1, 2), np.full(len(shapes), 15), gpu), precision)


def _pooling(shapes: pd.DataFrame, gpu: LitertGpu, precision: str) -> Launches:
    return _channel_wise(shapes, (1, 1), _taps(shapes), gpu)


def _mean(shapes: pd.DataFrame, gpu: LitertGpu, precision: str) -> Launches:
    """A work-group sums one slice of the image where the image fills a quarter of it; else one work-item does."""
    made = _channel_wise(shapes, (1, 1), _taps(shapes), gpu)
    sides = [_column(shapes, "in_width"), _column(shapes, "in_height")]
    across, down = reduction_group(sides[0], sides[1], _reduction_limit(gpu))
    shared = across * down >= _reduction_limit(gpu) // 4
    across, down = np.where(shared, across, 1), np.where(shared, down, 1)
    loop = -(-sides[0] // across) * -(-sides[1] // down)
    local = np.where(shared[:, None], _sides(across, down, 1), made.local)
    return replace(
        made,
        grid=_sides(across, down, made.panels),
        local=local,
        local_panels=local[:, 2],
        loop=loop,
        reads=loop * SLICE,
    )


def _reduction_limit(gpu: LitertGpu) -> int:
    if gpu.vendor == "mali":
        return 32 if gpu.generation == "midgard" else 64
    return 128 if gpu.vendor == "adreno" and gpu.generation == "3xx" else 256


def _channel_wise(shapes: pd.DataFrame, block: tuple[int, int], pixels_read: Ints, gpu: LitertGpu) -> Launches:
    """Each work-item computes a block of pixels (width, height) of one slice, without weights."""
    slices = _column(shapes, "slices")
    ones = np.ones_like(slices)
    grid = _sides(-(-_column(shapes, "width") // block[0]), -(-_column(shapes, "height") // block[1]), slices)
    local = plain_groups(grid, gpu)
    return Launches(
        blocks=Blocks(ones * block[0], ones * block[1], ones, np.full(len(shapes), GRID)),
        grid=grid,
        local=local,
        panels=slices,
        local_panels=local[:, 2],
        loop=_taps(shapes),
        reads=pixels_read * SLICE,
        weight_reads=ones * 0,
        packed_bytes=ones * 0,
        outputs=_column(shapes, "m") * _column(shapes, "n"),
    )


def _with_weights_and_bias(made: Launches, precision: str) -> Launches:
    """3x3 weights and the bias lie together: ten values a channel."""
    values = np.full_like(made.panels, 10 * SLICE)
    return replace(made, weight_reads=values, packed_bytes=made.panels * values * element_bytes(precision))


def _taps(shapes: pd.DataFrame) -> Ints:
    return _column(shapes, "kernel_h") * _column(shapes, "kernel_w")


def _column(shapes: pd.DataFrame, name: str) -> Ints:
    return shapes[name].to_numpy(np.int64)


def _volume(sides: Ints) -> Ints:
    return np.asarray(np.prod(sides, axis=1), dtype=np.int64)


def _sides(x: Ints, y: Ints | int, z: Ints | int) -> Ints:
    return np.stack(np.broadcast_arrays(x, y, z), axis=1)


_LAUNCHES = {
    CONV_GENERIC: _conv_generic,
    CONV_CONSTANTS: _conv_constants,
    WINOGRAD: _winograd,
    FULLY_CONNECTED: _fully_connected,
    DEPTHWISE: _depthwise,
    DEPTHWISE_3X3: _depthwise_3x3,
    DEPTHWISE_STRIDE_2: _depthwise_stride_2,
    MAX_POOLING: _pooling,
    AVERAGE_POOLING: _pooling,
    MEAN: _mean,
}
