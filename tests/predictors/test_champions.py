"""The rule by which a new version takes the champion's place."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from splitfleet.predictors.champions import CHANCE, LEAST_SHAPES, TOGETHER, compare


def rows(count: int, spread: float, seed: int, target: str = "gpu_execution", first: int = 0) -> pd.DataFrame:
    """Shapes whose predictions err by `spread`; the measured times are the same whatever the seed."""
    draw = np.random.default_rng(seed)
    shapes = [f"shape {index}" for index in range(first, first + count)]
    measured = 10.0 + np.arange(first, first + count)
    predicted = measured * np.exp(spread * draw.standard_normal(count))
    return pd.DataFrame({"target": target, "shape": shapes, "measured_us": measured, "predicted_us": predicted})


def test_the_same_version_is_not_worse() -> None:
    found = compare(rows(50, 0.1, 1), rows(50, 0.1, 1))
    assert not found.is_worse
    assert found.reason.startswith("not worse on the 50 shapes")


def test_a_version_with_half_more_error_is_worse_and_one_with_less_is_not() -> None:
    assert compare(rows(200, 0.1, 1), rows(200, 0.15, 2)).is_worse
    assert not compare(rows(200, 0.15, 1), rows(200, 0.1, 2)).is_worse


def test_equally_good_versions_are_seldom_called_worse() -> None:
    targets = ("gpu_execution", "gpu_dispatch", "cpu_t1")

    def version(seed: int) -> pd.DataFrame:
        return pd.concat([rows(60, 0.1, 10 * seed + k, target) for k, target in enumerate(targets)])

    refused = sum(compare(version(2 * trial), version(2 * trial + 1)).is_worse for trial in range(200))
    assert refused <= 200 * 2 * CHANCE


def test_only_shapes_that_both_hold_out_count() -> None:
    champion = rows(40, 0.05, 1)
    new = pd.concat([champion.iloc[:20], rows(500, 1.0, 2, first=1000)])
    found = compare(champion, new)
    assert [(pair.target, pair.shapes, pair.difference) for pair in found.pairs] == [
        ("gpu_execution", 20, 0.0),
        (TOGETHER, 20, 0.0),
    ]
    assert not found.is_worse


def test_what_cannot_be_compared_does_not_take_the_place() -> None:
    found = compare(rows(40, 0.05, 1), rows(LEAST_SHAPES - 1, 0.05, 1))
    assert found.is_worse
    assert found.reason == "9 held-out shapes in common with the champion; 10 are needed to compare"


def test_a_target_that_is_gone_is_worse() -> None:
    both = pd.concat([rows(40, 0.05, 1), rows(40, 0.05, 2, "cpu_t1")])
    assert compare(both, rows(40, 0.05, 1)).reason == "it has no predictor of cpu_t1, which the champion has"
    assert not compare(rows(40, 0.05, 1), both).is_worse


def test_a_shape_measured_twice_is_compared_with_the_geometric_mean() -> None:
    champion, new = rows(20, 0.0, 1), rows(20, 0.0, 1)
    new = new.assign(measured_us=1.21 * new["measured_us"], predicted_us=1.1 * new["predicted_us"])
    [pair, _] = compare(champion, new).pairs
    assert pair.champion_mape == pytest.approx(100 * (1 - 1 / 1.1))
    assert pair.new_mape == pytest.approx(0.0, abs=1e-9)
