"""What an operator computes, in NumPy: the reference that kernels are checked against. Also the packing of weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .operators import Conv2d, DepthwiseConv2d, Linear, Operator, Pool2d

Floats = NDArray[np.float32]


def reference(operator: Operator, inputs: Floats, weights: Floats, residual: Floats | None = None) -> Floats:
    """The output as [M, N] fp32, accumulated in double precision.

    `inputs` has the operator's input_shape, `weights` is the logical [K, N] matrix (docs/formats.md; [0, N] for
    pooling), `residual` [M, N] is what an `add` epilogue adds.
    """
    m, n, k = operator.matmul
    matrix = inputs.astype(np.float64)
    if isinstance(operator, Linear):
        output = matrix @ weights.astype(np.float64)
    elif isinstance(operator, Conv2d):
        taps = _windows(operator, matrix, 0.0).transpose(0, 1, 3, 4, 2)
        output = taps.reshape(m, k) @ weights.astype(np.float64)
    elif isinstance(operator, DepthwiseConv2d):
        output = np.einsum("pck,kc->pc", _windows(operator, matrix, 0.0).reshape(m, n, k), weights.astype(np.float64))
    elif operator.mode == "max":
        output = _windows(operator, matrix, -np.inf).reshape(m, n, k).max(axis=2)
    else:
        inside = _windows(operator, np.ones_like(matrix), 0.0).reshape(m, n, k).sum(axis=2)
        output = _windows(operator, matrix, 0.0).reshape(m, n, k).sum(axis=2) / inside
    if operator.has_residual:
        assert residual is not None
        output = output + residual
    if operator.epilogue_name in ("relu", "relu6", "add_relu"):
        output = np.maximum(output, 0.0)
    if operator.epilogue_name == "relu6":
        output = np.minimum(output, 6.0)
    return output.astype(np.float32)


def pack_weights(weights: Floats, panel: int) -> Floats:
    """[K, N] weights in panels of columns, [ceil(N / panel), K, panel], the last one filled up with zeros."""
    k, n = weights.shape
    panels = -(-n // panel)
    padded = np.zeros((k, panels * panel), dtype=np.float32)
    padded[:, :n] = weights
    return np.ascontiguousarray(padded.reshape(k, panels, panel).transpose(1, 0, 2))


def _windows(operator: Conv2d | DepthwiseConv2d | Pool2d, image: NDArray[Any], outside: float) -> NDArray[Any]:
    """[output height, output width, channels, kernel_h, kernel_w] of an image padded with `outside`."""
    padding = ((operator.pad_h, operator.pad_h), (operator.pad_w, operator.pad_w), (0, 0))
    padded = np.pad(image, padding, constant_values=outside)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (operator.kernel_h, operator.kernel_w), axis=(0, 1))
    strided: NDArray[Any] = windows[:: operator.stride, :: operator.stride]
    return strided
