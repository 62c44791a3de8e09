"""What phones say is never trusted: whatever comes, it is a line in the agreed form or a BadLine."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitfleet.pipeline.result_lines import MAX_LINE_BYTES, BadLine, ResultReader, parse_line

TIMES = {"queued_ns": [10, 20], "submit_ns": [11, 21], "start_ns": [12, 22], "end_ns": [15, 25], "wall_ns": [9, 9]}
RESULT: dict[str, Any] = {
    "type": "result", "schema": 2, "id": "9c41", "kind": "gpu", "status": "ok", "error": None,
    "started_unix_us": 1_790_000_000_000_000, "elapsed_us": 1500, "build_us": 20, "cached": False,
    "max_relative_error": 2.1e-7, "mode": "single", "chain_length": 1, "warmup": 12,
    "rejected": {"context_switch": 1, "event_order": 0}, "samples": TIMES,
}  # fmt: skip
COMPARE: dict[str, Any] = {
    "type": "result", "schema": 2, "id": "c0", "kind": "compare", "status": "ok", "error": None,
    "variants": [{"name": "plan", "max_relative_error": 1e-6, "warmup": 10, "samples": TIMES}],
}  # fmt: skip
TELEMETRY: dict[str, Any] = {
    "type": "telemetry", "schema": 2, "when": "start", "unix_us": 1, "zones": [{"name": "cpu-1-7", "celsius": 41.5}],
    "thermal_status": 0, "cpus": [{"id": 7, "khz": 2841600}], "gpu_khz": 585000,
    "battery": {"percent": 81, "status": "Charging", "celsius": 32.5}, "load_1min": 0.25, "free_bytes": 5120000,
}  # fmt: skip
AGENT: dict[str, Any] = {
    "type": "agent", "schema": 2, "build": "f00", "isa": "avx2", "compiler": "gcc 12.2",
    "backends": {"eigen": "eigen-3.4.1"}, "opencl": "PoCL 3.0", "pid": 4711,
}  # fmt: skip
END: dict[str, Any] = {"type": "end", "schema": 2, "jobs": 120}
LINES = [RESULT, COMPARE, TELEMETRY, AGENT, END]


def text(line: object) -> bytes:
    return json.dumps(line).encode()


@pytest.mark.parametrize("line", LINES)
def test_what_the_agent_writes_comes_through_whole(line: dict[str, Any]) -> None:
    assert parse_line(text(line)) == line


def test_what_is_unknown_is_left_out() -> None:
    assert parse_line(text({**END, "more": [[[{}]]]})) == END


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"id": "x; rm -rf /"}, "id"),
        ({"id": "x" * 201}, "id"),
        ({"status": "great"}, "status"),
        ({"schema": 3}, "schema"),
        ({"elapsed_us": -1}, "elapsed_us"),
        ({"elapsed_us": 1 << 63}, "elapsed_us"),
        ({"elapsed_us": True}, "elapsed_us"),
        ({"elapsed_us": "5"}, "elapsed_us"),
        ({"max_relative_error": math.nan}, "max_relative_error"),
        ({"max_relative_error": math.inf}, "max_relative_error"),
        ({"error": "x" * 4001}, "error"),
        ({"samples": None}, "there are no samples"),
        ({"samples": {**TIMES, "wall_ns": [1]}}, "differ in length"),
        ({"samples": {**TIMES, "wall_ns": []}}, "wall_ns"),
        ({"samples": {**TIMES, "start_ns": [30, 22]}}, "out of order"),
        ({"samples": {"wall_ns": [1] * 10_001}}, "wall_ns"),
        ({"samples": {"wall_ns": [1.5]}}, "wall_ns"),
        ({"samples": [1, 2]}, "samples"),
        ({"type": "order"}, "order"),
        ({"type": []}, "type"),
    ],
)
def test_what_breaks_a_rule_is_named(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(BadLine, match=what):
        parse_line(text({**RESULT, **changes}))


@pytest.mark.parametrize(
    "line",
    [
        b"", b"null", b"[]", b"{}", b'"result"', b"\x00", b"\xff\xfe", b'{"type":', b'{"type": "end", "schema": NaN}',
        b"[" * 100_000, b'{"a":' * 100_000, b'{"type": "end", "schema": 2, "jobs": ' + b"9" * 5000 + b"}",
        b'{"type": "end", "schema": 2, "jobs": 1e999}', b'{"type": "end", "schema": 2, "x": "\\ud800"}',
        b" " * (MAX_LINE_BYTES + 1),
    ],
    ids=lambda line: repr(line[:20]),
)  # fmt: skip
def test_what_is_no_line_at_all(line: bytes) -> None:
    with pytest.raises(BadLine):
        parse_line(line)


def test_texts_cannot_command_a_terminal() -> None:
    line = parse_line(text({**RESULT, "status": "crashed", "error": "a\x1b[2Jb\nc\x07\u202ed"}))
    assert line["error"] == "a [2Jb c  d"


def assert_tame(value: object) -> None:
    """Plain data that JSON, SQLite and Parquet can hold."""
    if isinstance(value, dict):
        for name, each in value.items():
            assert isinstance(name, str)
            assert_tame(each)
    elif isinstance(value, list):
        for each in value:
            assert_tame(each)
    elif isinstance(value, str):
        assert value.isprintable()
        value.encode()
    elif isinstance(value, float):
        assert math.isfinite(value)
    elif value is not None:
        assert isinstance(value, int)
        assert -(1 << 63) <= value < 1 << 63


def take(line: bytes) -> None:
    try:
        found = parse_line(line)
    except BadLine as error:
        found = {"error": str(error)}
    assert_tame(found)


@given(st.binary(max_size=200))
def test_any_bytes(line: bytes) -> None:
    take(line)


JUNK = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(1 << 80), 1 << 80),
        st.floats(),
        st.text(max_size=10),
        st.sampled_from(["ok", "hot", "9c41", "\x1b[0m", 1 << 63, -1, 10**400]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        yield from places(inner, (*path, step))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@given(st.data())
def test_a_real_line_with_something_else_in_it(data: st.DataObject) -> None:
    line = data.draw(st.sampled_from(LINES))
    take(text(replaced(line, data.draw(st.sampled_from(list(places(line)))), data.draw(JUNK))))


@given(st.sampled_from(LINES), st.integers(0, 400), st.integers(0, 10), st.binary(max_size=6))
def test_a_real_line_that_was_damaged(line: dict[str, Any], at: int, removed: int, added: bytes) -> None:
    whole = text(line)
    take(whole[:at] + added + whole[at + removed :])


def test_the_first_result_of_a_job_counts() -> None:
    reader = ResultReader(frozenset({"9c41"}))
    assert reader.take(text(RESULT), 0) == RESULT
    assert reader.take(text({**RESULT, "elapsed_us": 1}), 500) is None
    assert reader.take(text(RESULT), 0) == RESULT, "the same place of the file, read again"
    assert reader.take(text(END), 600) == END


def test_a_job_of_another_batch() -> None:
    with pytest.raises(BadLine, match="it speaks of job 9c41, which is not in the batch"):
        ResultReader(frozenset({"c0"})).take(text(RESULT), 0)
    assert ResultReader(None).take(text(RESULT), 0) == RESULT
