from __future__ import annotations

from typing import Any

import pytest

from splitfleet.kernels import Conv2d, DepthwiseConv2d, Linear, Operator, Pool2d, UserError
from splitfleet.predictors.split_key import operator_of, shape_hash, type_index, words_of
from splitfleet.predictors.split_table import DefaultWay, Found, RowRange, SplitDecision, SplitEntry, SplitTable


def _split(operator: Operator, cut: int, cpu_us: float = 9.0) -> SplitDecision:
    return SplitDecision(operator, "split", cut, 2, "svm_poll", 5.0, 4.0, 6.0, cpu_us, 3, 8.0, "finish")


def _on_gpu(operator: Operator) -> SplitDecision:
    return SplitDecision(operator, "gpu", 0, 0, "finish", 8.0, 7.0, 9.0, 9.0, 3, 8.0, "finish")


def _on_cpu(operator: Operator) -> SplitDecision:
    return SplitDecision(operator, "cpu", operator.channels, 3, None, 8.0, 7.0, 9.0, 8.0, 3, 9.0, "finish")


def _table(*entries: SplitEntry | SplitDecision) -> SplitTable:
    return SplitTable.of("phone", "eigen", [e if isinstance(e, SplitEntry) else SplitEntry(e) for e in entries])


def _found(table: SplitTable, operator: Operator, *how: Any) -> Found:
    found = table.find(operator, *how)
    assert found is not None
    return found


def test_an_exact_shape_wins_over_the_range_around_it() -> None:
    table = _table(
        _split(Linear(10, 64, 128), 32),
        SplitEntry(_on_gpu(Linear(16, 64, 128)), rows=RowRange(5, 40)),
        SplitEntry(_on_cpu(Linear(1, 64, 128)), rows=RowRange(1, 4)),
    )
    assert _found(table, Linear(10, 64, 128)).cut == 32
    assert _found(table, Linear(10, 64, 128)).match == "exact"
    for rows, processor in [(1, "cpu"), (4, "cpu"), (5, "gpu"), (9, "gpu"), (40, "gpu")]:
        found = _found(table, Linear(rows, 64, 128))
        assert (found.match, found.processor, found.distance) == ("range", processor, 0)
        assert table.find(Linear(rows, 64, 128), "exact") is None
    for other in (Linear(41, 64, 128), Linear(5, 64, 132), Linear(5, 64, 128, "relu")):
        assert table.find(other) is None


@pytest.mark.parametrize(
    ("channels", "cut"),
    [(128, 32), (256, 64), (64, 16), (132, 32), (150, 36), (8, 4), (7, 4), (5, 4), (512, 128)],
)
def test_the_nearest_shapes_cut_is_scaled_to_the_channels(channels: int, cut: int) -> None:
    found = _found(_table(_split(Linear(10, 64, 128), 32)), Linear(10, 64, channels), "nearest", 10_000)
    assert (found.processor, found.cut, found.threads, found.join) == ("split", cut, 2, "svm_poll")


def test_too_few_channels_to_split_go_to_the_better_processor() -> None:
    near = _table(_split(Linear(10, 64, 8), 4))
    assert _found(near, Linear(10, 64, 4), "nearest") == Found("nearest", "gpu", 0, 0, "finish", 256, near.entries[0])
    near = _table(_split(Linear(10, 64, 8), 4, cpu_us=7.0))
    assert _found(near, Linear(10, 64, 4), "nearest") == Found("nearest", "cpu", 4, 3, None, 256, near.entries[0])


