"""Whether a new version of a device class's predictors takes the champion's place.

A version says of every shape it was trained on what a model predicted that had not seen the shape (cross-validation).
So a shape that both versions have is held out for both of them, although both have been trained on it in the end, and
the two predictions are a pair: the same shape, the same measured time. A version's final models are not asked, since
they know the shapes.

Where the two versions measured a shape at different times, the geometric mean of both measurements is what both are
compared with: it favours neither.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

LEAST_SHAPES = 10
"""Shapes that two versions need in common to be compared."""

TOLERANCE = 0.02
"""A mean error greater by this share of the champion's counts as the same: less matters to nobody."""

CHANCE = 0.05
"""How likely a version that is equally good may be found worse, by all targets together (Bonferroni)."""

TOGETHER = "together"


@dataclass(frozen=True)
class PairedErrors:
    """Two versions' errors on the shapes that both hold, for one target or for all together.

    MAPEs in percent. `difference` is the mean over shapes of the new version's error minus the champion's, in points;
    the new version is worse when it exceeds `allowed`: the tolerance, or what chance may make of two equal versions.
    """

    target: str
    shapes: int
    champion_mape: float
    new_mape: float
    difference: float
    allowed: float

    @property
    def is_worse(self) -> bool:
        return self.difference > self.allowed


@dataclass(frozen=True)
class Comparison:
    """A new version beside the champion. `missing` are targets of the champion that the new version does not have."""

    pairs: tuple[PairedErrors, ...]
    missing: tuple[str, ...]
    common: int

    @property
    def is_worse(self) -> bool:
        """Whether the champion stays: the new version is worse, or it cannot be said that it is not."""
        return bool(self.missing) or self.common < LEAST_SHAPES or any(pair.is_worse for pair in self.pairs)

    @property
    def reason(self) -> str:
        """Why the new version takes the champion's place, or why it does not, in one line."""
        if self.missing:
            return f"it has no predictor of {', '.join(self.missing)}, which the champion has"
        if self.common < LEAST_SHAPES:
            return f"{self.common} held-out shapes in common with the champion; {LEAST_SHAPES} are needed to compare"
        if worse := [pair for pair in self.pairs if pair.is_worse]:
            pair = max(worse, key=lambda one: one.difference / one.allowed)
            return (
                f"worse on the shapes that both hold out: {pair.target}: MAPE {pair.new_mape:.2f} % against "
                f"{pair.champion_mape:.2f} % on {pair.shapes} shapes; {pair.allowed:.2f} points are allowed"
            )
        whole = next(pair for pair in self.pairs if pair.target == TOGETHER)
        return (
            f"not worse on the {whole.shapes} shapes that both hold out: MAPE {whole.new_mape:.2f} % against the "
            f"champion's {whole.champion_mape:.2f} %"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "is_worse": self.is_worse,
            "reason": self.reason,
            "pairs": [{**asdict(pair), "is_worse": pair.is_worse} for pair in self.pairs],
            "missing": list(self.missing),
            "common_shapes": self.common,
        }


def compare(champion: pd.DataFrame, new: pd.DataFrame) -> Comparison:
    """Compares two versions' held-out predictions: frames with target, shape, measured_us, predicted_us.

    Judged are the targets with `LEAST_SHAPES` in common, and all together, where each shape's error is its mean over
    targets. Of each, the new version is worse if the mean paired difference exceeds both TOLERANCE of the champion's
    MAPE and z standard errors of itself, where z leaves CHANCE over all that are judged.
    """
    both = champion.merge(new, on=["target", "shape"], suffixes=("_old", "_new"))
    truth = np.sqrt(both["measured_us_old"] * both["measured_us_new"])
    errors = pd.DataFrame(
        {
            "target": both["target"],
            "shape": both["shape"],
            "old": 100 * np.abs(both["predicted_us_old"] / truth - 1),
            "new": 100 * np.abs(both["predicted_us_new"] / truth - 1),
        }
    )
    judged = {str(target): rows for target, rows in errors.groupby("target") if len(rows) >= LEAST_SHAPES}
    whole = errors.groupby("shape")[["old", "new"]].mean()
    if len(whole) >= LEAST_SHAPES:
        judged[TOGETHER] = whole
    z = NormalDist().inv_cdf(1 - CHANCE / max(len(judged), 1))
    missing = sorted(set(champion["target"]) - set(new["target"]))
    pairs = tuple(_paired(target, rows, z) for target, rows in judged.items())
    return Comparison(pairs, tuple(missing), len(whole))


def _paired(target: str, rows: pd.DataFrame, z: float) -> PairedErrors:
    differences = (rows["new"] - rows["old"]).to_numpy(np.float64)
    old, new = float(rows["old"].mean()), float(rows["new"].mean())
    by_chance = z * float(differences.std(ddof=1)) / np.sqrt(len(differences))
    return PairedErrors(target, len(rows), old, new, float(differences.mean()), max(TOLERANCE * old, by_chance))
