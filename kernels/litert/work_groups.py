"""Work-groups as the delegate picks them without tuning on the device ("fast").

Rules from github.com/google-ai-edge/LiteRT, tflite/delegates/gpu/common: task/work_group_picking.cc (7d88950e). All
take grids [n, 3] in work-items and give work-groups [n, 3].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .gpu import LitertGpu

Ints = NDArray[np.int64]

_CONV_GROUP = 256


def conv_groups(grid: Ints, gpu: LitertGpu) -> Ints:
    """For `conv_generic` on Adreno and Mali: as deep as a divisor of the slices allows, then wide, then high."""
    deepest = 64 if gpu.vendor == "adreno" and gpu.generation != "3xx" else 16
    z = _biggest_divisor(grid[:, 2], deepest)
    room = min(_CONV_GROUP, gpu.max_work_group_size) // z
    x = np.minimum(grid[:, 0], room)
    y = np.minimum(room // x, grid[:, 1])
    halved = (y == grid[:, 1]) & (y % 2 == 0)
    return np.stack([x, np.where(halved, y // 2, y), z], axis=1)


def plain_groups(grid: Ints, gpu: LitertGpu) -> Ints:
    """For every other kernel that leaves the choice open."""
    if gpu.vendor == "apple":
        x, y = _apple_side(grid[:, 0]), _apple_side(grid[:, 1])
        return np.stack([x, y, np.minimum(np.maximum(1, 32 // (x * y)), grid[:, 2])], axis=1)
    depth = grid[:, 2]
    z = np.select([depth % 8 == 0, depth % 4 == 0, depth % 2 == 0], [8, 4, 2], default=_biggest_divisor(depth, 8))
    room = gpu.max_work_group_size // z
    x = np.minimum(-(-grid[:, 0] // 2), room)
    return np.stack([x, np.minimum(room // x, grid[:, 1]), z], axis=1)


def fixed_groups(grid: Ints, size: tuple[int, int, int]) -> Ints:
    """The same work-group for all grids."""
    return np.tile(np.array(size, dtype=np.int64), (len(grid), 1))


def reduction_group(width: Ints, height: Ints, limit: int) -> tuple[Ints, Ints]:
    """For sums over an image: the largest powers of two, first along the width, that fit the image and the limit."""
    across = np.minimum(_power_of_two(width), limit)
    return across, np.minimum(_power_of_two(height), limit // across)


def _power_of_two(numbers: Ints) -> Ints:
    """The largest power of two of at most each number."""
    return np.asarray(2 ** np.floor(np.log2(numbers)), dtype=np.int64)


def _biggest_divisor(numbers: Ints, most: int) -> Ints:
    best = np.ones_like(numbers)
    for divisor in range(2, most + 1):
        best = np.where(numbers % divisor == 0, divisor, best)
    return best


def _apple_side(size: Ints) -> Ints:
    eight = (size % 8 == 0) | (size % 8 >= 4) | (size >= 16)
    four = (size % 4 == 0) | (size % 4 >= 2) | (size >= 8)
    two = (size % 2 == 0) | (size >= 4)
    return np.select([eight, four, two], [8, 4, 2], default=1)
