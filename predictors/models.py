"""What the split planner needs to know of a device class: predictors, joining costs, and how far predictions err."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from splitfleet.kernels import Precision
from splitfleet.kernels.errors import UserError
from splitfleet.kernels.precision import as_precision
from splitfleet.kernels.tuning import Tuning

from .checked_joins import CheckedJoins
from .interference import Interference
from .predictor import GPU_DISPATCH, GPU_EXECUTION, Floats, Predictor, cpu_target, threads_of
from .split_table import JOINS, Join

SCHEMA_VERSION = 3
_WORKERS = 2
GPU = "gpu"
"""Error quantiles under this name are those of dispatch and execution together."""

QUANTILE_LEVELS = tuple((index + 0.5) / 9 for index in range(9))
"""Nine equally likely relative errors stand for a predictor's error distribution."""


@dataclass(frozen=True)
class JoinCosts:
    """Measured constants in microseconds, by the way in which the host waits for the GPU.

    `completion_us[wait]`: after a lone GPU kernel, from its end until the host sees the result, and what the enqueue
    takes before: wall - (end - queued). `join_us[join][threads]`: the same for a joint execution with empty halves.
    `svm_poll` is in neither unless `checked` allows it.
    """

    completion_us: dict[Join, float]
    join_us: dict[Join, dict[int, float]]
    checked: CheckedJoins

    def gpu_wait(self) -> tuple[Join, float]:
        """The cheapest way to wait for a lone GPU kernel, and what it costs in us.

        Where no completion was measured for a join, its joining cost with the fewest threads stands for it.
        """
        joined = {join: by_threads[min(by_threads)] for join, by_threads in self.join_us.items()}
        costs = {**joined, **self.completion_us}
        if not costs:
            raise UserError("no gpu or sync job tells what waiting for the GPU costs; measure some")
        return min(costs.items(), key=lambda item: (item[1], item[0]))

    def to_json(self) -> dict[str, Any]:
        joins = {join: {str(n): us for n, us in by_threads.items()} for join, by_threads in self.join_us.items()}
        return {
            "completion_us": self.completion_us,
            "join_us": joins,
            "checked_joins": self.checked.joins,
            "mismatches": self.checked.mismatches,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> JoinCosts:
        joins = {as_join(j): {int(n): float(us) for n, us in costs.items()} for j, costs in data["join_us"].items()}
        completion = {as_join(wait): float(us) for wait, us in data["completion_us"].items()}
        return cls(completion, joins, CheckedJoins(int(data["checked_joins"]), int(data["mismatches"])))


def as_join(name: str) -> Join:
    """The join of this name. Raises ValueError for an unknown one."""
    if name not in JOINS:
        raise ValueError(f"unknown join {name!r}; known: {', '.join(JOINS)}")
    return JOINS[JOINS.index(name)]


@dataclass(frozen=True)
class DeviceModels:
    """All predictors of one device class.

    Times hold for one CPU backend, one precision of the GPU, and work-groups with this tuning. `error_ratios[name]` are
    quantiles, at QUANTILE_LEVELS, of measured / predicted over shapes held out of training; a name is a CPU target or
    GPU. `interference` says what both processors at once cost each other.
    """

    device_class: str
    backend: str
    predictors: dict[str, Predictor]
    costs: JoinCosts
    error_ratios: dict[str, tuple[float, ...]]
    precision: Precision = "fp32"
    tuning: Tuning | None = None
    interference: Interference = field(default_factory=Interference)

    @property
    def thread_counts(self) -> tuple[int, ...]:
        counts = (threads_of(target) for target in self.predictors)
        return tuple(sorted(count for count in counts if count is not None))

    def require(self, operator_type: str) -> None:
        """Raises UserError when a predictor was not trained on operators of this type."""
        for name, predictor in self.predictors.items():
            if operator_type not in predictor.operator_types:
                raise UserError(
                    f"{self.device_class}: the predictor {name} was trained on {', '.join(predictor.operator_types)} "
                    f"only, not on {operator_type}; run a campaign with {operator_type} layers"
                )

    def predict_targets(self, table: pd.DataFrame, targets: Sequence[str]) -> dict[str, Floats]:
        """Times [n] in us by target, of a table of launch plans or shapes [n].

        Targets that were trained on the same kernels have the same features, which are made once. Each target is
        predicted on a core of its own: NumPy and LightGBM let go of the interpreter.
        """
        frames: dict[Any, pd.DataFrame] = {}
        frame_of = {}
        for target in targets:
            predictor = self.predictors[target]
            key = predictor.design.make, predictor.vocabulary
            if key not in frames:
                frames[key] = predictor.features(table)
            frame_of[target] = frames[key]
        with threadpool_limits(1), ThreadPoolExecutor(_WORKERS) as pool:
            predicted = {name: pool.submit(self.predictors[name].predict_us, frame_of[name]) for name in targets}
            return {name: future.result() for name, future in predicted.items()}

    def ratios(self, name: str) -> Floats:
        return np.array(self.error_ratios[name])

    def constants_json(self) -> dict[str, Any]:
        """All but the predictors, as JSON."""
        return {
            "schema": SCHEMA_VERSION,
            "device_class": self.device_class,
            "backend": self.backend,
            "precision": self.precision,
            "tuning": None if self.tuning is None else self.tuning.to_json(),
            "targets": sorted(self.predictors),
            "costs": self.costs.to_json(),
            "quantile_levels": list(QUANTILE_LEVELS),
            "error_ratios": {name: list(ratios) for name, ratios in self.error_ratios.items()},
            "interference": self.interference.to_json(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], predictors: dict[str, Predictor], where: str) -> DeviceModels:
        """What `constants_json` wrote, with its predictors. Raises UserError naming `where`."""
        if data.get("schema") != SCHEMA_VERSION:
            raise UserError(
                f"{where}: schema {data.get('schema')!r} is not known here; this version reads {SCHEMA_VERSION}"
            )
        try:
            ratios = {name: tuple(map(float, values)) for name, values in data["error_ratios"].items()}
            costs, precision = JoinCosts.from_json(data["costs"]), as_precision(data["precision"])
            tuning = None if data["tuning"] is None else Tuning.from_json(data["tuning"])
            interference = Interference.from_json(data["interference"])
            models = cls(
                data["device_class"], data["backend"], predictors, costs, ratios, precision, tuning, interference
            )
            named = set(data["targets"])
        except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
            raise UserError(f"{where}: damaged: {error!r}; get the package again") from error
        needed = {GPU_EXECUTION, GPU_DISPATCH, *(cpu_target(count) for count in models.thread_counts)}
        if named != set(predictors) or not needed <= named or not models.thread_counts:
            raise UserError(f"{where}: a predictor is missing or too many; get the package again")
        return models
