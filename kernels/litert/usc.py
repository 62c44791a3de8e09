"""Operators timed on phones by others: the file `tflite_cnn_ops_gpu.csv` of USC's mobile-ml-benchmark.

Format (github.com/qed-usc/mobile-ml-benchmark, dataset/, commit 40ba833): columns model, operation, feature, and for
each phone `PHONE|gpu|float` (latency in us of TensorFlow Lite 2.10's GPU delegate in fp16) and `PHONE|gpu|kernel` (the
name of the kernel that it chose); both are empty where nothing was recorded. `feature` is a Python dict literal with
the keys of `_KEYS`; sides are those of a square, FLOPS counts a multiply and an add as two.
"""

from __future__ import annotations

import ast
import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.operators import Conv2d, DepthwiseConv2d, Linear, Operator

PHONE_GPUS = {
    "pixel4": "Adreno 640",
    "s10": "Mali-G76 MP12",
    "iphone7": "PowerVR GT7600+",
    "iphonexs": "Apple G11P",
}
"""The GPU of each phone of the data set that is known by the name of its columns."""

OPERATIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
"""Operations that are read; other rows of the file are passed over."""

_KEYS = ("Input_shape", "Input_channel", "Output_shape", "Stride", "Kernel", "Filter", "FLOPS")
COLUMNS = ("model", "operation", "feature")
LATENCY, KERNEL = "|gpu|float", "|gpu|kernel"
"""A phone's columns are its name and these."""


@dataclass(frozen=True)
class Recorded:
    """One operator of one network on one phone: latency in us and the delegate's name for the kernel."""

    line: int
    network: str
    operation: str
    operator: Operator
    phone: str
    latency_us: float
    kernel: str


def read_recorded(path: Path) -> list[Recorded]:
    """What the file records of OPERATIONS, in its order.

    Raises UserError, with file and line, for a file that is not such a table and for a row that cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(_rows(path, file))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


def _rows(path: Path, lines: Iterator[str]) -> Iterator[Recorded]:
    reader = csv.DictReader(lines, strict=True)
    try:
        columns = reader.fieldnames or []
        phones = [name.removesuffix(KERNEL) for name in columns if name.endswith(KERNEL)]
        needed = [*COLUMNS, *(phone + LATENCY for phone in phones)]
        if missing := [name for name in needed if name not in columns]:
            raise UserError(f"no column {', '.join(missing)}: expected USC's tflite_cnn_ops_gpu.csv")
        if not phones:
            raise UserError(f"no column PHONE{KERNEL}: expected USC's tflite_cnn_ops_gpu.csv")
        for row in reader:
            if None in row or None in row.values():
                raise UserError(f"not {len(columns)} fields, as the first line has")
            if row["operation"] in OPERATIONS:
                operator = operator_of(row["operation"], row["feature"])
                yield from _recorded(reader.line_num, row, operator, phones)
    except (UserError, csv.Error) as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}") from error


def operator_of(operation: str, feature: str) -> Operator:
    """The operator that a row of the file describes. Raises UserError, without file and line.

    Padding is not recorded: it is what makes the output's side, half the kernel all around or none. In front of a
    depthwise convolution without any stood a padding layer, which the delegate merges into it
    (transformations/merge_padding_with.cc): the operator is the merged one, of the smaller input.
    """
    sizes = sizes_of(feature, ("Input_channel", "Filter", "FLOPS") if operation == "FULLY_CONNECTED" else _KEYS)
    operator: Operator
    if operation == "FULLY_CONNECTED":
        operator = Linear(rows=1, in_features=sizes["Input_channel"], out_features=sizes["Filter"])
    else:
        side, kernel, stride = sizes["Input_shape"], sizes["Kernel"], sizes["Stride"]
        pad = padding_of(side, kernel, stride, sizes["Output_shape"])
        if operation == "DEPTHWISE_CONV_2D":
            operator = _depthwise(side, sizes, pad)
        else:
            operator = Conv2d(side, side, sizes["Input_channel"], sizes["Filter"], kernel, kernel, stride, pad, pad)
    if operator.flops != sizes["FLOPS"]:
        raise UserError(f"{operator.label} is of {operator.flops} FLOPs, the row says {sizes['FLOPS']}")
    return operator


def sizes_of(feature: str, names: tuple[str, ...]) -> dict[str, int]:
    """The whole numbers of these names in a row's `feature`. Raises UserError where one is none."""
    try:
        found = ast.literal_eval(feature)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"feature is no dict literal: {feature[:80]!r}")
    sizes = {}
    for name in names:
        text = str(found.get(name, "")).strip()
        if not (text.isascii() and text.isdecimal()) or int(text) < 1:
            raise UserError(f"{name} must be a whole number of at least 1, not {found.get(name)!r}")
        sizes[name] = int(text)
    return sizes


def _depthwise(side: int, sizes: dict[str, int], pad: int) -> DepthwiseConv2d:
    if sizes["Filter"] != 1:
        raise UserError(f"a depthwise convolution of {sizes['Filter']} outputs a channel is not known here")
    kernel, merged = sizes["Kernel"], sizes["Kernel"] // 2
    if pad == 0 and side > 2 * merged:
        side, pad = side - 2 * merged, merged
    return DepthwiseConv2d(side, side, sizes["Input_channel"], kernel, kernel, sizes["Stride"], pad, pad)


def padding_of(side: int, kernel: int, stride: int, output: int) -> int:
    """The padding on each side that makes `output` pixels of `side`. Raises UserError where none does."""
    if kernel % 2 and -(-side // stride) == output:
        return kernel // 2
    if (side - kernel) // stride + 1 == output:
        return 0
    raise UserError(f"no padding makes {output} pixels of {side} with kernel {kernel} and stride {stride}")


def _recorded(line: int, row: dict[str, str], operator: Operator, phones: list[str]) -> Iterator[Recorded]:
    for phone in phones:
        latency, kernel = row[phone + LATENCY], row[phone + KERNEL]
        if not latency and not kernel:
            continue
        try:
            latency_us = float(latency)
        except ValueError:
            latency_us = math.nan
        if not (math.isfinite(latency_us) and latency_us > 0) or not kernel:
            raise UserError(f"{phone}: latency {latency!r} us and kernel {kernel!r} do not make a measurement")
        yield Recorded(line, row["model"], row["operation"], operator, phone, latency_us, kernel)
