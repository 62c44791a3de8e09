"""`conv_constant`: small convolutions, weights in constant memory; a work-item computes every channel of a pixel."""

from __future__ import annotations

import numpy as np

from ..operators import Conv2d
from ..precision import storage_bytes
from ..rules.base import Rules
from ..rules.possible import CONSTANT_PANEL
from ..tables import Columns
from .base import Assembly, Choice, Family, Request, arguments


class _ConvConstant(Family):
    name = "conv_constant"

    def choose(self, shapes: Columns, rules: Rules) -> Choice:
        m, n, k = (shapes[name] for name in "mnk")
        one = np.ones_like(m)
        panels = -(-n // CONSTANT_PANEL)
        columns = panels * CONSTANT_PANEL
        size = storage_bytes(rules.precision)
        quantities = {
            "block_rows": one,
            "panel": columns,
            "loop": k,
            "padded_flops": 2 * m * columns * k,
            "packed_bytes": columns * k * size,
            "input_reads_bytes": m * k * size,
            "weight_reads_bytes": m * columns * k * size,
        }
        lx, _ = rules.work_group(m, one)
        return Choice({"p": one * CONSTANT_PANEL, "n": panels}, (m, one, one), (lx, one, one), quantities)

    def assemble(self, request: Request) -> Assembly:
        op = request.operator
        assert isinstance(op, Conv2d)
        buffers = [request.input(), request.weights(CONSTANT_PANEL), *request.outputs()]
        image = (op.height, op.width, op.in_channels, op.output_width, *op.matmul[:2])
        window = (op.kernel_h, op.kernel_w, op.stride, op.pad_h, op.pad_w)
        args = arguments(buffers, *image, *window, request.row_stride, request.column_offset, signal=True)
        return Assembly(buffers, [request.launch(request.kernel, args)])


CONV_CONSTANT = _ConvConstant()
