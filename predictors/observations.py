"""Observations: from traces to one time per shape and target, and to the costs of joining.

All repetitions of a job count as one time, their median; so do all jobs of one shape, whichever phone ran them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from splitfleet.kernels import operator_from_json
from splitfleet.kernels.errors import UserError

from .checked_joins import CheckedJoins
from .design import Design, Runtime, design_of
from .features import Vocabulary, cpu_features, cpu_kernels, gpu_features, plan_table, shape_table
from .models import JoinCosts, as_join
from .predictor import GPU_DISPATCH, GPU_EXECUTION, Floats, cpu_target
from .settings import searched_settings
from .split_table import SVM_POLL, Join

LEAST_SHAPES = 10
"""Shapes a target needs: fewer leave nothing to hold out."""


@dataclass(frozen=True)
class TrainingSet:
    """Observations: features [n, f], operators' JSON text, kernels, times [n] in us, how often each was measured [n].

    There is one a shape, or one for each way in which other layers were fused into it. `group` names the operators for
    which the booster's settings were searched; none for our own runtime.
    """

    target: str
    vocabulary: Vocabulary
    features: pd.DataFrame
    shapes: list[str]
    kernels: list[str]
    time_us: Floats
    repeats: Floats
    runtime: Runtime = "splitfleet"
    group: str = ""

    @property
    def design(self) -> Design:
        design = design_of(self.target, self.runtime)
        return replace(design, booster={**design.booster, **searched_settings().get(self.group, {})})

    @cached_property
    def shape_of(self) -> NDArray[np.int64]:
        """Per observation [n] the number of its shape; shapes are numbered as they first come."""
        numbers = {shape: number for number, shape in enumerate(dict.fromkeys(self.shapes))}
        return np.array([numbers[shape] for shape in self.shapes], dtype=np.int64)

    @property
    def sha256(self) -> str:
        """Hash of the canonical training frame: target, names, shapes, features and times, in order."""
        head = json.dumps([self.target, list(self.features.columns), self.shapes, self.kernels], sort_keys=True)
        digest = hashlib.sha256(head.encode())
        digest.update(np.ascontiguousarray(self.features.to_numpy(np.float64)).tobytes())
        digest.update(np.ascontiguousarray(self.time_us).tobytes())
        return digest.hexdigest()


def training_sets(traces: pd.DataFrame, device_class: str) -> dict[str, TrainingSet]:
    """The training set of each target that the traces allow.

    Raises UserError when GPU or CPU traces are missing or of too few shapes.
    """
    gpu = _single(traces)
    cpu = traces[traces["kind"] == "cpu"]
    sets = {}
    if len(gpu):
        queued, start, end = (_stacked(gpu, name) for name in ("queued_ns", "start_ns", "end_ns"))
        sets[GPU_EXECUTION] = _gpu_set(gpu, GPU_EXECUTION, _medians_us(end, start))
        sets[GPU_DISPATCH] = _gpu_set(gpu, GPU_DISPATCH, _medians_us(start, queued))
    for threads in sorted(cpu["threads"].dropna().unique()):
        rows = cpu[cpu["threads"] == threads]
        target = cpu_target(int(threads))
        sets[target] = _cpu_set(rows, target, _medians_us(_stacked(rows, "wall_ns")))
    for kind, target in (("gpu", GPU_EXECUTION), ("cpu", "cpu_t")):
        found = [data for name, data in sets.items() if name.startswith(target)]
        shapes = min((len(data.time_us) for data in found), default=0)
        if shapes < LEAST_SHAPES:
            raise UserError(
                f"{device_class}: {shapes} shapes were measured by {kind} jobs; training needs {LEAST_SHAPES} at "
                "least. Let the campaign finish, or raise its number of samples"
            )
    return sets


def join_costs(traces: pd.DataFrame, checked: CheckedJoins) -> JoinCosts:
    """Joining and completion costs from `sync` and `gpu` traces: the median of wall - (end - queued), at least 0.

    `checked` says whether polling may be among them.
    """
    sync = traces[traces["kind"] == "sync"]
    allowed = checked.allow_polling
    joins: dict[Join, dict[int, float]] = {}
    for join, of_join in sync.groupby("join"):
        if join != SVM_POLL or allowed:
            threads = sorted(of_join["threads"].unique())
            joins[as_join(str(join))] = {int(n): _completion_us(of_join[of_join["threads"] == n]) for n in threads}
    gpu = _single(traces)
    completion = {
        as_join(str(wait)): _completion_us(rows) for wait, rows in gpu.groupby("join") if wait != SVM_POLL or allowed
    }
    return JoinCosts(completion, joins, checked)


def _single(traces: pd.DataFrame) -> pd.DataFrame:
    """The GPU jobs in which each execution was waited for; a chain's events tell of no single one."""
    return traces[(traces["kind"] == "gpu") & (traces["mode"] == "single")]


