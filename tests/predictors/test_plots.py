from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from splitfleet.predictors.plots import (
    channel_curves,
    error_by_kernel,
    latency_along_channels,
    predicted_against_measured,
)
from splitfleet.predictors.train import ClassModels

from . import synthetic


def _drawn(figure: Figure) -> str:
    """All text of a figure, once it has really been drawn."""
    figure.savefig(io.BytesIO())
    texts = [figure.get_suptitle()]
    for axes in figure.axes:
        texts += [axes.get_title(), axes.get_title("left"), axes.get_xlabel(), axes.get_ylabel()]
        texts += [text.get_text() for text in axes.texts]
        texts += [label.get_text() for label in axes.get_yticklabels()]
    return "\n".join(texts)


@pytest.mark.parametrize(
    ("target", "title"), [("gpu_execution", "GPU execution time on "), ("cpu_t2", "CPU time, 2 threads on ")]
)
def test_plots_name_units_and_device_class(trained: ClassModels, target: str, title: str) -> None:
    rows = trained.held_out[trained.held_out["target"] == target]
    scatter = _drawn(predicted_against_measured(rows, synthetic.DEVICE_CLASS, target))
    for wanted in (title + synthetic.DEVICE_CLASS, "measured (µs)", "predicted, shape held out (µs)", "60 shapes"):
        assert wanted in scatter
    errors = _drawn(error_by_kernel(rows, synthetic.DEVICE_CLASS, target))
    assert title + synthetic.DEVICE_CLASS in errors
    assert f"(n={rows['kernel'].value_counts().iloc[0]})" in errors
    assert "(%)" in errors


def test_curves_run_along_channels_through_the_measured_layers(trained: ClassModels) -> None:
    rows = trained.held_out[trained.held_out["target"] == "gpu_execution"]
    curves = channel_curves(rows, trained.models.predictors["gpu_execution"], synthetic.DEVICE)
    assert 1 <= len(curves) <= 4
    for curve in curves:
        assert len(curve.measured) >= 2
        assert list(np.unique(np.diff(curve.channels))) == [4]
        assert curve.channels[-1] == curve.layer.channels == curve.measured["channels"].max()
        assert (curve.predicted_us > 0).all()
    text = _drawn(latency_along_channels(curves, synthetic.DEVICE_CLASS, "gpu_execution"))
    assert all(wanted in text for wanted in ("output channels", "time (µs)", curves[0].layer.label))
