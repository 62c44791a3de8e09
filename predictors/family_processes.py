"""A Gaussian process for each kernel family with enough observations, and one for all the small families together.

What makes a kernel slow differs from family to family, and so do the length scales: on the phones of docs/predictors.md
processes of their own have less error than one for all, and are faster to search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .gaussian_process import Floats, GaussianProcess, Observed, Search, search

_OWN = 40  # observations from which a family has a process of its own
_LEAST = 20  # observations below which length scales cannot be told
Codes = tuple[int, ...]


@dataclass(frozen=True)
class FamilyProcesses:
    """Processes, each with the codes of the families that it predicts."""

    parts: tuple[tuple[Codes, GaussianProcess], ...]

    @classmethod
    def of_all(cls, process: GaussianProcess, families: int) -> FamilyProcesses:
        """One process for all families, a family never seen included."""
        return cls(((tuple(range(-1, families)), process),))

    def predict(self, frame: pd.DataFrame) -> Floats:
        """log(time / cost model) [n] of a feature frame [n]; 0 where a family has no process."""
        result = np.zeros(len(frame))
        for codes, process in self.parts:
            rows = _rows(frame, codes)
            if len(rows):
                result[rows] = process.predict(frame.iloc[rows])
        return result

    def to_json(self) -> list[dict[str, Any]]:
        return [{"codes": list(codes), **process.to_json()} for codes, process in self.parts]

    @classmethod
    def from_json(cls, data: list[dict[str, Any]]) -> FamilyProcesses:
        """What `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        if not isinstance(data, list):
            raise ValueError("no list of processes")
        return cls(tuple((tuple(map(int, part["codes"])), GaussianProcess.from_json(part)) for part in data))


@dataclass(frozen=True)
class FamilySearch:
    """What the searches for hyper-parameters found, by the codes of the families; it fits processes on other rows."""

    parts: tuple[tuple[Codes, Search], ...]

    def fit(self, frame: pd.DataFrame, observed: Observed) -> FamilyProcesses:
        """The processes given what was observed at the rows [n] of a feature frame."""
        fitted = []
        for codes, found in self.parts:
            rows = _rows(frame, codes)
            if len(rows):
                fitted.append((codes, found.fit(frame.iloc[rows], observed.of(rows))))
        return FamilyProcesses(tuple(fitted))


def search_families(
    frame: pd.DataFrame,
    observed: Observed,
    columns: Sequence[str],
    plain: Sequence[str],
    families: int,
    seed: int,
) -> FamilySearch | None:
    """Searches hyper-parameters by family for what was observed at the rows [n] of a feature frame, as `search` does.

    None where there are too few observations for any.
    """
    counts = np.bincount(frame["family"].to_numpy(np.int64), minlength=families)
    small = tuple(code for code in range(families) if counts[code] < _OWN)
    kinds: list[Codes] = [(code,) for code in range(families) if counts[code] >= _OWN]
    if counts[list(small)].sum() >= _LEAST:
        kinds.append(small)
    parts = []
    for codes in kinds:
        rows = _rows(frame, codes)
        # Indicators of families are of use only where there are several.
        indicators = families if len(codes) > 1 else 0
        found = search(frame.iloc[rows], observed.of(rows), columns, plain, indicators, seed)
        parts.append((codes, found))
    return FamilySearch(tuple(parts)) if parts else None


def _rows(frame: pd.DataFrame, codes: Codes) -> NDArray[np.int64]:
    return np.flatnonzero(np.isin(frame["family"].to_numpy(np.int64), codes))
