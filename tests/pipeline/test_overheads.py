"""What joining and moving bytes costs, from traces of known times."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitfleet.pipeline.overheads import chain_figures, join_order, join_rows, transfer_rows

from ..predictors.synthetic import JOINS, THREADS, trace_row, trace_rows, traces


def transfer(operation: str, size: int, wall_us: float, status: str = "ok") -> dict[str, object]:
    name = f"{operation}-{size}-{status}"
    wall = [int(1e3 * wall_us * factor) for factor in (0.9, 1.0, 1.3)]
    return trace_row("transfer", name, operation=operation, bytes=size, wall_ns=wall, status=status)


def test_each_join_and_thread_count_has_its_median_and_tail(tmp_path: Path) -> None:
    rows = join_rows(traces(tmp_path, trace_rows(12)))
    assert {(row["join"], row["threads"]) for row in rows} == {(join, n) for join in JOINS for n in THREADS}
    for row in rows:
        assert row["median_us"] == pytest.approx(JOINS[row["join"]] + row["threads"], rel=0.05)
        assert row["median_us"] <= row["p90_us"] < 1.2 * row["median_us"]
        assert row["repetitions"] == 9


@pytest.mark.parametrize(
    ("costs", "words"),
    [
        ({"svm_poll": 5, "event_wait": 40, "finish": 55}, "polling beats event wait beats finish"),
        ({"event_wait": 40, "finish": 55}, "event wait beats finish"),
        (
            {"svm_poll": 41, "event_wait": 40, "finish": 55},
            "event wait beats polling with 2 threads (40.0 µs against 41.0 µs)",
        ),
        ({"finish": 1}, ""),
        ({}, ""),
    ],
)
def test_the_order_of_the_joins_is_said(costs: dict[str, float], words: str) -> None:
    assert join_order([{"join": join, "threads": 2, "median_us": float(us)} for join, us in costs.items()]) == words


def test_a_chain_is_compared_with_single_executions(tmp_path: Path) -> None:
    def gpu(name: str, mode: str, wall_us: float, **fields: object) -> dict[str, object]:
        return trace_row(
            "gpu", f"{name}-{mode}", operator=name, **{"mode": mode, "wall_ns": [int(1e3 * wall_us)], **fields}
        )

    rows = [gpu(name, "single", 100.0) for name in "abc"]
    rows += [gpu(name, "chain", us, chain_length=8) for name, us in {"a": 400.0, "b": 480.0, "d": 1.0}.items()]
    found = chain_figures(traces(tmp_path, rows))
    assert found == {"operators": 2, "chain_length": 8, "ratio_median": pytest.approx(0.55)}


def test_without_chains_there_is_nothing_to_compare(tmp_path: Path) -> None:
    assert chain_figures(traces(tmp_path, trace_rows(12))) is None


def test_a_transfer_is_a_fixed_cost_and_a_rate(tmp_path: Path) -> None:
    sizes = [4096 * 4**power for power in range(8)]
    rows = [transfer("copy", size, 12 + size / 8e3) for size in sizes]  # 8 GB/s
    rows += [transfer("map_read", size, 3 + size / 1e9) for size in sizes]
    rows += [transfer("fill", 4096, 7), transfer("fill", 8192, 7, "unsupported")]
    found = {row["operation"]: row for row in transfer_rows(traces(tmp_path, rows))}
    assert found["copy"]["fixed_us"] == pytest.approx(12, rel=0.01)
    assert found["copy"]["rate_gb_s"] == pytest.approx(8, rel=0.01)
    assert (found["copy"]["smallest_bytes"], found["copy"]["largest_bytes"]) == (4096, 64 << 20)
    assert found["map_read"]["fixed_us"] == pytest.approx(3, rel=0.01)
    assert found["map_read"]["rate_gb_s"] is None, "the same time for all sizes: nothing is moved"
    assert (found["fill"]["fixed_us"], found["fill"]["rate_gb_s"]) == (7.0, None)
