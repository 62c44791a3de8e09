"""A campaign's traces as one flat file, for whatever reads Parquet or CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from splitfleet.kernels.errors import UserError
from splitfleet.predictors.traces import TRACE_SCHEMA, trace_tables

from .locations import file_system, new_file

Format = Literal["parquet", "csv"]


def export_traces(folder: Path | str, output: Path | str, form: Format) -> int:
    """Writes the traces of a campaign folder, or of a URL with a copy of one, to a file or URL; returns how many.

    One row per accepted job, with the columns of docs/traces.md, phone by phone; memory does not grow with the rows.
    `variants` is JSON text, since flat tables have no nested records; in CSV, so are the lists of times.
    Raises UserError where there are no traces or the output cannot be written.
    """
    system, root = file_system(folder)
    names = sorted(system.glob(f"{root}/traces/**/*.parquet"))
    if not names:
        raise UserError(f"{folder}: no traces here; run the campaign first, or name its folder")
    rows = 0
    with new_file(output) as file:
        schema = _schema(form)
        writer: Any = pq.ParquetWriter(file, schema) if form == "parquet" else pa.csv.CSVWriter(file, schema)
        with writer:
            for name in names:
                with system.open(name) as traces:
                    for table in trace_tables(traces, name):
                        writer.write_table(_flat(table, schema))
                        rows += len(table)
    return rows


def _schema(form: Format) -> pa.Schema:
    def is_text(field: pa.Field) -> bool:
        return pa.types.is_list(field.type) and (form == "csv" or pa.types.is_struct(field.type.value_type))

    return pa.schema(
        [field.with_type(pa.string()) if is_text(field) else field for field in TRACE_SCHEMA], TRACE_SCHEMA.metadata
    )


def _flat(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        table[field.name] if table[field.name].type == field.type else pa.array(_texts(table[field.name]), pa.string())
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _texts(column: Any) -> Iterator[str | None]:
    return (None if value is None else json.dumps(value, separators=(",", ":")) for value in column.to_pylist())
