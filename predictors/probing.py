"""Which shapes stand for many: the nearest to the centres of k-means in the space of launch features.

A phone that is measured at few shapes only should be measured where the others are near.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

COLUMNS = (
    "m",
    "n",
    "k",
    "in_channels",
    "in_height",
    "kernel_h",
    "stride",
    "threads",
    "loop",
    "unit_work",
    "padded_flops",
)
"""Features of GPU launches, ours and LiteRT's, whose logarithms tell shapes apart."""

_LEAST = 1e-6
_ITERATIONS = 30


def centres(frame: pd.DataFrame, count: int, columns: Sequence[str] = COLUMNS, seed: int = 0) -> NDArray[np.int64]:
    """The rows, in ascending order, of `count` shapes of a feature frame [n]: of each k-means centre the nearest row
    that is not taken yet. All rows where there are no more than `count`. The same frame gives the same rows."""
    if count >= len(frame):
        return np.arange(len(frame))
    points = _points(frame, columns)
    found, _ = kmeans2(points, count, iter=_ITERATIONS, minit="++", seed=seed, missing="warn")
    taken: list[int] = []
    for centre in found:
        nearest = np.argsort(((points - centre) ** 2).sum(axis=1), kind="stable")
        taken.append(next(int(row) for row in nearest if int(row) not in taken))
    return np.sort(np.array(taken, dtype=np.int64))


def spread(frame: pd.DataFrame, columns: Sequence[str] = COLUMNS) -> NDArray[np.int64]:
    """All rows of a feature frame [n] in an order in which each is as far from those before it as can be; the row
    nearest to the mean comes first."""
    points = _points(frame, columns)
    order = [int(np.argmin((points**2).sum(axis=1)))]
    distance = ((points - points[order[0]]) ** 2).sum(axis=1)
    while len(order) < len(points):
        distance[order] = -1.0
        order.append(int(np.argmax(distance)))
        distance = np.minimum(distance, ((points - points[order[-1]]) ** 2).sum(axis=1))
    return np.array(order, dtype=np.int64)


def _points(frame: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.float64]:
    """Logarithms [n, columns] in standard deviations from their means."""
    points = np.log(np.maximum(frame[list(columns)].to_numpy(np.float64), _LEAST))
    deviation = points.std(axis=0)
    return np.asarray((points - points.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0))
