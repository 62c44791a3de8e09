"""The rules of desktop GPUs (NVIDIA, AMD, Intel): the generic ones, and large products by tiles in local memory.

Phones' GPUs are left out: Mali has no local memory of its own, and on Adreno its use limits the waves that hide
latency. From one tile of rows and columns on, and a few steps of k to load it for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..tables import Columns
from . import possible
from .base import Rules

_LEAST_ROWS = 64
_LEAST_COLUMNS = 64
_LEAST_DEPTH = 64


class DesktopRules(Rules):
    def preferred(self, shapes: Columns) -> dict[str, NDArray[np.bool_]]:
        large = (shapes["m"] >= _LEAST_ROWS) & (shapes["n"] >= _LEAST_COLUMNS) & (shapes["k"] >= _LEAST_DEPTH)
        tiled = possible.matmul_tiled(shapes, self.device, self.precision) & large
        return {**super().preferred(shapes), "matmul_tiled": tiled}
