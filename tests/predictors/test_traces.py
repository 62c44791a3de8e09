from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from splitfleet.kernels.errors import HarnessError, UserError
from splitfleet.predictors.traces import TRACE_SCHEMA, read_traces, revision_of, write_traces

from . import synthetic

DOCS = Path(__file__).parents[2] / "docs" / "traces.md"


def test_rows_survive_a_round_trip(tmp_path: Path) -> None:
    rows = synthetic.trace_rows(12)
    rows[0]["variants"] = [{"name": "plan", "max_relative_error": None, "wall_ns": [3, 1, 2]}]
    frame = synthetic.traces(tmp_path, rows).set_index("job_id")
    assert len(frame) == len(rows)
    for row in rows:
        found = frame.loc[row["job_id"]]
        assert found["operating_point"] == row["operating_point"]
        assert list(found["wall_ns"]) == row["wall_ns"]
        assert found["kind"] == row["kind"]
    variant = frame.loc[rows[0]["job_id"], "variants"][0]
    assert (variant["name"], list(variant["wall_ns"])) == ("plan", [3, 1, 2])


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    rows = synthetic.trace_rows(12)
    write_traces(rows, tmp_path / "a.parquet", revision="cafe 3")
    write_traces(iter(rows), tmp_path / "b.parquet", revision="cafe 3")
    assert revision_of(tmp_path / "a.parquet") == "cafe 3"
    assert revision_of(tmp_path / "c.parquet") is None
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "no such trace column: colour"),
        ({"device_class": None}, "lacks device_class"),
        ({"wall_ns": "soon"}, "does not fit the schema"),
    ],
)
def test_a_row_outside_the_schema_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    row = {**synthetic.trace_rows(12)[0], **change}
    with pytest.raises(HarnessError, match=message):
        write_traces([row], tmp_path / "a.parquet")
    assert not list(tmp_path.iterdir())


def test_a_folder_without_traces(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no traces here"):
        read_traces(tmp_path)


def test_a_file_of_another_schema_version(tmp_path: Path) -> None:
    table = pa.table({"x": [1]}).replace_schema_metadata({"splitfleet.traces.schema": "99"})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet: trace schema 99 is not known"):
        read_traces(tmp_path)


def test_schema_1_is_still_read(tmp_path: Path) -> None:
    new = (
        "precision", "mode", "chain_length", "operation", "bytes", "warmup", "nodes", "telemetry_before",
        "telemetry_after",
    )  # fmt: skip
    variant = pa.struct(
        [("name", pa.string()), ("max_relative_error", pa.float64()), ("wall_ns", pa.list_(pa.int64()))]
    )
    fields = [field for field in TRACE_SCHEMA if field.name not in new]
    fields = [pa.field("variants", pa.list_(variant)) if field.name == "variants" else field for field in fields]
    rows = [{name: row.get(name) for name in row if name not in new} for row in synthetic.trace_rows(12)]
    rows[0]["variants"] = [{"name": "plan", "max_relative_error": 0.0, "wall_ns": [3, 1]}]
    table = pa.Table.from_pylist(rows, schema=pa.schema(fields, metadata={"splitfleet.traces.schema": "1"}))
    pq.write_table(table, tmp_path / "a.parquet")
    frame = read_traces(tmp_path)
    assert list(frame.columns) == TRACE_SCHEMA.names
    assert set(frame["precision"]) == {"fp32"}
    assert set(frame.loc[frame["kind"] == "gpu", "mode"]) == {"single"}
    assert frame["telemetry_before"].isna().all()
    assert list(frame["variants"].iloc[0][0]["wall_ns"]) == [3, 1]


def test_schema_2_is_still_read(tmp_path: Path) -> None:
    fields = [field for field in TRACE_SCHEMA if field.name != "nodes"]
    rows = synthetic.trace_rows(12)
    table = pa.Table.from_pylist(rows, schema=pa.schema(fields, metadata={"splitfleet.traces.schema": "2"}))
    pq.write_table(table, tmp_path / "a.parquet")
    frame = read_traces(tmp_path)
    assert list(frame.columns) == TRACE_SCHEMA.names
    assert frame["nodes"].isna().all()
    assert frame["job_id"].tolist() == [row["job_id"] for row in rows]


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match=r"a\.parquet: not a readable trace file"):
        read_traces(tmp_path)


def test_two_operating_points_in_one_class_are_refused(tmp_path: Path) -> None:
    rows = synthetic.trace_rows(12)
    rows[3]["operating_point"] = '{"isa": "neon"}'
    with pytest.raises(UserError, match=r"synthetic-0123abcd was measured at 2 operating points"):
        synthetic.traces(tmp_path, rows)


def test_a_job_accepted_twice_is_refused(tmp_path: Path) -> None:
    rows = synthetic.trace_rows(12)
    with pytest.raises(UserError, match="two accepted traces on synthetic-1"):
        synthetic.traces(tmp_path, [*rows, {**rows[5], "attempt": 2}])


def test_every_column_is_documented() -> None:
    text = DOCS.read_text("utf-8")
    assert [name for name in TRACE_SCHEMA.names if f"`{name}`" not in text] == []
    assert all(field.metadata[b"doc"] for field in TRACE_SCHEMA)