def _completion_us(rows: pd.DataFrame) -> float:
    wall, end, queued = (_stacked(rows, name) for name in ("wall_ns", "end_ns", "queued_ns"))
    left = [np.median(w - (e - q)) for w, e, q in zip(wall, end, queued, strict=True)]
    return max(float(np.median(left)) / 1e3, 0.0)


def _gpu_set(rows: pd.DataFrame, target: str, time_us: Floats) -> TrainingSet:
    first, shapes, times, repeats = _observations(rows, time_us)
    kernels = [str(kernel) for kernel in first["kernel"]]
    vocabulary = Vocabulary.of(kernels)
    table = plan_table(kernels, list(first["quantities"]))
    return TrainingSet(target, vocabulary, gpu_features(table, vocabulary), shapes, kernels, times, repeats)


def _cpu_set(rows: pd.DataFrame, target: str, time_us: Floats) -> TrainingSet:
    _, shapes, times, repeats = _observations(rows, time_us)
    table = shape_table([operator_from_json(json.loads(shape)) for shape in shapes])
    kernels = [str(kernel) for kernel in cpu_kernels(table)]
    vocabulary = Vocabulary.of(kernels)
    return TrainingSet(target, vocabulary, cpu_features(table, vocabulary), shapes, kernels, times, repeats)


def _observations(rows: pd.DataFrame, time_us: Floats) -> tuple[pd.DataFrame, list[str], Floats, Floats]:
    """One row a shape, in the order of the shapes' text: a first trace, the median of its times, their number."""
    keyed = rows.assign(shape=[canonical_operator(text) for text in rows["operator"]], time_us=time_us)
    groups = keyed.sort_values(["shape", "job_id", "phone"], kind="stable").groupby("shape", sort=True)
    first = groups.first()
    times, repeats = groups["time_us"].median(), groups["time_us"].count()
    names = [str(shape) for shape in first.index]
    return first, names, times.to_numpy(np.float64), np.asarray(repeats, dtype=np.float64)


def canonical_operator(operator: str) -> str:
    """An operator's JSON text as shapes are told apart by it."""
    return json.dumps(json.loads(operator), sort_keys=True, separators=(",", ":"))


def _medians_us(times: Sequence[NDArray[np.int64]], before: Sequence[NDArray[np.int64]] | None = None) -> Floats:
    """Per job, the median over its repetitions of the time, or of the time since `before`, in us.

    A device's timer may show nothing at all between two events; half a timer tick keeps the logarithm finite.
    """
    spans = times if before is None else [a - b for a, b in zip(times, before, strict=True)]
    return np.maximum(np.array([np.median(span) for span in spans], dtype=np.float64) / 1e3, 0.5e-3)


def _stacked(rows: pd.DataFrame, name: str) -> list[NDArray[np.int64]]:
    return [np.asarray(values, dtype=np.int64) for values in rows[name]]
