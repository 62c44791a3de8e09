"""Pictures of a predictor: predicted against measured, error by kernel, latency along output channels.

Each function returns a matplotlib Figure that belongs to nobody: no global state, no display.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from splitfleet.kernels import CUT_MULTIPLE, Operator, operator_from_json

from .metrics import error_metrics
from .predictor import Predictor

COLOURS = ("#2b6cb0", "#dd6b20", "#2f855a", "#9f3a8c", "#b7791f", "#4a5568")
_OTHER = "#a0aec0"
INK = "#1a202c"
_MOST_KERNELS_BY_NAME = len(COLOURS)
_MOST_KERNELS = 14
_MOST_LAYERS = 4
_LEAST_FOR_BOX = 5


@dataclass(frozen=True)
class Curve:
    """One layer along its output channels: measured medians; predictions and 90 % intervals at multiples of four."""

    layer: Operator
    measured: pd.DataFrame
    channels: np.ndarray
    predicted_us: np.ndarray
    low_us: np.ndarray
    high_us: np.ndarray


def predicted_against_measured(held_out: pd.DataFrame, title: str) -> Figure:
    """Held-out predictions over measurements, both in us and on logarithmic axes, coloured by kernel."""
    figure, axes = new_figure(6.4, 6.0)
    limits = _limits(held_out[["measured_us", "predicted_us"]].to_numpy())
    line = np.array(limits)
    axes.fill_between(line, line * 0.9, line * 1.1, color="#e2e8f0", linewidth=0, label="within 10 %")
    axes.plot(line, line, color=INK, linewidth=0.8)
    kernels = held_out["kernel"].value_counts()
    named = list(kernels.index[:_MOST_KERNELS_BY_NAME])
    for kernel, colour in zip([*named, None], [*COLOURS[: len(named)], _OTHER], strict=True):
        rows = held_out[~held_out["kernel"].isin(named)] if kernel is None else held_out[held_out["kernel"] == kernel]
        if len(rows):
            label = f"{kernel or 'other kernels'} ({len(rows)})"
            axes.scatter(
                rows["measured_us"], rows["predicted_us"], s=22, color=colour, alpha=0.8, linewidth=0, label=label
            )
    axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits, aspect="equal")
    axes.set(xlabel="measured (µs)", ylabel="predicted, shape held out (µs)")
    plain_numbers(axes.xaxis, axes.yaxis)
    figures = error_metrics(held_out["measured_us"], held_out["predicted_us"])
    text = f"{figures['n']} shapes\nMAPE {figures['mape']:.1f} %\nwithin 10 %: {figures['within_10']:.0f} %"
    axes.text(0.97, 0.04, text, transform=axes.transAxes, ha="right", va="bottom", fontsize=10, linespacing=1.5)
    axes.legend(loc="upper left", fontsize=8, frameon=False)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    return figure


def error_by_kernel(held_out: pd.DataFrame, title: str) -> Figure:
    """Held-out errors in percent for each kernel: every shape, and a box of the middle half where there are enough.

    Errors beyond 110 % are drawn at the edge.
    """
    errors = 100 * (held_out["predicted_us"] / held_out["measured_us"] - 1)
    kernels = list(held_out["kernel"].value_counts().index[:_MOST_KERNELS])[::-1]
    groups = [errors[held_out["kernel"] == kernel].to_numpy() for kernel in kernels]
    figure, axes = new_figure(7.2, 1.8 + 0.42 * len(kernels))
    axes.axvspan(-10, 10, color="#e2e8f0", linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.8)
    spread = np.random.default_rng(0)
    widest = min(110.0, max(15.0, 1.1 * float(np.abs(errors).max())))
    for row, group in enumerate(groups):
        height = row + spread.uniform(-0.22, 0.22, len(group))
        axes.scatter(np.clip(group, -widest, widest), height, s=12, color=COLOURS[0], alpha=0.45, linewidth=0)
    boxed = [row for row, group in enumerate(groups) if len(group) >= _LEAST_FOR_BOX]
    if boxed:
        line = {"color": INK, "linewidth": 1.0}
        axes.boxplot(
            [groups[row] for row in boxed],
            orientation="horizontal",
            positions=boxed,
            manage_ticks=False,
            showfliers=False,
            widths=0.5,
            whis=(10, 90),
            boxprops=line,
            whiskerprops=line,
            capprops=line,
            medianprops=line,
        )
    labels = [f"{kernel}  (n={len(group)})" for kernel, group in zip(kernels, groups, strict=True)]
    axes.set_yticks(range(len(kernels)), labels)
    axes.set(
        xlim=(-widest, widest), ylim=(-0.6, len(kernels) - 0.4), xlabel="error of the prediction, shape held out (%)"
    )
    # Over the names as well: they take half of the width.
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def latency_along_channels(curves: list[Curve], title: str) -> Figure:
    """Measured times over output channels, predictions and their intervals at all counts, for up to four layers."""
    columns = 2 if len(curves) > 1 else 1
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(5.4 * columns, 3.3 * rows + 0.5), dpi=120, layout="constrained")
    for index, curve in enumerate(curves):
        axes = figure.add_subplot(rows, columns, index + 1)
        style(axes)
        axes.fill_between(
            curve.channels,
            curve.low_us,
            curve.high_us,
            color=COLOURS[0],
            alpha=0.15,
            linewidth=0,
            label="90 % interval",
        )
        axes.plot(curve.channels, curve.predicted_us, color=COLOURS[0], linewidth=1.4, label="predicted")
        measured = curve.measured
        axes.scatter(
            measured["channels"], measured["measured_us"], s=26, color=COLOURS[1], zorder=3, label="measured (median)"
        )
        axes.set(xlabel="output channels", ylabel="time (µs)", xlim=(0, None), ylim=(0, None))
        axes.set_title(curve.layer.label, fontsize=8, fontweight="normal")
        axes.legend(fontsize=8, frameon=False, loc="upper left")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


TableOf = Callable[[Operator, NDArray[np.int64]], pd.DataFrame]
"""The table of launches or shapes that a predictor reads, of one layer with these numbers of output channels."""


def channel_curves(held_out: pd.DataFrame, predictor: Predictor, table_of: TableOf) -> list[Curve]:
    """The layers that were measured at the most numbers of output channels, two at least, most first.

    `held_out` has the columns shape, channels and measured_us.
    """
    operators = [operator_from_json(json.loads(shape)) for shape in held_out["shape"]]
    keys = [operator.with_channels(1).label for operator in operators]
    groups = held_out.assign(layer=keys).groupby("layer")
    ranked = sorted(groups.groups, key=lambda layer: (-len(groups.groups[layer]), str(layer)))
    curves = []
    for layer in ranked[:_MOST_LAYERS]:
        rows = groups.get_group(layer).sort_values("channels")
        if len(rows) < 2:
            continue
        most = int(rows["channels"].max())
        operator = next(op for op, key in zip(operators, keys, strict=True) if key == layer and op.channels == most)
        channels = np.arange(CUT_MULTIPLE, most + 1, CUT_MULTIPLE, dtype=np.int64)
        frame = predictor.features(table_of(operator, channels))
        curves.append(Curve(operator, rows, channels, predictor.predict_us(frame), *predictor.bounds_us(frame)))
    return curves


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one pair of axes; sizes in inches."""
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    style(axes)
    return figure, axes


def style(axes: Axes) -> None:
    """Grid behind, no frame."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#edf2f7", linewidth=0.8)
    axes.set_axisbelow(True)


def _limits(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()) / 1.3, float(values.max()) * 1.3


def plain_numbers(*all_axis: Axis) -> None:
    """Numbers of a logarithmic axis as 0.1, 1, 10."""
    for axis in all_axis:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
