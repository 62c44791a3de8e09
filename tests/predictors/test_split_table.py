from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitfleet.kernels import EPILOGUES, PRECISIONS, Conv2d, DepthwiseConv2d, Linear, Operator, Pool2d, UserError
from splitfleet.predictors.split_key import OPERATOR_TYPES
from splitfleet.predictors.split_table import (
    JOINS,
    Measured,
    RowRange,
    SplitDecision,
    SplitEntry,
    SplitTable,
    split_table_text,
)
from splitfleet.predictors.split_table_binary import decode_split_table, encode_split_table

_size = st.integers(1, 300)
_time = st.floats(1e-3, 1e9, allow_nan=False)
_threads = st.integers(1, 255)


@st.composite
def _operators(draw: st.DrawFn) -> Operator:
    kind, epilogue = draw(st.sampled_from(OPERATOR_TYPES)), draw(st.sampled_from(EPILOGUES))
    if kind == "linear":
        return Linear(draw(_size), draw(_size), draw(_size), epilogue)
    side, kernel = draw(st.integers(7, 300)), draw(st.sampled_from([1, 3, 5, 7]))
    window = (kernel, kernel, draw(st.integers(1, 3)), kernel // 2, 0)
    if kind == "pool2d":
        return Pool2d(draw(st.sampled_from(["max", "avg"])), side, side, draw(_size), *window)
    if kind == "depthwise_conv2d":
        return DepthwiseConv2d(side, side, draw(_size), *window, epilogue)
    return Conv2d(side, side, draw(_size), draw(_size), *window, epilogue)


@st.composite
def _measured(draw: st.DrawFn) -> Measured:
    search = (draw(st.integers(0, 300)), draw(_time)) if draw(st.booleans()) else (None, None)
    return Measured(draw(_time), draw(_time), draw(_time), draw(st.integers(1, 1000)), *search)


@st.composite
def _entries(draw: st.DrawFn) -> SplitEntry:
    operator = draw(_operators())
    cpu_threads, gpu_join = draw(_threads), draw(st.sampled_from(JOINS))
    ways = [("cpu", operator.channels, cpu_threads, None), ("gpu", 0, 0, gpu_join)]
    if operator.channels > 4:
        cut = 4 * draw(st.integers(1, (operator.channels - 1) // 4))
        ways.append(("split", cut, draw(_threads), draw(st.sampled_from(JOINS))))
    processor, cut, threads, join = draw(st.sampled_from(ways))
    times = [draw(_time) for _ in range(5)]
    figures = (times[0], times[1], times[2], times[3], cpu_threads, times[4], gpu_join)
    decision = SplitDecision(operator, processor, cut, threads, join, *figures)  # type: ignore[arg-type]
    rows = None
    if isinstance(operator, Linear) and draw(st.booleans()):
        rows = RowRange(draw(st.integers(1, operator.rows)), draw(st.integers(operator.rows, 400)))
    return SplitEntry(decision, draw(st.none() | _measured()), rows)


def _layer(entry: SplitEntry) -> object:
    """Entries that never overlap differ in this."""
    operator = entry.decision.operator
    return operator if entry.rows is None else (replace(operator, rows=1), "ranged")  # type: ignore[call-arg]


_tables = st.builds(
    SplitTable.of,
    st.text("abcdefgh-0123456789", min_size=1),
    st.text(min_size=1, max_size=20),
    st.lists(_entries(), max_size=6, unique_by=_layer),
    st.sampled_from(PRECISIONS),
)


@given(_tables)
def test_both_forms_survive_a_round_trip(table: SplitTable) -> None:
    assert SplitTable.from_json(json.loads(split_table_text(table))) == table
    assert decode_split_table(encode_split_table(table)) == table


@given(_tables, st.data())
def test_a_damaged_binary_table_is_refused(table: SplitTable, data: st.DataObject) -> None:
    binary = bytearray(encode_split_table(table))
    binary[data.draw(st.integers(0, len(binary) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(UserError, match="split table"):
        decode_split_table(bytes(binary), "t.bin")


@given(_tables, st.data())
def test_a_binary_table_cut_short_is_refused(table: SplitTable, data: st.DataObject) -> None:
    binary = encode_split_table(table)
    with pytest.raises(UserError, match=r"t\.bin"):
        decode_split_table(binary[: data.draw(st.integers(0, len(binary) - 1))], "t.bin")


@given(st.binary(max_size=300))
def test_noise_is_no_binary_table(noise: bytes) -> None:
    with pytest.raises(UserError, match=r"t\.bin: not a binary split table"):
        decode_split_table(noise, "t.bin")


def test_layout_is_the_documented_one(table: SplitTable) -> None:
    """Offsets of docs/split-table.md, read without our reader."""
    binary = encode_split_table(table)
    assert binary[:8] == b"SFSPLIT\0"
    assert _number(binary, 8, 2) == 5
    assert _number(binary, 10, 2) == 144
    count, slots, windows, rows = (_number(binary, at) for at in (12, 16, 36, 40))
    assert count == len(table.entries)
    assert slots == 1 << (2 * (count + windows) - 1).bit_length()
    decision = table.entries[0].decision
    first = binary[48 : 48 + 144]
    operator = decision.operator
    assert isinstance(operator, Linear)
    assert [_number(first, 4 * word) for word in range(10)] == [
        *[0] * 6, operator.in_features, operator.out_features, 0, operator.rows,
    ]  # fmt: skip
    assert _number(first, 40) == _number(first, 44) == 0, "no range of rows"
    assert _number(first, 48) == decision.cut
    assert first[60] == 0, "a linear layer"
    assert first[61] == ("cpu", "gpu", "split").index(decision.processor)
    assert first[67] == 0, "no epilogue"
    assert struct.unpack_from("<d", first, 72)[0] == decision.predicted_us
    index = 48 + count * 144
    numbers = struct.unpack_from(f"<{2 * slots}I", binary, index)[1::2]
    assert sorted(filter(None, numbers)) == list(range(1, count + windows + 1))
    nearest = index + 8 * slots
    assert _number(binary, nearest) == 0, "the first window is that of linear layers"
    assert [_number(binary, nearest + at) for at in (28, 32, 36)] == [0, _linear(table), 0]
    places = nearest + 40 * windows
    assert sorted(struct.unpack_from(f"<{count}I", binary, places)) == list(range(count))
    names = places + 4 * count + 32 * rows
    assert binary[names : names + len(table.device_class)] == table.device_class.encode()


def _linear(table: SplitTable) -> int:
    return sum(isinstance(entry.decision.operator, Linear) for entry in table.entries)


def _number(data: bytes, offset: int, size: int = 4) -> int:
    return int.from_bytes(data[offset : offset + size], "little")


@pytest.mark.parametrize("version", [1, 2, 3, 4, 6])
def test_a_binary_table_of_another_version_is_refused(table: SplitTable, version: int) -> None:
    binary = bytearray(encode_split_table(table))
    binary[8:10] = version.to_bytes(2, "little")
    with pytest.raises(
        UserError, match=rf"t\.bin: binary split table version {version} is not known here; this reads 5"
    ):
        decode_split_table(bytes(binary), "t.bin")


@pytest.mark.parametrize("offset", [32, 48 + 68, 48 + 6 * 144 + 4], ids=["default", "padding", "index"])
def test_a_sound_checksum_does_not_hide_nonsense(table: SplitTable, offset: int) -> None:
    binary = bytearray(encode_split_table(table))[:-4]
    binary[offset] ^= 1
    with pytest.raises(UserError, match=r"t\.bin: (records, indices or default|damaged)"):
        decode_split_table(bytes(binary) + zlib.crc32(binary).to_bytes(4, "little"), "t.bin")


def test_an_operator_twice_is_refused(table: SplitTable) -> None:
    with pytest.raises(UserError, match="two split decisions for"):
        SplitTable.of("a", "b", [*table.entries, table.entries[0]])


@pytest.mark.parametrize(
    "change",
    [
        {"cut": 6},
        {"cut": 0},
        {"cut": 128},
        {"threads": 0},
        {"threads": 256},
        {"join": None},
        {"join": "hope"},
        {"processor": "cpu"},
        {"processor": "gpu"},
        {"processor": "npu"},
        {"predicted_us": float("nan")},
        {"cpu_us": 0.0},
        {"gpu_join": None},
        {"cpu_threads": 0},
    ],
)
def test_a_decision_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    sound = SplitDecision(Linear(3, 8, 128), "split", 64, 1, "finish", 5.0, 4.0, 6.0, 9.0, 1, 8.0, "finish")
    with pytest.raises(UserError, match="linear:rows=3,in=8,out=128"):
        replace(sound, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data", [None, [], {}, {"schema": 1}, {"schema": 2}, {"schema": 3}, {"schema": 3, "entries": [{}]}]
)
def test_json_of_another_kind_is_refused(data: object) -> None:
    with pytest.raises(UserError, match=r"t\.json"):
        SplitTable.from_json(data, "t.json")


def test_decisions_say_what_they_are() -> None:
    split = SplitDecision(Linear(3, 8, 128), "split", 64, 1, "finish", 5.0, 4.0, 6.0, 9.0, 2, 8.0, "event_wait")
    assert split.summary == "split: 64 of 128 channels on the CPU (1 thread), joined by finish"
    assert split.predicted_speedup == pytest.approx(8 / 5)
    whole = replace(split, processor="cpu", cut=128, threads=2, join=None)
    assert whole.summary == "all-CPU (2 threads)"
    assert replace(split, processor="gpu", cut=0, threads=0, join="event_wait").summary == "all-GPU (event_wait)"
