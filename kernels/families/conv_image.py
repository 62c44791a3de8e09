"""`conv_image`: convolutions and linear layers that read input and weights through images, for GPUs like Adreno.

The setup launch puts the weights into their image; the input's copy into its image is a launch of each execution.
Layouts: sources/conv_image.cl. A linear layer is a 1x1 convolution of an image that is one pixel wide.
"""

from __future__ import annotations

import numpy as np

from ..operators import Conv2d
from ..plan import Buffer
from ..precision import storage_bytes
from ..rules.base import Rules, round_up
from ..rules.possible import TEXEL
from ..tables import Columns
from .base import Assembly, Choice, Family, Request, arguments

_WIDEST = 8


class _ConvImage(Family):
    name = "conv_image"

    def choose(self, shapes: Columns, rules: Rules) -> Choice:
        m, n = shapes["m"], shapes["n"]
        block = rules.block(shapes)
        rows, panel = block.rows, np.minimum(block.panel, _WIDEST)
        gx, gy = -(-n // panel), -(-m // rows)
        one = np.ones_like(gx)
        lx, ly = rules.work_group(gx, gy)
        slices = -(-shapes["in_channels"] // TEXEL)
        k = shapes["kernel_h"] * shapes["kernel_w"] * slices * TEXEL
        size = storage_bytes(rules.precision)
        quantities = {
            "loop": k // TEXEL,
            "padded_flops": 2 * gy * rows * gx * panel * k,
            "packed_bytes": gx * panel * k * size,
            "input_reads_bytes": gx * gy * rows * k * size,
            "weight_reads_bytes": gx * gy * panel * k * size,
            "launches": 2,
            "scratch_bytes": shapes["in_height"] * shapes["in_width"] * slices * TEXEL * size,
        }
        return Choice({"r": rows, "p": panel}, (gx, gy, one), (lx, ly, one), quantities)

    def assemble(self, request: Request) -> Assembly:
        op = request.operator
        if isinstance(op, Conv2d):
            height, width, channels, out_width = op.height, op.width, op.in_channels, op.output_width
            window = (op.kernel_h, op.kernel_w, op.stride, op.pad_h, op.pad_w)
        else:
            (height, channels), width, out_width = op.input_shape, 1, 1
            window = (1, 1, 1, 0, 0)
        taps, slices = window[0] * window[1], -(-channels // TEXEL)
        panel = request.row["panel"]
        wide = round_up(op.channels, panel)
        given, weights, outputs = request.input(), request.weights(panel), request.outputs()
        input_image = _image(request, "input_image", width * slices, height)
        weights_image = _image(request, "weights_image", wide, taps * slices)
        args = arguments([weights, weights_image], channels, slices, taps, wide)
        setup = request.side_launch("weights_to_image", args, wide, taps * slices)
        args = arguments([given, input_image], height, width, channels, slices)
        copy = request.side_launch("input_to_image", args, width * slices, height)
        shape = (width, slices, out_width, *op.matmul[:2])
        place = (request.row_stride, request.column_offset)
        args = arguments([input_image, weights_image, *outputs], *shape, *window, *place, signal=True)
        buffers = [given, weights, input_image, weights_image, *outputs]
        return Assembly(buffers, [copy, request.launch(request.kernel, args)], [setup])


def _image(request: Request, name: str, width: int, height: int) -> Buffer:
    return request.buffer(name, "scratch", width * height * TEXEL, image=(width, height))


CONV_IMAGE = _ConvImage()
