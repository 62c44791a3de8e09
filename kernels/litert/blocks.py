"""How much output one work-item of `conv_generic` computes, and in which form the work is launched.

Rules by vendor from github.com/google-ai-edge/LiteRT, tflite/delegates/gpu/common: tasks/conv_generic.cc (7d88950e),
and for Mali task/util.cc (46999956).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .gpu import LitertGpu

Ints = NDArray[np.int64]

GRID, LINEAR_SPATIAL, LINEAR_ALL = 0, 1, 2
"""Launched as (columns, lines, slices), as (pixels, slices), or as one long line."""

_APPLE_GROUP = 32  # work-items of a work-group there, which is one wave

# Tasks (pixel slices) per compute unit up to which a work-item takes 1, 2 and 4 of them; above, 8.
_EVER = float("inf")
_MALI_LIMITS: dict[str, dict[str, tuple[float, float, float]]] = {
    "fp16": {
        "bifrost1": (256, 1024, 2048),
        "bifrost2": (512, 2048, 4096),
        "bifrost3": (256, 1536, 4096),
        "midgard": (1024, 4096, _EVER),
    },
    "fp16_fp32": {
        "bifrost1": (256, 768, 8192),
        "bifrost2": (512, 2048, _EVER),
        "bifrost3": (256, 2048, _EVER),
        "midgard": (1024, _EVER, _EVER),
    },
    "fp32": {
        "bifrost1": (256, 1024, _EVER),
        "bifrost2": (128, 1024, _EVER),
        "bifrost3": (256, 3072, _EVER),
        "midgard": (4096, _EVER, _EVER),
    },
}


@dataclass(frozen=True)
class Blocks:
    """Output of one work-item: `x` by `y` pixels of `slices` slices [n each]; `form` is GRID or a LINEAR one."""

    x: Ints
    y: Ints
    slices: Ints
    form: Ints


def choose_blocks(shapes: pd.DataFrame, gpu: LitertGpu, precision: str) -> Blocks:
    """The blocks of convolutions: rows with batch, width, height, slices, source_slices and pointwise."""
    rules = {"adreno": _adreno, "mali": _mali, "powervr": _powervr, "apple": _apple}
    return rules[gpu.vendor](shapes, gpu, precision)


def flat(blocks: Blocks) -> Blocks:
    """The same blocks laid along the width: for layers that have one line only."""
    return Blocks(blocks.x * blocks.y, np.ones_like(blocks.y), blocks.slices, blocks.form)


def _adreno(shapes: pd.DataFrame, gpu: LitertGpu, precision: str) -> Blocks:
    waves = _tasks(shapes) / gpu.compute_units / gpu.wave_size(precision)
    x = np.where(waves <= 6, 1, 2)
    y = np.where(waves <= 24, 1, 2)
    slices = np.where(waves <= 12, 1, 2)
    if gpu.generation == "3xx":
        fixed = {"fp16": (2, 2, 2), "fp16_fp32": (2, 1, 2), "fp32": (2, 2, 1)}[precision]
        x, y, slices = (np.full(len(shapes), size) for size in fixed)
    return Blocks(x, y, slices, np.full(len(shapes), GRID))


def _mali(shapes: pd.DataFrame, gpu: LitertGpu, precision: str) -> Blocks:
    generation = "bifrost3" if gpu.generation.startswith("valhall") else gpu.generation
    per_unit = (_tasks(shapes) / gpu.compute_units).astype(np.float32)
    limits = _MALI_LIMITS[precision][generation]
    area = np.select([per_unit <= limit for limit in limits], [1, 2, 4], default=8)
    if not gpu.generation.startswith("valhall"):
        area = np.where(shapes["pointwise"].to_numpy() == 1, area, np.minimum(area, 4))
    odd = np.isin(shapes["slices"].to_numpy(), (1, 3))  # one slice, or three, is not cut in two
    tall_pair = precision == "fp32" and gpu.generation.startswith("valhall")
    square = (area == 8) | (area == 4) & (odd | tall_pair)
    x = np.where(area == 1, 1, 2)
    y = np.where(square, 2, 1)
    slices = np.where((area >= 4) & ~odd & ~((area == 4) & tall_pair), 2, 1)
    # What cannot lie along one side of a single column or line lies along the other.
    column, line = shapes["width"].to_numpy() == 1, shapes["height"].to_numpy() == 1
    x, y = np.where(column, 1, x), np.where(column, x * y, y)
    x, y = np.where(line, x * y, x), np.where(line, 1, y)
    return Blocks(x, y, slices, np.full(len(shapes), GRID))


def _powervr(shapes: pd.DataFrame, gpu: LitertGpu, precision: str) -> Blocks:
    depth = shapes["slices"].to_numpy()
    fits = [(depth % 8 == 0) | (depth >= 32), (depth % 4 == 0) | (depth >= 8), (depth % 2 == 0) | (depth >= 4)]
    slices = np.select(fits, [8, 4, 2], default=depth)
    half = precision == "fp16"
    return Blocks(
        np.full(len(shapes), 2 if half else 1),
        np.ones(len(shapes), dtype=np.int64),
        np.minimum(slices, 4) if half else slices,
        np.full(len(shapes), LINEAR_SPATIAL),
    )


def _apple(shapes: pd.DataFrame, gpu: LitertGpu, precision: str) -> Blocks:
    """For A9 and later: up to 8 outputs a work-item, as the waves of a compute unit allow; then the tightest form."""
    width, height, depth = (shapes[name].to_numpy() for name in ("width", "height", "slices"))
    waves = -(-_tasks(shapes) // _APPLE_GROUP)
    room = np.select([waves >= gpu.compute_units * count for count in (64, 32, 16)], [8, 4, 2], default=1)
    bionic = gpu.apple_family >= 4
    pair = (room >= 2) & bionic
    sideways = pair & (height % 2 != 0) & (width % 2 == 0)
    x, y = np.where(sideways, 2, 1), np.where(pair & ~sideways, 2, 1)
    room = np.where(pair, room // 2, room)
    four = (room >= 4) & ((depth % 4 == 0) | (depth >= 16))
    two = ~four & (room >= 2) & ((depth % 2 == 0) | (depth >= 4))
    slices = np.select([four, two], [4, 2], default=1)
    room = room // slices
    slices = np.where((room >= 4) & (depth == 3), 3, slices)
    columns, lines, panels = -(-width // x) * shapes["batch"].to_numpy(), -(-height // y), -(-depth // slices)
    in_grid = -(-columns // 8) * -(-lines // 4) * panels
    spatial = -(-columns * lines // _APPLE_GROUP) * panels
    in_line = -(-columns * lines * panels // _APPLE_GROUP)
    form = np.where(spatial < in_grid, LINEAR_SPATIAL, GRID)
    form = np.where(spatial / in_line > (1.0 if bionic else 1.04), LINEAR_ALL, form)
    return Blocks(x, y, slices, form)


def _tasks(shapes: pd.DataFrame) -> Ints:
    product = shapes["width"] * shapes["batch"] * shapes["height"] * shapes["slices"]
    return product.to_numpy(np.int64)