@pytest.mark.parametrize(
    ("operator", "distance"),
    [
        (Linear(20, 64, 128), 256),
        (Linear(10, 32, 128), 256),
        (Linear(10, 64, 192), 128),
        (Linear(5, 64, 256), 512),
        (Linear(10, 64, 128, "relu"), 64),
        (Linear(1, 64, 64), 256),
        (Linear(4, 64, 64), 256),
        (Linear(8, 128, 64), 256),
    ],
)
def test_distances_are_the_documented_ones(operator: Operator, distance: int) -> None:
    """Rows inside a range are at no distance; another epilogue is a quarter of a doubling."""
    table = _table(_split(Linear(10, 64, 128), 32), SplitEntry(_split(Linear(2, 128, 64), 32), rows=RowRange(1, 4)))
    assert _found(table, operator, "nearest", 1000).distance == distance
    assert table.find(operator, "nearest", distance - 1) is None


def test_of_equally_near_shapes_the_first_counts() -> None:
    table = _table(_split(Linear(40, 64, 128), 32), _split(Linear(10, 64, 128), 64))
    found = _found(table, Linear(20, 64, 128), "nearest")
    assert found.entry == table.entries[0]
    assert found.cut == 64


@pytest.mark.parametrize(
    "operator",
    [
        Conv2d(28, 28, 64, 128, 3, 3, 2, 1, 1),
        Conv2d(28, 28, 64, 128, 1, 1, 1, 0, 0),
        DepthwiseConv2d(28, 28, 128, 3, 3, 1, 1, 1),
        Linear(784, 64, 128),
    ],
)
def test_no_other_window_or_type_is_near(operator: Operator) -> None:
    table = _table(_split(Conv2d(28, 28, 64, 128, 3, 3, 1, 1, 1), 32))
    assert table.find(operator, "nearest", 10_000) is None
    assert _found(table, operator, "default").match == "default"


def test_the_default_is_what_most_entries_are_faster_on() -> None:
    gpu = [_on_gpu(Linear(rows, 8, 16)) for rows in (1, 2)]
    cpu = [_on_cpu(Linear(rows, 8, 16)) for rows in (3, 4)]
    assert _table(*gpu, cpu[0]).default == DefaultWay("gpu", 0, "finish")
    assert _table(*gpu, *cpu).default == DefaultWay("cpu", 3, None)
    assert _table().default == DefaultWay("cpu", 1, None)
    assert _found(_table(), Linear(5, 6, 7), "default") == Found("default", "cpu", 7, 1, None, 0, None)
    assert _found(_table(*gpu), Linear(500, 6, 7), "default") == Found("default", "gpu", 0, 0, "finish", 0, None)


def test_ranges_that_contradict_are_refused() -> None:
    entry = SplitEntry(_on_gpu(Linear(16, 64, 128)), rows=RowRange(5, 40))
    with pytest.raises(UserError, match="two split decisions for linear:rows=40"):
        _table(entry, SplitEntry(_on_cpu(Linear(40, 64, 128)), rows=RowRange(40, 50)))
    with pytest.raises(UserError, match="does not lie in"):
        SplitEntry(_on_gpu(Linear(4, 64, 128)), rows=RowRange(5, 40))
    with pytest.raises(UserError, match="only linear layers have rows"):
        SplitEntry(_on_gpu(Conv2d(28, 28, 64, 128, 3, 3, 1, 1, 1)), rows=RowRange(1, 40))
    with pytest.raises(UserError, match="elements"):
        SplitEntry(_on_gpu(Linear(4, 64, 128)), rows=RowRange(1, 2**31))
    with pytest.raises(UserError, match="range of rows"):
        RowRange(5, 4)


@pytest.mark.parametrize(
    "operator",
    [
        Linear(3, 4, 5, "add"),
        Conv2d(9, 8, 7, 6, 5, 4, 3, 2, 1, "relu6"),
        DepthwiseConv2d(9, 8, 7, 5, 4, 3, 2, 1),
        Pool2d("avg", 9, 8, 7, 5, 4, 3, 2, 1),
    ],
)
def test_words_are_the_operator(operator: Operator) -> None:
    epilogue = ("none", "relu", "relu6", "add", "add_relu").index(operator.epilogue_name)
    assert operator_of(type_index(operator), words_of(operator), epilogue) == operator
    assert shape_hash(operator) != shape_hash(operator, any_rows=True)
