"""`matvec`: linear layers of few rows, as in decoding token by token; their time is that of reading the weights.

On a GPU four neighbours share the line of a panel, so that they read it as one run of memory, and four work-items
share one dot product, which they finish in local memory; the LiteRT GPU delegate's fully connected kernel shares
dot products alike (tflite/delegates/gpu/common/tasks/fully_connected.cc). On a CPU, wide vectors do instead.
"""

from __future__ import annotations

import numpy as np

from ..precision import storage_bytes
from ..programs import Variant
from ..rules.base import Rules, power_of_two, round_up
from ..rules.possible import MATVEC_ITEMS
from ..tables import Columns
from .base import Assembly, Choice, Family, Request, arguments

_BLOCK_ROWS = np.array([1, 2, 3, 4, 5, 6, 8])


class _Matvec(Family):
    name = "matvec"
    most_items = MATVEC_ITEMS
    fixed_axes = "y"

    def choose(self, shapes: Columns, rules: Rules) -> Choice:
        m, n, k = (shapes[name] for name in "mnk")
        rows = _BLOCK_ROWS[np.minimum(np.searchsorted(_BLOCK_ROWS, m), len(_BLOCK_ROWS) - 1)]
        form = rules.matvec(rows)
        gx = -(-n // form.panel)
        gz = -(-m // rows)
        room = min(form.items, rules.device.max_work_item_sizes[0])
        lx = power_of_two(np.minimum(gx, np.maximum(room // form.split, 1)))
        size = storage_bytes(rules.precision)
        padded_k = round_up(k, 2 * form.split)
        quantities = {
            "loop": padded_k // form.split,
            "padded_flops": 2 * gz * rows * gx * form.panel * padded_k,
            "packed_bytes": round_up(n, form.panel * form.lanes) * k * size,
            "input_reads_bytes": gx * gz * rows * k * size,
            "weight_reads_bytes": gx * gz * form.panel * k * size,
            "sharing_items": form.split,
        }
        split, lanes = np.full_like(gx, form.split), np.full_like(gx, form.lanes)
        block = {"r": rows, "p": form.panel, "l": lanes, "s": split}
        return Choice(block, (gx, split, gz), (lx, split, np.ones_like(gx)), quantities)

    def assemble(self, request: Request) -> Assembly:
        block = Variant.parse(request.kernel).block
        weights = request.weights(block["p"] * block["l"])
        buffers = [request.input(), weights, *request.outputs()]
        args = arguments(buffers, *request.operator.matmul, request.row_stride, request.column_offset, signal=True)
        return Assembly(buffers, [request.launch(request.kernel, args)])


MATVEC = _Matvec()
