"""Pictures that explain a predictor: error against size, learning curve, and what it looks at."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .learning import LearningCurve
from .plots import COLOURS, INK, new_figure, plain_numbers, style
from .predictor import Predictor

_MOST_BARS = 12
_WIDEST_PERCENT = 110.0
_WINDOWS = 8


def error_against_size(rows: pd.DataFrame, title: str) -> Figure:
    """Held-out errors in percent over the shapes' MFLOPs, and their median and middle half along it.

    `rows` come from `with_flops`. Errors beyond 110 % are drawn at the edge.
    """
    figure, axes = new_figure(7.2, 4.4)
    errors = (100 * (rows["predicted_us"] / rows["measured_us"] - 1)).to_numpy(np.float64)
    mflops = np.maximum(rows["flops"].to_numpy(np.float64), 1.0) / 1e6
    widest = min(_WIDEST_PERCENT, max(15.0, 1.1 * float(np.abs(errors).max())))
    axes.axhspan(-10, 10, color="#e2e8f0", linewidth=0, label="within 10 %")
    axes.axhline(0, color=INK, linewidth=0.8)
    outside = rows["outside"].to_numpy(bool)
    shown = np.clip(errors, -widest, widest)
    axes.scatter(mflops[~outside], shown[~outside], s=14, color=COLOURS[0], alpha=0.5, linewidth=0, label="a shape")
    if outside.any():
        label = "a shape outside what training has seen"
        axes.scatter(mflops[outside], shown[outside], s=20, facecolor="none", edgecolor=COLOURS[1], label=label)
    parts = [part for part in np.array_split(np.argsort(mflops, kind="stable"), _WINDOWS) if len(part) >= _WINDOWS]
    if len(parts) > 1:
        centres = [float(np.exp(np.log(mflops[part]).mean())) for part in parts]
        low, middle, high = np.array([np.quantile(errors[part], [0.25, 0.5, 0.75]) for part in parts]).T
        axes.plot(centres, middle, color=COLOURS[3], linewidth=1.4, label="median, and the middle half")
        axes.fill_between(centres, low, high, color=COLOURS[3], alpha=0.15, linewidth=0)
    axes.set(xscale="log", ylim=(-widest, widest), xlabel="size of the operator (MFLOP)")
    axes.set_ylabel("error of the prediction, shape held out (%)")
    plain_numbers(axes.xaxis)
    axes.legend(fontsize=8, frameon=False, loc="upper right", ncols=2)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    return figure


def learning_curve(points: LearningCurve, title: str) -> Figure:
    """MAPE on one held-out fifth of the shapes over the number of shapes trained on."""
    figure, axes = new_figure(6.4, 4.0)
    shapes, mapes = zip(*points, strict=True)
    axes.plot(shapes, mapes, color=COLOURS[0], linewidth=1.4, marker="o")
    for count, mape in points:
        axes.annotate(f"{mape:.1f} %", (count, mape), (0, 8), textcoords="offset points", ha="center", fontsize=9)
    axes.set(
        xscale="log", ylim=(0, 1.2 * max(mapes)), xlabel="shapes trained on", ylabel="MAPE, one fifth held out (%)"
    )
    axes.set_xlim(0.8 * shapes[0], 1.25 * shapes[-1])
    axes.set_xticks(shapes, [str(count) for count in shapes])
    axes.set_xticks([], minor=True)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    return figure


def feature_importance(predictor: Predictor, features: pd.DataFrame, title: str) -> Figure:
    """What the predicted time is made of by the cost model, and which features the Booster corrects it by."""
    bars = {
        "cost model: share of the time (%)": _cost_shares(predictor, features),
        "booster: share of the gain (%)": _gains(predictor),
    }
    bars = {name: found for name, found in bars.items() if found}
    figure = Figure(figsize=(4.4 * len(bars), 4.4), dpi=120, layout="constrained")
    for index, (name, found) in enumerate(bars.items()):
        _bars(figure.add_subplot(1, len(bars), index + 1), name, found, COLOURS[index])
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def _bars(axes: Axes, name: str, found: list[tuple[str, float]], colour: str) -> None:
    style(axes)
    names, values = zip(*sorted(found, key=lambda item: item[1])[-_MOST_BARS:], strict=True)
    axes.barh(range(len(names)), values, color=colour)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel(name, fontsize=9)


def _cost_shares(predictor: Predictor, features: pd.DataFrame) -> list[tuple[str, float]]:
    """Of each term, the mean over the training shapes of its share in the cost model's time; terms at 0 left out."""
    model = predictor.cost_model
    columns = features[list(model.terms)].to_numpy(np.float64)
    parts = columns * model.coefficients(features)
    shares = 100 * (parts / np.maximum(parts.sum(axis=1, keepdims=True), 1e-12)).mean(axis=0)
    return [(term, float(share)) for term, share in zip(model.terms, shares, strict=True) if share > 0]


def _gains(predictor: Predictor) -> list[tuple[str, float]]:
    gains = predictor.booster.feature_importance("gain")
    total = float(gains.sum())
    if total <= 0:
        return []
    return [(n, 100 * float(g) / total) for n, g in zip(predictor.feature_names, gains, strict=True) if g > 0]
