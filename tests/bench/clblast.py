"""CLBlast (Debian's libclblast1, untuned) called through ctypes on a queue of pyopencl's."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_float, c_size_t, c_void_p
from typing import Any

_ROW_MAJOR, _AS_IT_IS, _TRANSPOSED = 101, 111, 112


def load() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("libclblast.so.1")
    except OSError:
        return None


def multiply(library: ctypes.CDLL, queue: Any, shape: tuple[int, int, int], buffers: tuple[Any, Any, Any]) -> None:
    """output[m, n] = input[m, k] x weights[k, n], enqueued: by GEMM, or by GEMV when there is one row."""
    m, n, k = map(c_size_t, shape)
    inputs, weights, output = (c_void_p(buffer.int_ptr) for buffer in buffers)
    one, zero, start, step = c_float(1.0), c_float(0.0), c_size_t(0), c_size_t(1)
    on = byref(c_void_p(queue.int_ptr))
    if shape[0] == 1:
        matrix = (k, n, one, weights, start, n)
        vectors = (inputs, start, step, zero, output, start, step)
        code = library.CLBlastSgemv(_ROW_MAJOR, _TRANSPOSED, *matrix, *vectors, on, None)
    else:
        operands = (inputs, start, k, weights, start, n, zero, output, start, n)
        code = library.CLBlastSgemm(_ROW_MAJOR, _AS_IT_IS, _AS_IT_IS, m, n, k, one, *operands, on, None)
    if code:
        raise RuntimeError(f"CLBlast answers {code} for {shape}")
