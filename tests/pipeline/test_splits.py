"""What a split table is worth, from decisions and measurements of known times."""

from __future__ import annotations

import json

import pytest

from splitfleet.kernels import Linear
from splitfleet.pipeline.proved import Proved, corrected
from splitfleet.pipeline.splits import layer_rows, split_figures
from splitfleet.predictors.split_table import Measured, SplitEntry, SplitTable

from .test_proof import decision


def proved(channels: int, cut: int, result: Measured, calibrations: int = 0, first_us: float | None = None) -> Proved:
    return Proved(decision(Linear(8, 64, channels), cut), result, calibrations, first_us)


PROVED = [
    proved(96, 32, Measured(10.0, 20.0, 18.0, 31, 40, 9.5), 2, 11.4),  # 1.8 x, and search gains more
    proved(128, 32, Measured(20.0, 18.0, 40.0, 31)),  # slower than the CPU alone
    proved(160, 32, Measured(5.0, 20.0, 20.0, 31)),  # faster than both together could be
    proved(192, 0, Measured(30.0, 60.0, 30.0, 31, 0, 30.0)),
    proved(256, 0, Measured(30.0, 60.0, 30.0, 31, 64, 24.0)),  # search gains 1.25
]
PLANNED = SplitTable.of(
    "phone-1",
    "eigen-3.4.0",
    [*(SplitEntry(each.decision) for each in PROVED), SplitEntry(decision(Linear(8, 64, 224), 32))],
)
TABLE = corrected(PLANNED, PROVED)


@pytest.mark.parametrize(("plan_us", "fault"), [(10.0, False), (9.6, False), (9.5, True), (1.0, True)])
def test_nothing_is_faster_than_both_rates_together(plan_us: float, fault: bool) -> None:
    assert proved(96, 32, Measured(plan_us, 20.0, 20.0, 31)).is_fault is fault


def test_figures_count_what_was_planned_and_measured() -> None:
    figures = split_figures(TABLE, PROVED)
    counts = {key: figures[key] for key in ("layers", "split", "measured", "calibrated", "corrected")}
    assert counts == {"layers": 6, "split": 3, "measured": 5, "calibrated": 1, "corrected": 1}
    assert (figures["faults"], figures["measured_split"], figures["not_faster"], figures["slower"]) == (1, 2, 1, 1)
    assert figures["speedup_max"] == 1.8
    assert figures["speedup_median"] == pytest.approx((1.8 + 0.9) / 2)
    assert figures["predicted_speedup_median"] == 1.8
    assert figures["speedup_quantiles"][2] == pytest.approx(figures["speedup_median"])


def test_regret_is_the_plan_s_time_over_the_search_s_best() -> None:
    figures = split_figures(TABLE, PROVED)
    assert (figures["searched"], figures["near"]) == (3, 1)
    assert figures["regret_median"] == pytest.approx(10 / 9.5)
    assert figures["regret_max"] == 1.25
    assert figures["of_best_min"] == 0.8
    assert (figures["gaining"], figures["gaining_split"]) == (2, 1)
    assert (figures["first_regret_median"], figures["first_regrets"]) == (pytest.approx(1.2), 1)


def test_figures_come_by_type_and_size() -> None:
    figures = split_figures(TABLE, PROVED)
    assert list(figures["by_type"]) == ["linear"]
    assert figures["by_type"]["linear"]["measured"] == 4, "without the fault"
    assert list(figures["by_size"]) == ["below 10 MFLOP"]


def test_a_table_without_measurements_has_no_speedups() -> None:
    figures = split_figures(PLANNED, [])
    assert figures["measured"] == 0
    assert figures["speedup_median"] is figures["of_best_median"] is figures["regret_median"] is None


def test_layers_are_listed_by_measured_speedup() -> None:
    rows = layer_rows(PROVED)
    assert [row["channels"] for row in rows] == [160, 96, 192, 256, 128]
    assert [row["fault"] for row in rows] == [True, False, False, False, False]
    assert [row["regret"] for row in rows] == [None, 10 / 9.5, 1.0, 1.25, None]
    assert [bool(row["correction"]) for row in rows] == [False, False, False, False, True]


def test_a_plan_slower_than_one_processor_is_corrected_in_the_table() -> None:
    before, after = PLANNED.entries[1], TABLE.entries[1]
    assert (before.decision.processor, after.decision.processor) == ("split", "cpu")
    assert after.decision.cut == 128
    assert after.decision.predicted_us == before.decision.cpu_us
    assert after.measured is not None
    assert after.measured.plan_us == 18.0
    assert PROVED[1].correction == "measured slower than all-CPU: 20.0 µs against 18.0 µs"
    assert [entry.decision.processor for entry in TABLE.entries] == ["split", "cpu", "split", "gpu", "split", "gpu"]
    assert PLANNED.entries[4].measured is TABLE.entries[4].measured is None


def test_what_was_proved_goes_through_json() -> None:
    for each in PROVED:
        assert Proved.from_json(json.loads(json.dumps(each.to_json()))) == each
