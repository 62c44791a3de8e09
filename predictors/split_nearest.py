"""The index by which a runtime finds the nearest shape of a binary split table (docs/split-table.md).

Shapes of one window are put into blocks of sixteen that lie close together, boxes around sixteen blocks into blocks
again, and so on up to one block: a packed R-tree, as Kamel and Faloutsos fill theirs ("On packing R-trees", 1993), over
the logarithms of the sizes. Integers alone decide, so the same table gives the same bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod

import numpy as np
from numpy.typing import NDArray

from .split_entry import SplitEntry
from .split_key import EPILOGUE_DISTANCE, WINDOW_WORDS, epilogue_index, octaves, type_index, words_of

LANES = 16
WINDOW = struct.Struct("<10I")
PLACE = struct.Struct("<I")
ROW_BYTES = 2 * LANES
_BOX_ROWS = 9  # of a block of boxes: where four sizes begin, where they end, and which epilogues there are
_SHAPE_ROWS = [0, 1, 2, 3, 7, 8]  # of a block of shapes: only the last of the sizes may end elsewhere
_MOST_TOP_BLOCKS = 4  # of boxes, which are looked at whole
_SEARCH_RADIUS = EPILOGUE_DISTANCE  # what lies nearest is seldom further away
_NOWHERE = 0x7FFF

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class NearestIndex:
    """The index of a table's entries: the type and the words of each window, how many rows its blocks have, and its
    bytes."""

    windows: tuple[tuple[int, tuple[int, ...]], ...]
    rows: int
    data: bytes

    @classmethod
    def of(cls, entries: Sequence[SplitEntry]) -> NearestIndex:
        """Entries are in the table's order, so those of one window stand side by side."""
        windows: dict[tuple[int, tuple[int, ...]], bytes] = {}
        places: list[int] = []
        blocks: list[NDArray[np.int16]] = []
        count = 0
        for (kind, words), found in groupby(entries, key=_window):
            members = list(found)
            box = np.array([_box(entry) for entry in members], dtype=np.int64)
            order = _arranged(box, np.arange(len(members)))
            first = len(places)
            windows[kind, words] = WINDOW.pack(kind, *words, first, len(members), count)
            places += (first + order).tolist()
            for level in _levels(box[order]):
                blocks.append(level)
                count += len(level) * level.shape[1]
        numbers = struct.pack(f"<{len(places)}I", *places)
        data = b"".join([*windows.values(), numbers, *(level.astype("<i2").tobytes() for level in blocks)])
        return cls(tuple(windows), count, data)


def nearest_bytes(windows: int, entries: int, rows: int) -> int:
    """The size of such an index."""
    return windows * WINDOW.size + entries * PLACE.size + rows * ROW_BYTES


def _window(entry: SplitEntry) -> tuple[int, tuple[int, ...]]:
    operator = entry.decision.operator
    return type_index(operator), words_of(operator)[:WINDOW_WORDS]


def _box(entry: SplitEntry) -> list[int]:
    """[9]: the logarithms of the four sizes, where they begin and where they end, and a bit for the epilogue."""
    sizes = words_of(entry.decision.operator)[WINDOW_WORDS:]
    last = (sizes[-1], sizes[-1]) if entry.rows is None else (entry.rows.low, entry.rows.high)
    ends = ([octaves(size) for size in (*sizes[:-1], end)] for end in last)
    return [*next(ends), *next(ends), 1 << epilogue_index(entry.decision.operator)]


def _arranged(boxes: Integers, members: Integers) -> Integers:
    """The members [n] in an order in which each sixteen of them, and each sixteen of these blocks, lie close together.

    They are halved again and again, where full blocks of blocks end, along that of the sizes which leaves the smallest
    halves: a half costs its number of members times the volume of its box, grown by the usual radius of a search on
    every side, which is how often a search has to look into it.
    """
    if len(members) <= LANES:
        return np.sort(members)
    unit = LANES
    while unit * LANES < len(members):
        unit *= LANES
    left = unit * max(1, len(members) // (2 * unit))
    centres = boxes[members, :4] + boxes[members, 4:8]
    orders = (members[np.lexsort((members, centres[:, size]))] for size in range(4))
    halves = min(
        ((order[:left], order[left:]) for order in orders), key=lambda pair: sum(_cost(boxes[h]) for h in pair)
    )
    return np.concatenate([_arranged(boxes, half) for half in halves])


def _cost(boxes: Integers) -> int:
    extents = boxes[:, 4:8].max(axis=0) - boxes[:, :4].min(axis=0) + 2 * _SEARCH_RADIUS
    volume: int = prod(extents.tolist())
    return len(boxes) * volume


def _levels(items: Integers) -> list[NDArray[np.int16]]:
    """Blocks [count, 6, 16] of shapes [n, 9], then [count, 9, 16] of the boxes around those blocks, up to four
    blocks."""
    levels: list[NDArray[np.int16]] = []
    while True:
        starts = np.arange(0, len(items), LANES)
        padded = np.full((len(starts) * LANES, _BOX_ROWS), _NOWHERE, dtype=np.int16)
        padded[: len(items)] = items
        blocks = padded.reshape(len(starts), LANES, _BOX_ROWS).transpose(0, 2, 1)
        levels.append(blocks if levels else blocks[:, _SHAPE_ROWS])
        if len(starts) <= (_MOST_TOP_BLOCKS if len(levels) > 1 else 1):
            return levels
        low, high, epilogues = np.split(items, [4, 8], axis=1)
        around = (np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts))
        items = np.hstack([*around, np.bitwise_or.reduceat(epilogues, starts)])
