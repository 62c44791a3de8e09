"""Which of the delegate's kernels an operator gets.

The rules, in order (github.com/google-ai-edge/LiteRT, tflite/delegates/gpu/common):

1. a pointwise convolution of one pixel is a fully connected layer (transformations/make_fully_connected.cc, 34ec5bad);
2. a fully connected layer without a batch is `fully_connected`, one with a batch is `conv_generic`
   (selectors/default/fully_connected_selector.cc, 7d88950e);
3. a 3x3 convolution of stride 1 is Winograd's F(4x4, 3x3) from enough channels and tiles on
   (selectors/operation_selector.cc, 106b723c);
4. Adreno keeps small weights in constant memory (tasks/conv_constants.cc, 7d88950e);
5. every other convolution is `conv_generic` (selectors/default/convolution_selector.cc, 7d88950e).

A depthwise convolution of 3x3, stride 1 and padding 1 is `depthwise_3x3`, on Mali only of Bifrost and the first
Valhall and not in fp32; of stride 2 it has a kernel of its own on Apple; any other is `depthwise`
(selectors/default/dw_convolution_selector.cc, 7d88950e). The two poolings have one kernel each; an average over the
whole image is `mean`, as the data set's kernel names show.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .gpu import LitertGpu
from .shapes import SLICE

FULLY_CONNECTED = "fully_connected"
WINOGRAD = "winograd_4x4_6x6"
CONV_CONSTANTS = "conv_constants"
CONV_GENERIC = "conv_generic"
DEPTHWISE = "depthwise"
DEPTHWISE_3X3 = "depthwise_3x3"
DEPTHWISE_STRIDE_2 = "depthwise_3x3_stride2"
MAX_POOLING = "max_pooling"
AVERAGE_POOLING = "average_pooling"
MEAN = "mean"

TILE = 4
"""Side of the output tile of a Winograd convolution, in pixels."""

_CONSTANT_REGISTERS = 8  # slices of output that conv_constants sums at once


def choose_kernels(shapes: pd.DataFrame, gpu: LitertGpu, precision: str) -> NDArray[np.str_]:
    """The kernel family of each row of `shapes.describe`."""
    pixel = (shapes["width"] == 1) & (shapes["height"] == 1)
    vector = (shapes["pointwise"] == 1) & pixel & (shapes["batch"] == 1)
    is_conv, is_depthwise = shapes["is_conv"] == 1, shapes["is_depthwise"] == 1
    rules = {
        FULLY_CONNECTED: vector,
        WINOGRAD: is_conv & _winograd(shapes, gpu),
        CONV_CONSTANTS: is_conv & _constants(shapes, gpu, precision),
        DEPTHWISE_3X3: is_depthwise & _depthwise_3x3(shapes, gpu, precision),
        DEPTHWISE_STRIDE_2: is_depthwise & _depthwise_stride_2(shapes, gpu),
        DEPTHWISE: is_depthwise,
        MEAN: (shapes["is_avgpool"] == 1) & _whole_image(shapes),
        MAX_POOLING: shapes["is_maxpool"] == 1,
        AVERAGE_POOLING: shapes["is_avgpool"] == 1,
    }
    return np.select(list(rules.values()), list(rules), default=CONV_GENERIC)


def winograd_tiles(shapes: pd.DataFrame) -> NDArray[np.int64]:
    """Tiles of 4x4 output pixels of one image."""
    tiles = -(-shapes["width"] // TILE) * -(-shapes["height"] // TILE)
    return tiles.to_numpy(np.int64)


def dot_form(shapes: pd.DataFrame) -> pd.Series[bool]:
    """Where `conv_constants` sums by dot products: the output is no whole number of slices, and either the input is or
    the weights come out smaller."""
    source, output = shapes["in_channels"], shapes["n"]
    by_output, by_source = source * shapes["slices"] * SLICE, output * shapes["source_slices"] * SLICE
    return (output % SLICE != 0) & ((source % SLICE == 0) | (by_source < by_output))


def constant_bytes(shapes: pd.DataFrame, precision: str) -> NDArray[np.int64]:
    """Bytes of a convolution's weights in constant memory: padded to slices of output channels, or of input channels
    where the sums are dot products."""
    by_output = shapes["in_channels"] * shapes["slices"] * SLICE
    by_source = shapes["n"] * shapes["source_slices"] * SLICE
    values = by_output.where(~dot_form(shapes), by_source) * shapes["kernel_h"] * shapes["kernel_w"]
    return values.to_numpy(np.int64) * element_bytes(precision)


def element_bytes(precision: str) -> int:
    """Bytes of one stored value."""
    return 4 if precision == "fp32" else 2


def _winograd(shapes: pd.DataFrame, gpu: LitertGpu) -> pd.Series[bool]:
    least_slices, least_tiles = 16, 32
    if gpu.vendor == "adreno":
        least_slices, least_tiles = 32, 128 if gpu.generation == "6xx" else 64
    return (
        _is_3x3(shapes, 1)
        & (shapes["source_slices"] >= least_slices)
        & (shapes["slices"] >= least_slices)
        & (winograd_tiles(shapes) >= least_tiles)
    )


def _constants(shapes: pd.DataFrame, gpu: LitertGpu, precision: str) -> pd.Series[bool]:
    most_bytes = 0
    if gpu.vendor == "adreno":
        most_bytes = 3584 if gpu.generation in ("6xx", "7xx") else 2560
    return (shapes["slices"] <= _CONSTANT_REGISTERS) & (constant_bytes(shapes, precision) <= most_bytes)


def _depthwise_3x3(shapes: pd.DataFrame, gpu: LitertGpu, precision: str) -> pd.Series[bool]:
    fits = _is_3x3(shapes, 1) & (shapes["pad_h"] == 1) & (shapes["pad_w"] == 1)
    if gpu.vendor == "mali":
        return fits & (precision != "fp32" and gpu.generation in ("bifrost1", "bifrost2", "bifrost3", "valhall1"))
    return fits


def _depthwise_stride_2(shapes: pd.DataFrame, gpu: LitertGpu) -> pd.Series[bool]:
    return _is_3x3(shapes, 2) & (gpu.vendor == "apple")


def _whole_image(shapes: pd.DataFrame) -> pd.Series[bool]:
    window = (shapes["kernel_h"] == shapes["in_height"]) & (shapes["kernel_w"] == shapes["in_width"])
    return window & (shapes["pad_h"] == 0) & (shapes["pad_w"] == 0)


def _is_3x3(shapes: pd.DataFrame, stride: int) -> pd.Series[bool]:
    return (shapes["kernel_h"] == 3) & (shapes["kernel_w"] == 3) & (shapes["stride"] == stride)
