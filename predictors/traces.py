"""Traces: the measurements of a campaign as Parquet, one row per accepted job.

Repetitions are list columns in integer nanoseconds; statistics are computed later, by whoever reads. The meaning and
unit of each column is in the Parquet schema itself (field metadata ``doc`` and ``unit``) and in docs/traces.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from splitfleet.kernels.errors import HarnessError, UserError

SCHEMA_VERSION = 3
_VERSION_KEY = b"splitfleet.traces.schema"

_NS = pa.list_(pa.int64())
SAMPLES = ("queued_ns", "submit_ns", "start_ns", "end_ns", "wall_ns", "cpu_ns")
"""The list columns, of a trace and of each variant of a comparison."""

_VARIANT = pa.struct(
    [pa.field("name", pa.string()), pa.field("max_relative_error", pa.float64())]
    + [pa.field(name, _NS) for name in SAMPLES]
)


def _column(name: str, kind: pa.DataType, unit: str, doc: str, *, required: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=not required, metadata={"unit": unit, "doc": doc})


TRACE_SCHEMA = pa.schema(
    [
        _column("campaign", pa.string(), "", "campaign name", required=True),
        _column("phone", pa.string(), "", "label of the phone inside the campaign, not its serial", required=True),
        _column("device_class", pa.string(), "", "what decides timings: <model-slug>-<hash8>", required=True),
        _column("job_id", pa.string(), "", "hash of the job's content and operating point", required=True),
        _column("purpose", pa.string(), "", "measure, sister, probe, validate, trial, compare, network", required=True),
        _column("attempt", pa.int32(), "", "which attempt was accepted, from 1", required=True),
        _column("kind", pa.string(), "", "gpu, cpu, coexec, sync, transfer, compare or network", required=True),
        _column("operator_type", pa.string(), "", "as linear or conv2d; null for sync, transfer, network"),
        _column("operator", pa.string(), "", "operator as JSON text; null for sync, transfer, network"),
        _column("kernel", pa.string(), "", "the plan's kernel variant; null for cpu, transfer, compare, network"),
        _column("quantities", pa.string(), "", "the launch plan's quantities as JSON text; empty for cpu"),
        _column("precision", pa.string(), "", "of the GPU: fp32, fp16 or fp16_fp32", required=True),
        _column("threads", pa.int32(), "", "CPU threads; null for gpu"),
        _column("core_mask", pa.int64(), "", "bit mask of the CPUs used; null for gpu"),
        _column("cut", pa.int32(), "channels", "the CPU has channels [0, cut); null unless coexec"),
        _column("join", pa.string(), "", "svm_poll, event_wait or finish; a gpu job's wait; null for cpu"),
        _column("mode", pa.string(), "", "gpu: single (a wait after each execution) or chain; null otherwise"),
        _column("chain_length", pa.int32(), "", "chain: executions enqueued back to back; null otherwise"),
        _column("operation", pa.string(), "", "transfer: as map_read or copy; null otherwise"),
        _column("bytes", pa.int64(), "bytes", "transfer: how many are moved; null otherwise"),
        _column("status", pa.string(), "", "the agent's verdict; only ok carries samples", required=True),
        _column("error", pa.string(), "", "one line when the status is not ok"),
        _column("max_relative_error", pa.float64(), "", "max |output - reference| / max |reference|"),
        _column("queued_ns", _NS, "ns", "per repetition, device clock: CL_PROFILING_COMMAND_QUEUED"),
        _column("submit_ns", _NS, "ns", "per repetition, device clock: CL_PROFILING_COMMAND_SUBMIT"),
        _column("start_ns", _NS, "ns", "per repetition, device clock: CL_PROFILING_COMMAND_START"),
        _column("end_ns", _NS, "ns", "per repetition, device clock: CL_PROFILING_COMMAND_END"),
        _column("wall_ns", _NS, "ns", "per repetition, host: from before the first enqueue until visible"),
        _column("cpu_ns", _NS, "ns", "per repetition: the CPU half's own time within a joint execution"),
        _column("variants", pa.list_(_VARIANT), "", "compare, network: each variant's own repetitions"),
        _column("nodes", pa.string(), "ns", "network: medians of each node's parts by variant, as JSON text"),
        _column("warmup", pa.int32(), "", "executions before the first repetition, thrown away"),
        _column("rejected_context_switch", pa.int32(), "", "repetitions rejected: switched out"),
        _column("rejected_event_order", pa.int32(), "", "repetitions rejected: events out of order"),
        _column("checked_joins", pa.int64(), "", "sync: joins whose payload was checked"),
        _column("mismatches", pa.int64(), "", "sync: joins with a stale payload"),
        _column("build_us", pa.int64(), "us", "time to build the kernel"),
        _column("elapsed_us", pa.int64(), "us", "time the whole job took"),
        _column("started_unix_us", pa.int64(), "us", "when the job started, since 1970 UTC, the phone's clock"),
        _column("temperature_before_c", pa.float64(), "deg C", "hottest zone before the job's batch"),
        _column("temperature_after_c", pa.float64(), "deg C", "hottest zone after the job's batch"),
        _column("telemetry_before", pa.string(), "", "the phone at the start of the job's batch, as JSON text"),
        _column("telemetry_after", pa.string(), "", "the phone at the end of the job's batch, as JSON text"),
        _column("agent_build", pa.string(), "", "agent build id"),
        _column("isa", pa.string(), "", "instruction set the agent was built for"),
        _column("backend", pa.string(), "", "CPU backend and version"),
        _column("operating_point", pa.string(), "", "operating point as JSON text", required=True),
    ],
    metadata={_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)

_ROWS_AT_ONCE = 2000
_REVISION_KEY = b"splitfleet.traces.revision"


def write_traces(rows: Iterable[Mapping[str, Any]], path: Path, *, revision: str = "") -> None:
    """Write ``rows`` (keys are the names of `TRACE_SCHEMA`; absent means null) as one Parquet file.

    The rows are written as they come, some thousand at a time, so the same rows give the same bytes and memory does not
    grow with their number. ``revision`` is kept in the file for `revision_of`. The file appears whole or not at all.

    Raises:
        HarnessError: a row has an unknown key, lacks a required one, or holds a value of another type.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    schema = TRACE_SCHEMA.with_metadata({**TRACE_SCHEMA.metadata, _REVISION_KEY: revision.encode()})
    remaining = iter(rows)
    try:
        with pq.ParquetWriter(temporary, schema, compression="zstd", version="2.6") as writer:
            while some := list(islice(remaining, _ROWS_AT_ONCE)):
                writer.write_table(_table(some, schema, path), row_group_size=_ROWS_AT_ONCE)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def revision_of(path: Path) -> str | None:
    """What `write_traces` was told that a file holds; None where there is no such file of this version."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException):
        return None
    is_current = metadata.get(_VERSION_KEY) == str(SCHEMA_VERSION).encode()
    return str(metadata.get(_REVISION_KEY, b"").decode()) if is_current else None


def _table(rows: list[Mapping[str, Any]], schema: pa.Schema, path: Path) -> pa.Table:
    names = set(schema.names)
    required = {field.name for field in schema if not field.nullable}
    for row in rows:
        if unknown := sorted(row.keys() - names):
            raise HarnessError(f"{path}: no such trace column: {', '.join(unknown)}")
        if missing := sorted(name for name in required if row.get(name) is None):
            raise HarnessError(f"{path}: job {row.get('job_id')}: trace lacks {', '.join(missing)}")
    try:
        return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise HarnessError(f"{path}: a trace does not fit the schema: {error}") from error


def read_traces(folder: Path, *, kind: str | None = None) -> pd.DataFrame:
    """All traces under ``folder/traces`` (a campaign folder) or, where there is none, under ``folder`` itself.

    Returns one row per accepted job, or per job of one ``kind``; list columns hold int64 arrays.

    Raises:
        UserError: no traces, an unreadable file, an unknown schema version, a job accepted twice for one phone and
            purpose, or two operating points within one device class.
    """
    root = folder / "traces" if (folder / "traces").is_dir() else folder
    files = sorted(root.rglob("*.parquet")) if root.is_dir() else []
    if not files:
        raise UserError(f"{folder}: no traces here; run `splitfleet campaign run` first, or name a campaign folder")
    tables = (table for path in files for table in trace_tables(path, str(path)))
    chosen = [table if kind is None else table.filter(pc.equal(table["kind"], kind)) for table in tables]
    frame: pd.DataFrame = pa.concat_tables([TRACE_SCHEMA.empty_table(), *chosen]).to_pandas()
    _check(frame, folder)
    return frame


def trace_tables(file: Path | IO[bytes], name: str) -> Iterator[pa.Table]:
    """The rows of one trace file, some thousand at a time, with the columns of `TRACE_SCHEMA`.

    Raises:
        UserError: the file, called ``name``, is unreadable or of an unknown schema version.
    """
    try:
        parquet = pq.ParquetFile(file)
        version = (parquet.schema_arrow.metadata or {}).get(_VERSION_KEY, b"none").decode("ascii", "replace")
        if version not in map(str, range(1, SCHEMA_VERSION + 1)):
            raise UserError(
                f"{name}: trace schema {version} is not known here (this version reads 1 to {SCHEMA_VERSION}); use the "
                "version of Splitfleet that wrote it, or write the traces again from the ledger"
            )
        for group in range(parquet.num_row_groups):
            table = parquet.read_row_group(group)
            if version == "1":
                yield _from_schema_1(table)
                continue
            if version == "2":
                table = table.append_column("nodes", pa.nulls(len(table), pa.string()))
            yield table.select(TRACE_SCHEMA.names).cast(TRACE_SCHEMA)
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        raise UserError(f"{name}: not a readable trace file: {error}; write it again from the ledger") from error


def _from_schema_1(table: pa.Table) -> pa.Table:
    """What schema 1 could hold: fp32, every GPU job waited for by itself; what it did not record is null."""
    rows = [
        {**row, "precision": "fp32", "mode": "single" if row["kind"] == "gpu" else None} for row in table.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=TRACE_SCHEMA)


def _check(frame: pd.DataFrame, folder: Path) -> None:
    keys = ["job_id", "phone", "purpose"]
    twice = frame[frame.duplicated(keys)]
    if len(twice):
        job, phone, purpose = twice.iloc[0][keys]
        raise UserError(
            f"{folder}: job {job} has two accepted traces on {phone} ({purpose}); keep one copy of each trace file"
        )
    points = frame.groupby("device_class")["operating_point"].nunique()
    mixed = points[points > 1]
    if len(mixed):
        name = mixed.index[0]
        raise UserError(
            f"{folder}: device class {name} was measured at {mixed.iloc[0]} operating points; their times must not be "
            "mixed. Keep the traces of one operating point in a folder, or run a campaign for each"
        )
