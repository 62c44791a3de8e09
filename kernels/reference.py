"""What an operator computes, in NumPy: the reference that kernels are checked against. Also the packing of weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .operators import Conv2d, Operator

Floats = NDArray[np.float32]


def reference(operator: Operator, inputs: Floats, weights: Floats) -> Floats:
    """The output as [M, N] fp32, accumulated in double precision.

    `inputs` has the operator's input_shape, `weights` is the logical [K, N] matrix (docs/formats.md).
    """
    m, _, k = operator.matmul
    matrix = inputs.astype(np.float64)
    if isinstance(operator, Conv2d):
        padding = ((operator.pad_h, operator.pad_h), (operator.pad_w, operator.pad_w), (0, 0))
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(matrix, padding), (operator.kernel_h, operator.kernel_w), axis=(0, 1)
        )[:: operator.stride, :: operator.stride]
        matrix = windows.transpose(0, 1, 3, 4, 2)
    return (matrix.reshape(m, k) @ weights.astype(np.float64)).astype(np.float32)


def pack_weights(weights: Floats, panel: int) -> Floats:
    """[K, N] weights in panels of columns, [ceil(N / panel), K, panel], the last one filled up with zeros."""
    k, n = weights.shape
    panels = -(-n // panel)
    padded = np.zeros((k, panels * panel), dtype=np.float32)
    padded[:, :n] = weights
    return np.ascontiguousarray(padded.reshape(k, panels, panel).transpose(1, 0, 2))
