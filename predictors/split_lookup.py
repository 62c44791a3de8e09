"""What a split table says about an operator: of its exact shape, a range of rows, the nearest shape, or by default.

The C++ reader (agent/include/splitfleet/split_table.hpp) answers the same, so integers alone decide here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from splitfleet.kernels import CUT_MULTIPLE, Operator

from .split_entry import JOINS, Join, Processor, SplitEntry
from .split_key import (
    EPILOGUE_DISTANCE,
    ROWS_WORD,
    WINDOW_WORDS,
    epilogue_index,
    octaves,
    type_index,
    words_of,
)

Policy = Literal["exact", "range", "nearest", "default"]
POLICIES: tuple[Policy, ...] = get_args(Policy)


@dataclass(frozen=True)
class Found:
    """How to run an operator by a table: `cut`, `threads` and `join` as in SplitDecision.

    `match` says which policy found it; `distance` is 0 but for `nearest`, in 256ths of a doubling. `entry` is the
    table's row that it comes from, None for `default`.
    """

    match: Policy
    processor: Processor
    cut: int
    threads: int
    join: Join | None
    distance: int
    entry: SplitEntry | None


@dataclass(frozen=True)
class DefaultWay:
    """How to run an operator of which a table says nothing: all of it on the processor that is predicted faster for
    most entries (the CPU where as many), with the threads or the join that most entries have (the least, the first)."""

    processor: Processor
    threads: int
    join: Join | None


@dataclass(frozen=True)
class _Group:
    """Entries of one type and window: logarithms of their sizes, `low` and `high` [n, 4], and epilogues [n]."""

    entries: list[SplitEntry]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    epilogues: NDArray[np.int64]


class SplitLookup:
    """Indices over a table's entries, which are in the table's order."""

    def __init__(self, entries: Sequence[SplitEntry]) -> None:
        self.default = _default_way(entries)
        self._exact = {entry.decision.operator: entry for entry in entries if entry.rows is None}
        self._ranges: dict[tuple[int, ...], list[SplitEntry]] = {}
        members: dict[tuple[int, ...], list[SplitEntry]] = {}
        for entry in entries:
            if entry.rows is not None:
                self._ranges.setdefault(_layer(entry.decision.operator), []).append(entry)
            members.setdefault(_window(entry.decision.operator), []).append(entry)
        self._groups = {window: _group(found) for window, found in members.items()}

    def find(self, operator: Operator, policy: Policy, max_distance: int) -> Found | None:
        """As SplitTable.find."""
        allowed = POLICIES.index(policy)
        entry, match = self._exact.get(operator), POLICIES[0]
        if entry is None and allowed >= POLICIES.index("range"):
            entry, match = self._in_range(operator), "range"
        if entry is not None:
            return _found(match, entry, operator, 0)
        if allowed >= POLICIES.index("nearest"):
            near = self._nearest(operator)
            if near is not None and near[1] <= max_distance:
                return _found("nearest", near[0], operator, near[1])
        if policy == "default":
            way = self.default
            cut = operator.channels if way.processor == "cpu" else 0
            return Found("default", way.processor, cut, way.threads, way.join, 0, None)
        return None

    def _in_range(self, operator: Operator) -> SplitEntry | None:
        rows = words_of(operator)[ROWS_WORD]
        ranges = self._ranges.get(_layer(operator), ())
        return next((entry for entry in ranges if entry.rows and rows in entry.rows), None)

    def _nearest(self, operator: Operator) -> tuple[SplitEntry, int] | None:
        group = self._groups.get(_window(operator))
        if group is None:
            return None
        sizes = np.array([octaves(word) for word in words_of(operator)[WINDOW_WORDS:]])
        apart = np.maximum(group.low - sizes, 0) + np.maximum(sizes - group.high, 0)
        other = group.epilogues != epilogue_index(operator)
        distances = apart.sum(axis=1) + EPILOGUE_DISTANCE * other
        index = int(np.argmin(distances))
        return group.entries[index], int(distances[index])


def _window(operator: Operator) -> tuple[int, ...]:
    return type_index(operator), *words_of(operator)[:WINDOW_WORDS]


def _layer(operator: Operator) -> tuple[int, ...]:
    """What operators of one layer that differ in their rows alone have in common."""
    return type_index(operator), epilogue_index(operator), *words_of(operator)[:ROWS_WORD]


def _group(entries: list[SplitEntry]) -> _Group:
    words = [words_of(entry.decision.operator)[WINDOW_WORDS:] for entry in entries]
    ends = [
        (w[-1], w[-1]) if e.rows is None else (e.rows.low, e.rows.high) for w, e in zip(words, entries, strict=True)
    ]
    low, high = (
        np.array([[octaves(size) for size in (*w[:-1], end[side])] for w, end in zip(words, ends, strict=True)])
        for side in (0, 1)
    )
    return _Group(entries, low, high, np.array([epilogue_index(entry.decision.operator) for entry in entries]))


def _found(match: Policy, entry: SplitEntry, operator: Operator, distance: int) -> Found:
    """The entry's way, its cut scaled to the operator's channels: to the nearest multiple of 4 that leaves both halves
    a channel. A layer of four channels or fewer goes to the entry's better single processor."""
    decision = entry.decision
    channels = operator.channels
    processor, cut, threads, join = decision.processor, decision.cut, decision.threads, decision.join
    if processor == "split" and channels <= CUT_MULTIPLE:
        on_cpu = decision.cpu_us <= decision.gpu_us
        processor, threads = ("cpu", decision.cpu_threads) if on_cpu else ("gpu", 0)
        join = None if on_cpu else decision.gpu_join
    if processor == "split":
        of = decision.operator.channels
        most = (channels - 1) // CUT_MULTIPLE
        cut = CUT_MULTIPLE * min(max((cut * channels + 2 * of) // (4 * of), 1), most)
    else:
        cut = channels if processor == "cpu" else 0
    return Found(match, processor, cut, threads, join, distance, entry)


def _default_way(entries: Sequence[SplitEntry]) -> DefaultWay:
    decisions = [entry.decision for entry in entries]
    faster_on_gpu = sum(decision.gpu_us < decision.cpu_us for decision in decisions)
    if 2 * faster_on_gpu > len(decisions):
        joins = [decision.gpu_join for decision in decisions]
        most: Join = max(JOINS, key=joins.count)
        return DefaultWay("gpu", 0, most)
    threads = [decision.cpu_threads for decision in decisions]
    return DefaultWay("cpu", max(sorted(set(threads)), key=threads.count, default=1), None)
