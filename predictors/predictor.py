"""One predictor: a cost model times the exponential of a score, kept as plain text and JSON, never pickled.

The score is a LightGBM Booster's, or a mean of it and of Gaussian processes over the same features.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from splitfleet.kernels.errors import UserError

from .cost_model import CostModel
from .design import RUNTIMES, Design, Runtime, design_of
from .family_processes import FamilyProcesses
from .features import Vocabulary, cpu_kernels, variant_of
from .intervals import Intervals, Ranges, uncertainty_from_json, uncertainty_to_json

SCHEMA_VERSION = 3
GPU_EXECUTION = "gpu_execution"
GPU_DISPATCH = "gpu_dispatch"
_CPU_TARGET = re.compile(r"cpu_t([1-9]\d*)")

Floats = NDArray[np.float64]


def cpu_target(threads: int) -> str:
    """The name of the target "CPU time on this many threads"."""
    return f"cpu_t{threads}"


def threads_of(target: str) -> int | None:
    """The thread count of a CPU target; None for a GPU target. Raises UserError for an unknown target."""
    if match := _CPU_TARGET.fullmatch(target):
        return int(match[1])
    if target not in (GPU_EXECUTION, GPU_DISPATCH):
        raise UserError(f"unknown prediction target {target!r}; known: {GPU_EXECUTION}, {GPU_DISPATCH}, cpu_t<threads>")
    return None


@dataclass(frozen=True)
class Predictor:
    """Predicts one target, in microseconds: cost model x exp(score).

    The score is (1 - `share`) x the Booster's raw score + `share` x the Gaussian process of the row's kernel
    family; `process` is None where it does not pay. `intervals` and `ranges` say how far to trust it.

    A table is what `splitfleet.kernels` gives: `lower_many`/`lower_channels` for GPU targets,
    `describe_many`/`describe_channels` for CPU targets, LiteRT's `lower_operations`. A frame holds the features made
    from it.
    """

    target: str
    operator_types: tuple[str, ...]
    vocabulary: Vocabulary
    cost_model: CostModel
    booster_text: str
    intervals: Intervals
    ranges: Ranges
    process: FamilyProcesses | None = None
    share: float = 0.0
    runtime: Runtime = "splitfleet"

    @property
    def design(self) -> Design:
        return design_of(self.target, self.runtime)

    @property
    def feature_names(self) -> tuple[str, ...]:
        return self.design.features

    @cached_property
    def booster(self) -> lightgbm.Booster:
        return load_booster(self.booster_text)

    def features(self, table: pd.DataFrame) -> pd.DataFrame:
        """The feature frame [n, features], float64, of a table of launch plans or shapes [n]."""
        return self.design.make(table, self.vocabulary)

    def known_kernels(self, table: pd.DataFrame) -> NDArray[np.bool_]:
        """Per row [n], whether training has seen its kernel. An unknown one is predicted from its family."""
        kernels = table["kernel"] if threads_of(self.target) is None else pd.Series(cpu_kernels(table))
        return kernels.map(variant_of).isin(self.vocabulary.kernels).to_numpy(np.bool_)

    def raw_score(self, frame: pd.DataFrame) -> Floats:
        """The Booster's raw score [n] of a feature frame."""
        matrix = np.ascontiguousarray(frame[list(self.feature_names)].to_numpy(np.float64))
        score = self.booster.predict(matrix, raw_score=True, num_threads=1)
        return np.asarray(score, dtype=np.float64)

    def predict_us(self, frame: pd.DataFrame) -> Floats:
        """Times [n] in microseconds of a feature frame."""
        return self.cost_model.predict_us(frame) * np.exp(self.score(frame))

    def score(self, frame: pd.DataFrame) -> Floats:
        """log(time / cost model) [n] of a feature frame."""
        if self.process is None:
            return self.raw_score(frame)
        process = self.process.predict(frame)
        if self.share == 1.0:
            return process
        return (1.0 - self.share) * self.raw_score(frame) + self.share * process

    def bounds_us(self, frame: pd.DataFrame) -> tuple[Floats, Floats]:
        """Bounds [n] in us between which the measured time lies with a probability of 90 %."""
        return self.intervals.bounds(frame, self.predict_us(frame))

    def outside(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Per row [n] of a feature frame, whether the shape lies outside what training has seen."""
        return self.ranges.outside(frame)

    def predict_table_us(self, table: pd.DataFrame) -> Floats:
        """Times [n] in microseconds of a table of launch plans or shapes."""
        return self.predict_us(self.features(table))

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA_VERSION,
            "target": self.target,
            "unit": "us",
            "runtime": self.runtime,
            "formula": "cost_model(features) * exp((1 - share) * booster raw score + share * process)",
            "share": self.share,
            "process": None if self.process is None else self.process.to_json(),
            "uncertainty": uncertainty_to_json(self.intervals, self.ranges),
            "operator_types": list(self.operator_types),
            "features": list(self.feature_names),
            "kernels": list(self.vocabulary.kernels),
            "cost_model": self.cost_model.to_json(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], booster_text: str, where: str) -> Predictor:
        """The predictor that `to_json` described; `where` names the file in errors.

        Raises UserError for an unknown schema, other features than this version computes, or a damaged description.
        """
        if data.get("schema") != SCHEMA_VERSION:
            raise UserError(
                f"{where}: predictor schema {data.get('schema')!r} is not known here (this version reads "
                f"{SCHEMA_VERSION}); use the version of Splitfleet that wrote it"
            )
        try:
            cost_model = CostModel.from_json(data["cost_model"])
            vocabulary = Vocabulary(tuple(data["kernels"]), cost_model.families)
            process = None if data["process"] is None else FamilyProcesses.from_json(data["process"])
            intervals, ranges = uncertainty_from_json(data["uncertainty"], cost_model.families)
            if data["runtime"] not in RUNTIMES:
                raise ValueError(f"runtime {data['runtime']!r}")
            predictor = cls(
                data["target"], tuple(data["operator_types"]), vocabulary, cost_model, booster_text, intervals, ranges,
                process, float(data["share"]), data["runtime"],
            )  # fmt: skip
            features = tuple(data["features"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where}: not a predictor description: {error!r}; get the package again") from error
        if features != predictor.feature_names or not set(cost_model.terms) <= set(features):
            raise UserError(
                f"{where}: this version of Splitfleet computes other features than the predictor was trained on; "
                "use the version that wrote it, or train again"
            )
        return predictor

    def to_files(self) -> dict[str, bytes]:
        """`<target>.txt` (the Booster) and `<target>.json` (all else), by name."""
        description = json.dumps(self.to_json(), sort_keys=True, allow_nan=False) + "\n"
        return {f"{self.target}.txt": self.booster_text.encode(), f"{self.target}.json": description.encode()}


def load_booster(text: str) -> lightgbm.Booster:
    """A Booster from LightGBM's model text. Raises UserError when it is no such text."""
    try:
        return lightgbm.Booster(model_str=text)
    except lightgbm.basic.LightGBMError as error:
        raise UserError(f"not a LightGBM model: {error}") from error
