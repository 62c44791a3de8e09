from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from splitfleet.kernels import Conv2d, Linear, UserError
from splitfleet.predictors.planner import plan_operator
from splitfleet.predictors.row_ranges import TOLERANCE, plan_rows
from splitfleet.predictors.split_table import RowRange, SplitTable
from splitfleet.predictors.train import ClassModels

from . import synthetic

LAYER = Linear(1, 256, 512)


def test_ranges_cover_all_rows_and_their_ways_are_good_throughout(trained: ClassModels) -> None:
    entries = plan_rows(LAYER, RowRange(1, 300), trained.models, synthetic.DEVICE)
    ranges = [entry.rows for entry in entries if entry.rows]
    assert (ranges[0].low, ranges[-1].high) == (1, 300)
    assert all(before.high + 1 == after.low for before, after in pairwise(ranges))
    assert 1 < len(entries) < 100
    for entry in entries:
        assert entry.rows is not None
        best = plan_operator(replace(LAYER, rows=entry.rows.high), trained.models, synthetic.DEVICE)
        single_us = {"cpu": best.cpu_us, "gpu": best.gpu_us}.get(entry.decision.processor)
        if single_us is not None:
            assert single_us <= best.predicted_us * (1 + TOLERANCE)
    SplitTable.of("synthetic", "eigen-3.4.0", entries)


def test_a_single_row_is_one_range(trained: ClassModels) -> None:
    [entry] = plan_rows(LAYER, RowRange(7, 7), trained.models, synthetic.DEVICE)
    assert entry.decision == plan_operator(replace(LAYER, rows=7), trained.models, synthetic.DEVICE)


def test_only_linear_layers_have_rows(trained: ClassModels) -> None:
    with pytest.raises(UserError, match="only linear layers have rows"):
        plan_rows(Conv2d(4, 4, 16, 16, 1, 1, 1, 0, 0), RowRange(1, 2), trained.models, synthetic.DEVICE)  # type: ignore[arg-type]
