"""A table of operators and times, as anyone can write it: CSV, or Parquet, with the columns of docs/traces.md."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa

from splitfleet.kernels import Conv2d, DepthwiseConv2d, Linear
from splitfleet.kernels.errors import UserError
from splitfleet.kernels.litert.operations import Operation, parse_operation
from splitfleet.kernels.litert.usc_operations import FUSED, Listed, PhoneRows, Timed

_NEEDED = ("operator", "time_us")
_OPTIONAL = ("fused", "network")
_EPILOGUES = {"relu": "relu", "relu6": "relu", "add": "add", "add_relu": "add relu"}


def read_table(path: Path) -> PhoneRows:
    """The rows of a file whose name ends in .csv or .parquet. A row without `time_us` is a shape without a measurement.

    Raises UserError, with file and line (of a CSV file; in a Parquet file the first row is 1), for what cannot be read.
    """
    table = _load(path)
    columns = list(table.columns)
    if missing := [name for name in _NEEDED if name not in columns]:
        raise UserError(f"{path}: no column {', '.join(missing)}; it needs {', '.join(_NEEDED)}")
    if unknown := [name for name in columns if name not in (*_NEEDED, *_OPTIONAL)]:
        raise UserError(f"{path}: unknown column {unknown[0]}; known: {', '.join((*_NEEDED, *_OPTIONAL))}")
    first = 2 if path.suffix == ".csv" else 1
    timed, listed = [], []
    for line, row in enumerate(table.to_dict("records"), first):
        try:
            read = _timed(line, {str(name): str(value) for name, value in row.items()})
            listed.append(Listed(read.network, read.operation, read.fused))
            if not math.isnan(read.time_us):
                timed.append(read)
        except UserError as error:
            raise UserError(f"{path}, line {line}: {error}") from error
    return PhoneRows(tuple(timed), len(table) - len(timed), {}, tuple(listed))


def _load(path: Path) -> pd.DataFrame:
    """All cells as text; an empty one is an empty text."""
    try:
        if path.suffix == ".csv":
            return pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False)
        if path.suffix == ".parquet":
            loaded = pd.read_parquet(path)
            return loaded.astype(object).where(loaded.notna(), "").astype(str)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    raise UserError(f"{path}: expected a name that ends in .csv or .parquet")


def _timed(line: int, row: dict[str, str]) -> Timed:
    """A row; its time is not a number where it has none."""
    time_us = math.nan
    if row["time_us"].strip():
        try:
            time_us = float(row["time_us"])
        except ValueError:
            time_us = 0.0
        if not (math.isfinite(time_us) and time_us > 0):
            raise UserError(f"time_us: {row['time_us']!r} is no time in us")
    operation, fused = _without_epilogue(parse_operation(row["operator"].strip()))
    counts = dict.fromkeys(FUSED, 0)
    for name in f"{fused} {row.get('fused', '')}".split():
        if name not in counts:
            raise UserError(f"fused: {name!r} is unknown; known, separated by spaces: {', '.join(FUSED)}")
        counts[name] += 1
    return Timed(line, row.get("network", "") or "none", operation, time_us, counts)


def _without_epilogue(operation: Operation) -> tuple[Operation, str]:
    """An epilogue is a fused layer like any other: the shape is the same without it."""
    if isinstance(operation, Linear | Conv2d | DepthwiseConv2d) and operation.epilogue != "none":
        return replace(operation, epilogue="none"), _EPILOGUES[operation.epilogue]
    return operation, ""
