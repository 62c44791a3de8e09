"""Charts of the HTML report as plain coordinates; the template draws them as SVG, in the colours of light or dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 420, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 10, 34
_TICKS = 4
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Tick:
    """A label at a place in pixels."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """A curve, `path` as SVG path data; `name` is also its CSS class."""

    name: str
    words: str
    path: str


@dataclass(frozen=True)
class Chart:
    """Latency along channels: `dots` are (x, y) in pixels of the search's times."""

    title: str
    lines: tuple[Line, ...]
    dots: tuple[tuple[float, float], ...]
    plan_at: float | None
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


@dataclass(frozen=True)
class Bar:
    """A layer's measured speed-up: widths and places in percent of the axis, which begins at 0."""

    layer: str
    plan: str
    words: str
    width: float
    predicted_at: float
    best_at: float | None
    is_loss: bool


@dataclass(frozen=True)
class Bars:
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    one_at: float


def channels_chart(
    title: str,
    curves: Mapping[str, tuple[str, Sequence[float], Sequence[float]]],
    dots: Mapping[int, float],
    plan_cut: int | None,
) -> Chart:
    """`curves[name]` has its words, the cuts and the times in us at them; `dots` are measured times in us by cut."""
    channels = max(max(cuts) for _, cuts, _ in curves.values())
    highest_ms = max([*dots.values(), *(time for _, _, times in curves.values() for time in times)]) / 1e3
    y_end, y_texts = _axis(highest_ms)
    x_end, x_texts = channels, _axis(channels)[1]

    def x(cut: float) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * cut / x_end, 1)

    def y(us: float) -> float:
        return round(_TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - min(us / 1e3 / y_end, 1.0)), 1)

    lines = [
        Line(name, words, "M" + " L".join(f"{x(cut)} {y(us)}" for cut, us in zip(cuts, times, strict=True)))
        for name, (words, cuts, times) in curves.items()
    ]
    return Chart(
        title,
        tuple(lines),
        tuple((x(cut), y(us)) for cut, us in sorted(dots.items())),
        None if plan_cut is None else x(plan_cut),
        tuple(Tick(x(value), f"{value:g}") for value in x_texts if value <= channels),
        tuple(Tick(y(value * 1e3), f"{value:g}") for value in y_texts),
    )


def speedup_bars(rows: Sequence[Mapping[str, object]]) -> Bars:
    """Of rows of `splits.layer_rows`, in their order."""
    values = [
        float(str(row[key])) for row in rows for key in ("speedup", "predicted_speedup", "best_speedup") if row[key]
    ]
    end, texts = _axis(max([1.0, *values]))
    bars = []
    for row in rows:
        speedup, best = float(str(row["speedup"])), row["best_speedup"]
        bars.append(
            Bar(
                str(row["layer"]),
                "fault" if row["fault"] else str(row["plan"]),
                f"{speedup:.2f}x",
                round(100 * min(speedup / end, 1.0), 2),
                round(100 * float(str(row["predicted_speedup"])) / end, 2),
                None if best is None else round(100 * float(str(best)) / end, 2),
                speedup < 1,
            )
        )
    return Bars(tuple(bars), tuple(Tick(100 * value / end, f"{value:g}x") for value in texts), round(100 / end, 2))


def _axis(highest: float) -> tuple[float, list[float]]:
    """The end of an axis from 0, and its ticks at round numbers."""
    rough = highest / _TICKS
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in _STEPS if factor * power >= rough)
    count = math.ceil(highest / step)
    return count * step, [index * step for index in range(count + 1)]
