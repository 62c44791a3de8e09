"""The rules of PoCL, which executes a work-group as loops on one core of a CPU.

* `winograd` from 32 input and output channels and 4 tiles on: mostly 1.2 to 4 times as fast as `conv_direct` there;
  below that, 0.15 to 1.5 times;
* `matvec` up to 5 rows, 0.7 to 3 times as fast as `matmul` and most at 3, since `matmul` reads the weights once for
  each row when the rows fit no block; from 6 rows on `matmul` has a block of 6;
* a work-item of `matvec` is a loop of one thread: it takes as many columns as its registers hold sums of, and shares
  nothing;
* `conv_constant` never: a CPU has no constant memory, and `conv_direct` is faster for its larger blocks.

The figures are the best of seven on a busy AVX2 core (docs/benchmarks.md); tests/bench/bench_families.py times the same
pairs in turn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..tables import Columns
from . import possible
from .base import PANELS, Ints, Rules, Sharing

_WINOGRAD_CHANNELS = 32
_WINOGRAD_TILES = 4
_MATVEC_ROWS = 5
_WIDE_ROWS = 6  # sums of two AVX registers each
_NARROW_PANEL = 8


class PoclRules(Rules):
    def preferred(self, shapes: Columns) -> dict[str, NDArray[np.bool_]]:
        large = np.minimum(shapes["in_channels"], shapes["n"]) >= _WINOGRAD_CHANNELS
        large &= possible.winograd_tiles(shapes) >= _WINOGRAD_TILES
        return {
            "matvec": possible.matvec(shapes) & (shapes["m"] <= _MATVEC_ROWS),
            "winograd": possible.winograd(shapes, self.device, self.precision) & large,
        }

    def matvec(self, rows: Ints) -> Sharing:
        widest = min(max(PANELS), 2 * max(self.device.preferred_vector_float, 2))
        items = min(self.device.max_work_group_size, possible.MATVEC_ITEMS)
        return Sharing(np.where(rows <= _WIDE_ROWS, widest, min(widest, _NARROW_PANEL)), 1, 1, items)
