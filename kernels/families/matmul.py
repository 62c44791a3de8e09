"""`matmul`: linear layers and pointwise convolutions; a block of rows and columns for each work-item."""

from __future__ import annotations

from ..rules.base import Rules
from ..tables import Columns
from .base import Assembly, Choice, Family, Request, arguments, block_product


class _Matmul(Family):
    name = "matmul"

    def choose(self, shapes: Columns, rules: Rules) -> Choice:
        return block_product(shapes, rules)

    def assemble(self, request: Request) -> Assembly:
        buffers = [request.input(), request.weights(request.row["panel"]), *request.outputs()]
        place = (request.row_stride, request.column_offset)
        args = arguments(buffers, *request.operator.matmul, *place, signal=True)
        return Assembly(buffers, [request.launch(request.kernel, args)])


MATMUL = _Matmul()
