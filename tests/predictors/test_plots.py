from __future__ import annotations

import io
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

from splitfleet.kernels import lower_channels
from splitfleet.predictors.breakdown import SIZES, by_family, by_size, with_flops
from splitfleet.predictors.explaining_plots import error_against_size, feature_importance, learning_curve
from splitfleet.predictors.plots import (
    channel_curves,
    error_by_kernel,
    latency_along_channels,
    predicted_against_measured,
)
from splitfleet.predictors.train import ClassModels

from . import synthetic

TITLE = "GPU execution time on some-phone"


def _drawn(figure: Figure) -> str:
    """All text of a figure, once it has really been drawn."""
    figure.savefig(io.BytesIO())
    texts = [figure.get_suptitle()]
    for axes in figure.axes:
        texts += [axes.get_title(), axes.get_title("left"), axes.get_xlabel(), axes.get_ylabel()]
        texts += [text.get_text() for text in axes.texts]
        texts += [label.get_text() for label in axes.get_yticklabels()]
    return "\n".join(texts)


@pytest.mark.parametrize("target", ["gpu_execution", "cpu_t2"])
def test_plots_name_units_and_their_title(trained: ClassModels, target: str) -> None:
    rows = trained.held_out[trained.held_out["target"] == target]
    scatter = _drawn(predicted_against_measured(rows, TITLE))
    for wanted in (TITLE, "measured (µs)", "predicted, shape held out (µs)", "60 shapes"):
        assert wanted in scatter
    errors = _drawn(error_by_kernel(rows, TITLE))
    assert TITLE in errors
    assert f"(n={rows['kernel'].value_counts().iloc[0]})" in errors
    assert "(%)" in errors


def test_curves_run_along_channels_through_the_measured_layers(trained: ClassModels) -> None:
    rows = trained.held_out[trained.held_out["target"] == "gpu_execution"]
    curves = channel_curves(
        rows, trained.models.predictors["gpu_execution"], partial(lower_channels, device=synthetic.DEVICE)
    )
    assert 1 <= len(curves) <= 4
    for curve in curves:
        assert len(curve.measured) >= 2
        assert list(np.unique(np.diff(curve.channels))) == [4]
        assert curve.channels[-1] == curve.layer.channels == curve.measured["channels"].max()
        assert (curve.low_us > 0).all()
        assert (curve.low_us < curve.predicted_us).all()
        assert (curve.predicted_us < curve.high_us).all()
    text = _drawn(latency_along_channels(curves, TITLE))
    assert all(wanted in text for wanted in ("output channels", "time (µs)", curves[0].layer.label))


def test_errors_are_broken_down_by_family_and_size(trained: ClassModels) -> None:
    rows = with_flops(trained.held_out[trained.held_out["target"] == "cpu_t1"], trained.training["cpu_t1"])
    for parts in (by_family(rows), by_size(rows)):
        assert sum(figures["n"] for figures in parts.values()) == len(rows) == 60
        weighted = sum(figures["n"] * figures["mape"] for figures in parts.values()) / 60
        assert weighted == pytest.approx(trained.metrics["cpu_t1"]["mape"])
    sizes = by_size(rows)
    assert list(sizes) == list(SIZES)
    for smaller, larger in pairwise(SIZES):
        assert sizes[smaller]["most_flops"] <= sizes[larger]["least_flops"]
    text = _drawn(error_against_size(rows, TITLE))
    assert all(wanted in text for wanted in (TITLE, "size of the operator (MFLOP)", "(%)"))


def test_the_learning_curve_ends_at_the_held_out_fold(trained: ClassModels) -> None:
    points = trained.learning["gpu_execution"]
    assert [shapes for shapes, _ in points] == [12, 24, 48]  # an eighth of 48 is too few
    text = _drawn(learning_curve(points, TITLE))
    assert all(f"{mape:.1f} %" in text for _, mape in points)


def test_a_predictor_shows_what_it_looks_at(trained: ClassModels) -> None:
    predictor = trained.models.predictors["gpu_execution"]
    text = _drawn(feature_importance(predictor, trained.training["gpu_execution"].features, TITLE))
    assert "cost model: share of the time (%)" in text
    assert "padded_flops" in text
