"""The binary form of a split table: little-endian records of one size with two indices, to be used in place.

The byte layout is in docs/split-table.md; a change of it is a new version number.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.precision import as_precision

from .split_key import WORDS, epilogue_index, operator_of, shape_hash, type_index, window_hash, words_of
from .split_nearest import NearestIndex, nearest_bytes
from .split_table import (
    JOINS,
    PROCESSORS,
    Join,
    Measured,
    RowRange,
    SplitDecision,
    SplitEntry,
    SplitTable,
)

BINARY_VERSION = 5
MAGIC = b"SFSPLIT\0"
_HEADER = struct.Struct("<8sHHIIIIIBBBBIII")  # see docs/split-table.md
_RECORD = struct.Struct("<10IIIIIIBBBBBBBBI5d4d")
_SLOT = struct.Struct("<II")
_CHECKSUM = struct.Struct("<I")
_NO_JOIN = 0
_MEASURED, _SEARCHED = 1, 2


def encode_split_table(table: SplitTable) -> bytes:
    """The table's bytes; the same table gives the same bytes."""
    names = [table.device_class.encode(), table.backend.encode(), table.precision.encode()]
    nearest = NearestIndex.of(table.entries)
    slots = _slots(table.entries, nearest)
    default = table.default
    header = _HEADER.pack(
        *(MAGIC, BINARY_VERSION, _RECORD.size, len(table.entries), len(slots)),
        *map(len, names),
        *(PROCESSORS.index(default.processor), default.threads, _join_code(default.join), 0),
        *(len(nearest.windows), nearest.rows, 0),
    )
    records = (_encode(entry) for entry in table.entries)
    body = b"".join([header, *records, *(_SLOT.pack(*slot) for slot in slots), nearest.data, *names])
    return body + _CHECKSUM.pack(zlib.crc32(body))


def decode_split_table(data: bytes, where: str = "split table") -> SplitTable:
    """What `encode_split_table` wrote.

    Raises UserError naming `where`: no split table, another version, cut short, damaged.
    """
    if len(data) < _HEADER.size + _CHECKSUM.size or not data.startswith(MAGIC):
        raise UserError(f"{where}: not a binary split table; get the package again")
    _, version, record_size, count, slot_count, *rest = _HEADER.unpack_from(data)
    if version != BINARY_VERSION:
        raise UserError(
            f"{where}: binary split table version {version} is not known here; this reads {BINARY_VERSION}; "
            "get a package that was published with this version"
        )
    slots_at = _HEADER.size + count * _RECORD.size
    name_sizes, (windows, rows) = rest[:3], rest[-3:-1]
    names_at = slots_at + slot_count * _SLOT.size + nearest_bytes(windows, count, rows)
    body = len(data) - _CHECKSUM.size
    intact = record_size == _RECORD.size and body == names_at + sum(name_sizes)
    if not intact or _CHECKSUM.unpack_from(data, body)[0] != zlib.crc32(data[:body]):
        raise UserError(f"{where}: the binary split table is damaged or cut short; get the package again")
    try:
        entries = [_decode(record) for record in _RECORD.iter_unpack(data[_HEADER.size : slots_at])]
        ends = list(accumulate(name_sizes, initial=names_at))
        device_class, backend, precision_name = (data[start:end].decode() for start, end in pairwise(ends))
        table = SplitTable.of(device_class, backend, entries, as_precision(precision_name))
    except (IndexError, ValueError, UserError) as error:
        raise UserError(f"{where}: damaged binary split table: {error!r}; get the package again") from error
    if encode_split_table(table) != data:
        raise UserError(
            f"{where}: records, indices or default of the binary split table contradict each other; get the package "
            "again"
        )
    return table


def _slots(entries: Sequence[SplitEntry], nearest: NearestIndex) -> list[tuple[int, int]]:
    """The hash index: a hash and the number of a record, counted from 1, or behind these of a window; zeros in an empty
    slot. Open addressing, at most half full.

    An exact record stands under its operator, of the ranges of one layer the first under the layer with 0 rows.
    """
    hashes = []
    for index, entry in enumerate(entries):
        if entry.rows is None or not index or entries[index - 1].key[:-1] != entry.key[:-1]:
            hashes.append((shape_hash(entry.decision.operator, any_rows=entry.rows is not None), index + 1))
    hashes += [(window_hash(*window), len(entries) + 1 + index) for index, window in enumerate(nearest.windows)]
    slots = [(0, 0)] * (1 << (2 * max(len(entries) + len(nearest.windows), 1) - 1).bit_length())
    for value, number in hashes:
        slot = value % len(slots)
        while slots[slot][1]:
            slot = (slot + 1) % len(slots)
        slots[slot] = value, number
    return slots


def _encode(entry: SplitEntry) -> bytes:
    decision, measured = entry.decision, entry.measured
    flags = 0
    figures = [0.0] * 4
    repetitions = search_cut = 0
    if measured is not None:
        flags, repetitions = _MEASURED, measured.repetitions
        figures[:3] = measured.plan_us, measured.cpu_us, measured.gpu_us
        if measured.search_cut is not None and measured.search_us is not None:
            flags |= _SEARCHED
            search_cut, figures[3] = measured.search_cut, measured.search_us
    return _RECORD.pack(
        *words_of(decision.operator),
        *((0, 0) if entry.rows is None else (entry.rows.low, entry.rows.high)),
        decision.cut,
        search_cut,
        repetitions,
        type_index(decision.operator),
        PROCESSORS.index(decision.processor),
        decision.threads,
        _join_code(decision.join),
        decision.cpu_threads,
        _join_code(decision.gpu_join),
        flags,
        epilogue_index(decision.operator),
        0,
        *(decision.predicted_us, decision.low_us, decision.high_us, decision.cpu_us, decision.gpu_us),
        *figures,
    )


def _decode(record: tuple[Any, ...]) -> SplitEntry:
    words = record[:WORDS]
    rows_low, rows_high, cut, search_cut, repetitions = record[WORDS : WORDS + 5]
    kind, processor, threads, join, cpu_threads, gpu_join, flags, epilogue, _ = record[WORDS + 5 : WORDS + 14]
    predicted_us, low_us, high_us, cpu_us, gpu_us, *figures = record[WORDS + 14 :]
    decision = SplitDecision(
        operator=operator_of(kind, words, epilogue),
        processor=PROCESSORS[processor],
        cut=cut,
        threads=threads,
        join=None if join == _NO_JOIN else _join(join),
        predicted_us=predicted_us,
        low_us=low_us,
        high_us=high_us,
        cpu_us=cpu_us,
        cpu_threads=cpu_threads,
        gpu_us=gpu_us,
        gpu_join=_join(gpu_join),
    )
    rows = RowRange(rows_low, rows_high) if rows_low or rows_high else None
    return SplitEntry(decision, _measured(flags, repetitions, search_cut, figures), rows)


def _measured(flags: int, repetitions: int, search_cut: int, figures: list[float]) -> Measured | None:
    if flags not in (0, _MEASURED, _MEASURED | _SEARCHED):
        raise ValueError(f"flags {flags}")
    if not flags:
        return None
    plan_us, cpu_us, gpu_us, search_us = figures
    search = (search_cut, search_us) if flags & _SEARCHED else (None, None)
    return Measured(plan_us, cpu_us, gpu_us, repetitions, *search)


def _join_code(join: Join | None) -> int:
    return _NO_JOIN if join is None else 1 + JOINS.index(join)


def _join(code: int) -> Join:
    if code == _NO_JOIN:
        raise ValueError("a join is missing")
    return JOINS[code - 1]
