"""`depthwise`, `maxpool` and `avgpool`: each output channel from its own input channel.

A work-item computes a block of pixels x channels. Input and output lie alike, so a half needs no copy of its channels.
"""

from __future__ import annotations

from ..operators import DepthwiseConv2d, Pool2d
from ..precision import storage_bytes
from ..rules.base import Rules
from ..tables import Columns
from .base import Assembly, Choice, Family, Request, arguments, block_product


class _ChannelWise(Family):
    def choose(self, shapes: Columns, rules: Rules) -> Choice:
        product = block_product(shapes, rules)
        # Unlike in a product, no two channels share an input: each item loads a whole panel for each tap.
        blocks = product.grid[0] * product.grid[1] * product.block["r"]
        reads = blocks * product.block["p"] * shapes["k"] * storage_bytes(rules.precision)
        return Choice(product.block, product.grid, product.local, {**product.quantities, "input_reads_bytes": reads})


class _Depthwise(_ChannelWise):
    name = "depthwise"

    def assemble(self, request: Request) -> Assembly:
        assert isinstance(request.operator, DepthwiseConv2d)
        panel = request.row["panel"]
        zeros = request.buffer("zeros", "zeros", panel)
        buffers = [request.input(), request.weights(panel), zeros, *request.outputs()]
        args = arguments(buffers, *_sizes(request.operator), request.row_stride, request.column_offset, signal=True)
        return Assembly(buffers, [request.launch(request.kernel, args)])


class _Pool(_ChannelWise):
    def __init__(self, name: str) -> None:
        self.name = name

    def choose(self, shapes: Columns, rules: Rules) -> Choice:
        choice = super().choose(shapes, rules)
        quantities = dict(choice.quantities)
        quantities |= {name: 0 * quantities[name] for name in ("packed_bytes", "weight_reads_bytes")}
        quantities["padded_flops"] = quantities["padded_flops"] // 2  # one operation a tap, not two
        return Choice(choice.block, choice.grid, choice.local, quantities)

    def assemble(self, request: Request) -> Assembly:
        assert isinstance(request.operator, Pool2d)
        buffers = [request.input(), *request.outputs()]
        args = arguments(buffers, *_sizes(request.operator), request.row_stride, request.column_offset, signal=True)
        return Assembly(buffers, [request.launch(request.kernel, args)])


def _sizes(op: DepthwiseConv2d | Pool2d) -> tuple[int, ...]:
    """Image, output and window, as the kernels take them."""
    image = (op.height, op.width, op.output_width, *op.matmul[:2])
    return (*image, op.kernel_h, op.kernel_w, op.stride, op.pad_h, op.pad_w)


DEPTHWISE = _Depthwise()
MAXPOOL = _Pool("maxpool")
AVGPOOL = _Pool("avgpool")
