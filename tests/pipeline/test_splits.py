"""What a split table is worth, from decisions and measurements of known times."""

from __future__ import annotations

import pytest

from splitfleet.kernels import Linear
from splitfleet.pipeline.splits import is_fault, layer_rows, of_search, split_figures
from splitfleet.predictors.split_table import Measured, SplitEntry, SplitTable

from .test_proof import decision


def entry(channels: int, cut: int, result: Measured | None = None) -> SplitEntry:
    return SplitEntry(decision(Linear(8, 64, channels), cut), result)


TABLE = SplitTable.of(
    "phone-1",
    "eigen-3.4.0",
    [
        entry(96, 32, Measured(10.0, 20.0, 18.0, 31, 40, 9.5)),  # 1.8 x
        entry(128, 32, Measured(20.0, 18.0, 40.0, 31)),  # slower than the CPU alone
        entry(160, 32, Measured(5.0, 20.0, 20.0, 31)),  # faster than both together could be
        entry(192, 0, Measured(30.0, 60.0, 30.0, 31, 0, 30.0)),
        entry(224, 32),
    ],
)


@pytest.mark.parametrize(("plan_us", "fault"), [(10.0, False), (9.6, False), (9.5, True), (1.0, True)])
def test_nothing_is_faster_than_both_rates_together(plan_us: float, fault: bool) -> None:
    assert is_fault(Measured(plan_us, 20.0, 20.0, 31)) is fault


def test_figures_count_what_was_planned_and_measured() -> None:
    figures = split_figures(TABLE)
    counts = {key: figures[key] for key in ("layers", "split", "measured", "measured_split", "searched", "faults")}
    assert counts == {"layers": 5, "split": 4, "measured": 4, "measured_split": 2, "searched": 2, "faults": 1}
    assert figures["speedup_max"] == 1.8
    assert figures["speedup_median"] == pytest.approx((1.8 + 0.9) / 2)
    assert figures["not_faster"] == 1
    assert figures["predicted_speedup_median"] == 1.8
    assert (figures["of_best_min"], figures["of_best_median"]) == (0.95, pytest.approx(0.975))


def test_a_table_without_measurements_has_no_speedups() -> None:
    figures = split_figures(SplitTable.of("phone-1", "eigen-3.4.0", [entry(96, 32)]))
    assert figures["measured"] == 0
    assert figures["speedup_median"] is figures["of_best_median"] is None


def test_layers_are_listed_by_measured_speedup() -> None:
    rows = layer_rows(TABLE)
    assert [row["channels"] for row in rows] == [160, 96, 192, 128]
    assert [row["fault"] for row in rows] == [True, False, False, False]
    assert [row["of_best"] for row in rows] == [None, 0.95, 1.0, None]


def test_without_a_search_there_is_no_best() -> None:
    assert of_search(Measured(10.0, 20.0, 20.0, 31)) is None
