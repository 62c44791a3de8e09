"""All operations that USC's `tflite_cnn_ops_gpu.csv` holds of one phone, with the layers that were fused into each.

The format is described in `usc`. Rows without a time are shapes without a measurement.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.operators import Pool2d

from .operations import Concat, GroupedConv2d, Mean, Operation
from .usc import COLUMNS, KERNEL, LATENCY, OPERATIONS, operator_of, padding_of, sizes_of

FUSED = ("add", "mul", "relu", "hard_swish", "sigmoid", "other")
"""The layers that the delegate links to an operation, as its kernel's name tells; `other` is any not named here."""

_LINKED = re.compile(r"_linked_:_([a-z_]+?)(?=_\d|$)")
_PAIR = "depthwise_conv_plus"


@dataclass(frozen=True)
class Timed:
    """One operation of one network: its time in us, and how many layers of each kind in FUSED were linked to it."""

    line: int
    network: str
    operation: Operation
    time_us: float
    fused: dict[str, int]


@dataclass(frozen=True)
class Listed:
    """An operation as it stands in a network, measured or not; `fused` is None where nothing tells."""

    network: str
    operation: Operation
    fused: dict[str, int] | None


@dataclass(frozen=True)
class PhoneRows:
    """What a file holds of one phone. `untimed` rows have no time; `skipped` counts measured rows by what they are.

    `listed` has all operations that are known here, in the file's order.
    """

    timed: tuple[Timed, ...]
    untimed: int
    skipped: dict[str, int]
    listed: tuple[Listed, ...] = ()


def fused_layers(kernel: str) -> dict[str, int]:
    """How many layers of each kind are linked to the operation whose kernel has this name."""
    counts = Counter(name if name in FUSED else "other" for name in _LINKED.findall(kernel))
    return {name: counts[name] for name in FUSED}


def read_phone(path: Path, phone: str) -> PhoneRows:
    """The rows of one phone, in the file's order. A phone's column of kernel names may be missing.

    Raises UserError, with file and line, for a file that is not such a table or lacks the phone, and for a row that
    cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return _read(path, file, phone)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


def _read(path: Path, lines: Iterator[str], phone: str) -> PhoneRows:
    reader = csv.DictReader(lines, strict=True)
    timed: list[Timed] = []
    listed: list[Listed] = []
    untimed, skipped = 0, Counter[str]()
    try:
        _check_columns(list(reader.fieldnames or []), phone)
        for row in reader:
            if None in row or None in row.values():
                raise UserError(f"not {len(reader.fieldnames or [])} fields, as the first line has")
            time_us, kernel = _time_us(row, phone), row.get(phone + KERNEL, "")
            listed += _listed(row, kernel)
            if time_us is None:
                untimed += 1
            elif kernel.startswith(_PAIR):
                skipped["a depthwise and a pointwise convolution in one kernel"] += 1
            elif row["operation"] not in _READERS:
                skipped[f"{row['operation']}, which is not known here"] += 1
            else:
                operation = _READERS[row["operation"]](row["operation"], row["feature"])
                timed.append(Timed(reader.line_num, row["model"], operation, time_us, fused_layers(kernel)))
    except (UserError, csv.Error) as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}") from error
    return PhoneRows(tuple(timed), untimed, dict(skipped), tuple(listed))


def _listed(row: dict[str, str], kernel: str) -> list[Listed]:
    """A row as part of its network, if it is known here. Only a row with a time must be right."""
    if row["operation"] not in _READERS:
        return []
    try:
        operation = _READERS[row["operation"]](row["operation"], row["feature"])
    except UserError:
        return []
    return [Listed(row["model"], operation, fused_layers(kernel) if kernel else None)]


def _check_columns(columns: list[str], phone: str) -> None:
    if missing := [name for name in COLUMNS if name not in columns]:
        raise UserError(f"no column {', '.join(missing)}: expected USC's tflite_cnn_ops_gpu.csv")
    if phone + LATENCY not in columns:
        phones = [name.removesuffix(LATENCY) for name in columns if name.endswith(LATENCY)]
        raise UserError(f"no column {phone}{LATENCY}; the file has these phones: {', '.join(phones) or 'none'}")


def _time_us(row: dict[str, str], phone: str) -> float | None:
    text = row[phone + LATENCY].strip()
    if not text:
        return None
    try:
        time_us = float(text)
    except ValueError:
        time_us = math.nan
    if not (math.isfinite(time_us) and time_us > 0):
        raise UserError(f"{phone}: {text!r} is no time in us")
    return time_us


def _known(operation: str, feature: str) -> Operation:
    return operator_of(operation, feature)


def _grouped(operation: str, feature: str) -> GroupedConv2d:
    names = ("Input_shape", "Input_channel", "Output_shape", "Stride", "Kernel", "Filter", "Group")
    side, channels, output, stride, kernel, filters, groups = (sizes_of(feature, names)[name] for name in names)
    pad = padding_of(side, kernel, stride, output)
    return GroupedConv2d(side, side, channels, filters, kernel, stride, pad, groups)


def _pooling(operation: str, feature: str) -> Pool2d:
    names = ("Input_shape", "Input_channel", "Output_shape", "Stride", "Kernel")
    side, channels, output, stride, kernel = (sizes_of(feature, names)[name] for name in names)
    # An even window over as many pixels as come out has its padding behind: one pixel less of the image is the same.
    pad = 0 if kernel % 2 == 0 and -(-side // stride) == output else padding_of(side, kernel, stride, output)
    mode = "max" if operation.startswith("MAX") else "avg"
    return Pool2d(mode, side, side, channels, kernel, kernel, stride, pad, pad)


def _mean(operation: str, feature: str) -> Mean:
    sizes = sizes_of(feature, ("Input_shape", "Input_channel"))
    return Mean(sizes["Input_shape"], sizes["Input_shape"], sizes["Input_channel"])


def _concat(operation: str, feature: str) -> Concat:
    names = ("Input_shape", "Filter", "Input_channel", "Kernel")
    side, channels, first, parts = (sizes_of(feature, names)[name] for name in names)
    return Concat(side, side, channels, first, parts)


_READERS = {
    **dict.fromkeys(OPERATIONS, _known),
    "CONV_2D_GROUP": _grouped,
    "MAX_POOL_2D": _pooling,
    "AVERAGE_POOL_2D": _pooling,
    "MEAN": _mean,
    "CONCATENATION": _concat,
}
