"""`matmul_tiled`: large matrix products through tiles in local memory, for GPUs that gain by it.

A work-group computes a tile of 16 x r rows by 64 columns; weights lie in panels of a tile's width, so that loading a
tile reads whole lines of memory.
"""

from __future__ import annotations

import numpy as np

from ..precision import storage_bytes
from ..rules.base import Rules, round_up
from ..rules.possible import TILED_DEPTH, TILED_LANES, TILED_PANEL
from ..tables import Columns
from .base import Assembly, Choice, Family, Request, arguments

_TALL, _SHORT = 8, 4


class _MatmulTiled(Family):
    name = "matmul_tiled"
    fixed_axes = "xy"

    def choose(self, shapes: Columns, rules: Rules) -> Choice:
        m, n, k = (shapes[name] for name in "mnk")
        groups_x = -(-n // (TILED_LANES * TILED_PANEL))
        tall = groups_x * (-(-m // (TILED_LANES * _TALL))) >= 2 * rules.device.compute_units
        rows = np.where(tall, _TALL, _SHORT)
        groups_y = -(-m // (TILED_LANES * rows))
        lanes, panel = np.full_like(rows, TILED_LANES), np.full_like(rows, TILED_PANEL)
        padded_k = round_up(k, TILED_DEPTH)
        size = storage_bytes(rules.precision)
        reads = groups_x * groups_y * TILED_LANES * padded_k * size
        quantities = {
            "loop": padded_k,
            "padded_flops": 2 * groups_y * groups_x * TILED_LANES**2 * rows * panel * padded_k,
            "packed_bytes": groups_x * TILED_LANES * panel * k * size,
            "input_reads_bytes": reads * rows,
            "weight_reads_bytes": reads * panel,
        }
        grid = (groups_x * TILED_LANES, groups_y * TILED_LANES, np.ones_like(rows))
        return Choice({"r": rows, "p": panel}, grid, (lanes, lanes, np.ones_like(rows)), quantities)

    def assemble(self, request: Request) -> Assembly:
        weights = request.weights(TILED_LANES * TILED_PANEL)
        buffers = [request.input(), weights, *request.outputs()]
        place = (request.row_stride, request.column_offset)
        args = arguments(buffers, *request.operator.matmul, *place, signal=True)
        return Assembly(buffers, [request.launch(request.kernel, args)])


MATMUL_TILED = _MatmulTiled()
