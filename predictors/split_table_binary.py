"""The binary form of a split table: little-endian records of one size, sorted, so that a runtime can search in place.

The byte layout is in docs/split-table.md; a change of it is a new version number.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

from splitfleet.kernels import EPILOGUES, Operator, operator_from_json
from splitfleet.kernels.errors import UserError
from splitfleet.kernels.operators import POOL_MODES

from .split_table import (
    JOINS,
    OPERATOR_TYPES,
    PROCESSORS,
    Join,
    Measured,
    SplitDecision,
    SplitEntry,
    SplitTable,
    as_precision,
    operator_key,
)

BINARY_VERSION = 2
MAGIC = b"SFSPLIT\0"
_HEADER = struct.Struct("<8sHHIIIII")  # magic, version, record size, records, bytes of three names, reserved
_RECORD = struct.Struct("<9IIIIBBBBBBBB5d4d")
_CHECKSUM = struct.Struct("<I")
_SIZES: dict[str, tuple[str, ...]] = {
    "linear": ("rows", "in_features", "out_features"),
    "conv2d": (
        "height", "width", "in_channels", "out_channels", "kernel_h", "kernel_w", "stride", "pad_h", "pad_w",
    ),
    "depthwise_conv2d": ("height", "width", "channels", "kernel_h", "kernel_w", "stride", "pad_h", "pad_w"),
    "pool2d": ("mode", "height", "width", "channels", "kernel_h", "kernel_w", "stride", "pad_h", "pad_w"),
}  # fmt: skip
_MOST_SIZES = 9
_NO_JOIN = 0
_MEASURED, _SEARCHED = 1, 2


def encode_split_table(table: SplitTable) -> bytes:
    """The table's bytes; the same table gives the same bytes."""
    names = [table.device_class.encode(), table.backend.encode(), table.precision.encode()]
    header = _HEADER.pack(MAGIC, BINARY_VERSION, _RECORD.size, len(table.entries), *map(len, names), 0)
    body = b"".join([header, *(_encode(entry) for entry in table.entries), *names])
    return body + _CHECKSUM.pack(zlib.crc32(body))


def decode_split_table(data: bytes, where: str = "split table") -> SplitTable:
    """What `encode_split_table` wrote.

    Raises UserError naming `where`: no split table, another version, cut short, damaged.
    """
    if len(data) < _HEADER.size + _CHECKSUM.size or not data.startswith(MAGIC):
        raise UserError(f"{where}: not a binary split table; get the package again")
    _, version, record_size, count, *name_sizes, _ = _HEADER.unpack_from(data)
    if version != BINARY_VERSION:
        raise UserError(f"{where}: binary split table version {version} is not known here; this reads {BINARY_VERSION}")
    names_at = _HEADER.size + count * _RECORD.size
    body = len(data) - _CHECKSUM.size
    intact = record_size == _RECORD.size and body == names_at + sum(name_sizes)
    if not intact or _CHECKSUM.unpack_from(data, body)[0] != zlib.crc32(data[:body]):
        raise UserError(f"{where}: the binary split table is damaged or cut short; get the package again")
    try:
        entries = [_decode(record) for record in _RECORD.iter_unpack(data[_HEADER.size : names_at])]
        ends = list(accumulate(name_sizes, initial=names_at))
        device_class, backend, precision_name = (data[start:end].decode() for start, end in pairwise(ends))
        precision = as_precision(precision_name)
    except (IndexError, ValueError) as error:
        raise UserError(f"{where}: damaged binary split table: {error!r}; get the package again") from error
    table = SplitTable.of(device_class, backend, entries, precision)
    if list(table.entries) != entries:
        raise UserError(f"{where}: the records of the binary split table are out of order; get the package again")
    return table


def _encode(entry: SplitEntry) -> bytes:
    decision, measured = entry.decision, entry.measured
    kind, *sizes, epilogue = operator_key(decision.operator)
    sizes += [0] * (_MOST_SIZES - len(sizes))
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
        *sizes,
        decision.cut,
        search_cut,
        repetitions,
        kind,
        PROCESSORS.index(decision.processor),
        decision.threads,
        _join_code(decision.join),
        decision.cpu_threads,
        _join_code(decision.gpu_join),
        flags,
        epilogue,
        *(decision.predicted_us, decision.low_us, decision.high_us, decision.cpu_us, decision.gpu_us),
        *figures,
    )


def _decode(record: tuple[Any, ...]) -> SplitEntry:
    sizes, (cut, search_cut, repetitions) = record[:9], record[9:12]
    kind, processor, threads, join, cpu_threads, gpu_join, flags, epilogue = record[12:20]
    predicted_us, low_us, high_us, cpu_us, gpu_us, *figures = record[20:]
    decision = SplitDecision(
        operator=_operator(OPERATOR_TYPES[kind], sizes, EPILOGUES[epilogue]),
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
    if flags & ~(_MEASURED | _SEARCHED) or flags == _SEARCHED:
        raise ValueError(f"flags {flags}")
    if not flags:
        return SplitEntry(decision)
    plan_us, cpu_measured_us, gpu_measured_us, search_us = figures
    measured = Measured(plan_us, cpu_measured_us, gpu_measured_us, repetitions)
    if flags & _SEARCHED:
        measured = replace(measured, search_cut=search_cut, search_us=search_us)
    return SplitEntry(decision, measured)


def _operator(kind: str, sizes: tuple[int, ...], epilogue: str) -> Operator:
    data: dict[str, Any] = {"type": kind, **dict(zip(_SIZES[kind], sizes, strict=False))}
    if "mode" in data:
        data["mode"] = POOL_MODES[data["mode"]]
    if epilogue != EPILOGUES[0]:
        data["epilogue"] = epilogue
    return operator_from_json(data)


def _join_code(join: Join | None) -> int:
    return _NO_JOIN if join is None else 1 + JOINS.index(join)


def _join(code: int) -> Join:
    if code == _NO_JOIN:
        raise ValueError("a join is missing")
    return JOINS[code - 1]
