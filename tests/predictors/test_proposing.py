"""Which shapes to measure next: those of which the least is known, as many of each kind as is asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from splitfleet.predictors.litert_train import litert_sets
from splitfleet.predictors.observations import TrainingSet
from splitfleet.predictors.proposing import Known, propose

from .test_litert_models import traces_of


def part(data: TrainingSet, rows: np.ndarray) -> TrainingSet:
    return replace(
        data,
        features=data.features.iloc[rows].reset_index(drop=True),
        shapes=[data.shapes[row] for row in rows],
        kernels=[data.kernels[row] for row in rows],
        time_us=data.time_us[rows],
        repeats=data.repeats[rows],
    )


def test_what_is_far_from_all_that_was_measured_comes_first() -> None:
    data = litert_sets(traces_of(90, 1))["products"]
    small = np.flatnonzero(data.features["n"] < data.features["n"].median())
    unknown = [Known.of(part(data, small), 0).unknown(data.features)]
    rows = propose(unknown, ["conv"] * len(data.shapes), {"conv": 12})
    assert len(set(rows)) == 12
    assert not set(rows) & set(small)
    assert list(rows) == list(propose(unknown, ["conv"] * len(data.shapes), {"conv": 12}))


def test_each_kind_gets_what_is_asked_for_as_far_as_there_is_any() -> None:
    data = litert_sets(traces_of(40, 1))["products"]
    kinds = ["few" if row < 3 else "many" if row < 30 else "measured" for row in range(len(data.shapes))]
    rows = propose([Known.of(data, 0).unknown(data.features)], kinds, {"few": 5, "many": 6})
    assert sorted(kinds[row] for row in rows) == ["few"] * 3 + ["many"] * 6


def test_what_counts_more_is_learnt_first() -> None:
    data = litert_sets(traces_of(90, 1))["products"]
    large = np.flatnonzero(data.features["n"] > data.features["n"].median())
    unknown = [Known.of(part(data, np.arange(12)), 0).unknown(data.features)]
    weights = np.full(len(data.shapes), 1e-3)
    weights[large] = 1.0
    rows = propose(unknown, ["conv"] * len(data.shapes), {"conv": 10}, weights)
    plain = propose(unknown, ["conv"] * len(data.shapes), {"conv": 10})
    assert len(set(rows) & set(large)) > len(set(plain) & set(large))
