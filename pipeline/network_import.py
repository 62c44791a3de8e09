"""Times of whole networks that others measured, brought in beside the times of their operations."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.litert.operations import Operation
from splitfleet.kernels.litert.usc_operations import FUSED, Listed
from splitfleet.predictors.litert_networks import MeasuredNetwork


def measured_networks(
    file: Path, listed: Iterable[Listed], name_column: str, time_column: str
) -> tuple[MeasuredNetwork, ...]:
    """The networks in a CSV file with a name and a time in us each whose operations are listed, in the file's order.

    A row without a time, or whose network is not listed, is passed over. Raises UserError, with file and line, for what
    cannot be read, and where nothing is left.
    """
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, skip_blank_lines=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read: {error}") from error
    if missing := [name for name in (name_column, time_column) if name not in table.columns]:
        raise UserError(f"{file}: no column {', '.join(missing)}; it needs {name_column} and {time_column}")
    by_network: dict[str, list[Listed]] = defaultdict(list)
    for operation in listed:
        by_network[operation.network].append(operation)
    found: dict[str, MeasuredNetwork] = {}
    for line, (name, text) in enumerate(zip(table[name_column], table[time_column], strict=True), 2):
        if not text.strip() or name not in by_network:
            continue
        if name in found:
            raise UserError(f"{file}, line {line}: the network {name!r} a second time")
        operations = _with_usual_fusion(by_network[name])
        found[name] = MeasuredNetwork(name, _time_us(file, line, text), operations)
    if not found:
        raise UserError(f"{file}: no network with a time whose operations are listed; names must be the same")
    return tuple(found.values())


def _time_us(file: Path, line: int, text: str) -> float:
    try:
        time_us = float(text)
    except ValueError:
        time_us = math.nan
    if not (math.isfinite(time_us) and time_us > 0):
        raise UserError(f"{file}, line {line}: {text!r} is no time in us")
    return time_us


def _with_usual_fusion(listed: list[Listed]) -> tuple[tuple[Operation, dict[str, int]], ...]:
    """Where nothing tells what is fused: what is fused most often into the network's operations of that type."""
    usual: dict[str, Counter[tuple[int, ...]]] = defaultdict(Counter)
    for entry in listed:
        if entry.fused is not None:
            usual[entry.operation.type][tuple(entry.fused[kind] for kind in FUSED)] += 1
    operations = []
    for entry in listed:
        fused = entry.fused
        if fused is None:
            seen = usual[entry.operation.type].most_common(1)
            fused = dict(zip(FUSED, seen[0][0], strict=True)) if seen else dict.fromkeys(FUSED, 0)
        operations.append((entry.operation, fused))
    return tuple(operations)
