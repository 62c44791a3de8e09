"""`winograd`: F(4x4, 3x3) for 3x3 convolutions of stride 1, a quarter of the multiplications, in three launches.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv 1509.09308). The interpolation points are
0, +-1/sqrt(2), +-sqrt(2) and infinity, as in the LiteRT GPU delegate (tflite/delegates/gpu/common/winograd_util.cc):
pairs of points whose product is one keep the transforms' entries near one. Largest error relative to the largest
output, for inputs and weights uniform in [-1, 1] and 1 to 128 channels, rounding after each of the stages:

    points                       fp32      halves stored
    0, +-1, +-2                  7.5e-6    3.3e-2
    0, +-1, +-1/2                7.7e-6    1.4e-2
    0, +-1/sqrt(2), +-sqrt(2)    2.1e-6    3.0e-3

Halves are stored between the launches, too: a patch's transform is up to 16 times its inputs, and rounds once more.
"""

from __future__ import annotations

import math

import numpy as np

from ..operators import Conv2d
from ..precision import HALF_ROUNDING, MOST_TOLERANCE, Precision, storage_bytes, tolerance
from ..programs import Variant
from ..rules.base import Rules
from ..rules.possible import WINOGRAD_CHANNELS, WINOGRAD_PLACES, WINOGRAD_TILE, winograd_tiles
from ..tables import Columns
from .base import Assembly, Choice, Family, Request, arguments

_VECTORS = (16, 8)


class _Winograd(Family):
    name = "winograd"

    def choose(self, shapes: Columns, rules: Rules) -> Choice:
        tiles, n, channels = winograd_tiles(shapes), shapes["n"], shapes["in_channels"]
        block = rules.block(shapes, tiles, WINOGRAD_PLACES)
        rows, panel = block.rows, block.panel
        gx, gy = -(-n // panel), -(-tiles // rows)
        lx, ly = rules.work_group(gx, gy)
        vector = np.select([channels % wide == 0 for wide in _VECTORS], list(_VECTORS), default=WINOGRAD_CHANNELS)
        size = storage_bytes(rules.precision)
        quantities = {
            "block_rows": rows * WINOGRAD_TILE**2,
            "sharing_items": WINOGRAD_PLACES,
            "loop": channels,
            "padded_flops": 2 * WINOGRAD_PLACES * gy * rows * gx * panel * channels,
            "packed_bytes": WINOGRAD_PLACES * gx * panel * channels * size,
            "input_reads_bytes": WINOGRAD_PLACES * (tiles + gx * gy * rows) * channels * size,
            "weight_reads_bytes": WINOGRAD_PLACES * gx * gy * panel * channels * size,
            "launches": 3,
            "scratch_bytes": WINOGRAD_PLACES * tiles * (channels + gx * panel) * size,
        }
        places = np.full_like(gx, WINOGRAD_PLACES)
        return Choice(
            {"r": rows, "p": panel, "v": np.minimum(vector, panel)},
            (gx, gy, places),
            (lx, ly, np.ones_like(gx)),
            quantities,
        )

    def assemble(self, request: Request) -> Assembly:
        op = request.operator
        assert isinstance(op, Conv2d)
        block = Variant.parse(request.kernel).block
        panel, vector = block["p"], block["v"]
        tiles_x = -(-op.output_width // WINOGRAD_TILE)
        tiles = tiles_x * -(-op.output_height // WINOGRAD_TILE)
        panels = -(-op.out_channels // panel)
        given, weights, outputs = request.input(), request.weights(panel), request.outputs()
        transformed_weights = request.buffer(
            "transformed_weights", "scratch", WINOGRAD_PLACES * panels * panel * op.in_channels
        )
        transformed_input = request.buffer("transformed_input", "scratch", WINOGRAD_PLACES * tiles * op.in_channels)
        products = request.buffer("products", "scratch", WINOGRAD_PLACES * tiles * panels * panel)

        args = arguments([weights, transformed_weights], op.in_channels, panels)
        setup = request.side_launch("winograd_weights", args, panels, op.in_channels)
        image = (op.height, op.width, op.in_channels, tiles_x, tiles, op.pad_h, op.pad_w)
        args = arguments([given, transformed_input], *image)
        forth = request.side_launch("winograd_input", args, op.in_channels // vector, tiles)
        args = arguments([transformed_input, transformed_weights, products], tiles, panels, op.in_channels)
        product = request.launch("winograd_product", args)
        place = (op.out_channels, op.output_height, op.output_width, request.row_stride, request.column_offset)
        args = arguments([products, *outputs], tiles_x, tiles, panels, *place, signal=True)
        back = request.side_launch(request.kernel, args, panels, tiles)
        buffers = [given, weights, transformed_weights, transformed_input, products, *outputs]
        return Assembly(buffers, [forth, product, back], [setup])

    def tolerance(self, precision: Precision, depth: int) -> float:
        """Where halves are stored, 2e-2: seven times the error in the table, which one pixel or one channel exceeds.

        Computing in halves adds a random walk over the channels (a ninth of K), four times amplified.
        """
        if precision == "fp32":
            return tolerance(precision, depth)
        stored = 2e-2
        if precision == "fp16_fp32":
            return stored
        return min(MOST_TOLERANCE, stored + 4 * math.sqrt(depth / 9) * HALF_ROUNDING)


WINOGRAD = _Winograd()
