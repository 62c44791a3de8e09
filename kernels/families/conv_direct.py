"""`conv_direct`: any convolution, straight from its definition; a block of pixels and channels for each work-item."""

from __future__ import annotations

from ..operators import Conv2d
from ..rules.base import Rules
from ..tables import Columns
from .base import Assembly, Choice, Family, Request, arguments, block_product


class _ConvDirect(Family):
    name = "conv_direct"

    def choose(self, shapes: Columns, rules: Rules) -> Choice:
        return block_product(shapes, rules)

    def assemble(self, request: Request) -> Assembly:
        op = request.operator
        assert isinstance(op, Conv2d)
        zeros = request.buffer("zeros", "zeros", op.in_channels)
        buffers = [request.input(), request.weights(request.row["panel"]), zeros, *request.outputs()]
        image = (op.height, op.width, op.in_channels, op.output_width, *op.matmul[:2])
        window = (op.kernel_h, op.kernel_w, op.stride, op.pad_h, op.pad_w)
        args = arguments(buffers, *image, *window, request.row_stride, request.column_offset, signal=True)
        return Assembly(buffers, [request.launch(request.kernel, args)])


CONV_DIRECT = _ConvDirect()
