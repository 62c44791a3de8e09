"""A new phone's predictor from a few probes and the predictors of other phones, its elders.

The cost model is a mixture of the elders' cost models, term by term, on the new phone's own launch quantities: each
elder is scaled to the probes, all start with the same weight, and non-negative least squares on relative error draws
the weights of their terms from there to what the probes say. Families that were probed may deviate further. A Gaussian
process then learns what is left; its length scales are the elders', since a few probes cannot tell them.

The result is a predictor like any other. Its errors come from folds over the probes, so they are those of the transfer
with a few probes less. How its constants were chosen is in docs/adopt.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import nnls
from threadpoolctl import threadpool_limits

from splitfleet.kernels.errors import UserError

from .cost_model import POOLED, CostModel
from .family_processes import FamilyProcesses
from .fit_sets import Fitted
from .fitting import HeldOut, shape_folds
from .gaussian_process import GaussianProcess, Hyperparameters, Observed, Search
from .intervals import Intervals, Ranges
from .observations import TrainingSet
from .predictor import Floats, Predictor

LEAST_PROBES = 5
"""Shapes that a target needs: fewer tell nothing about the error."""

MOST_ELDERS = 4
"""More of them add weights that a few probes cannot tell apart."""

_FOLDS = 10
_DRAW = 0.001  # what a weight's squared distance from its start counts, against one probe's squared relative error
_DRAW_OF_FAMILY = 0.002
_STRETCH = 1.5  # of the elders' length scales: where probes are sparse, the process sees less than theirs did
_SIGNAL, _FLOOR, _SHORT = 0.15**2, 0.05**2, 0.3 * 0.05**2  # variances of the process, and of its noises

Rows = NDArray[np.int64]


def transfer(data: TrainingSet, elders: Sequence[Predictor], seed: int, rows: Rows | None = None) -> Predictor:
    """A predictor from the probes `data` (all, or these rows of it) and elders of the same target and runtime.

    Raises UserError when there is no elder, or too few shapes were probed.
    """
    rows = np.arange(len(data.shapes)) if rows is None else rows
    if not elders:
        raise UserError(f"{data.target}: no elder predicts it; name phones that were trained for it")
    if len(np.unique(data.shape_of[rows])) < LEAST_PROBES:
        raise UserError(
            f"{data.target}: {len(set(data.shapes))} shapes were probed; {LEAST_PROBES} are needed at least"
        )
    errors = np.zeros(len(rows))
    for test in _folds(data, rows, seed + 1):
        core = _fit(data, np.delete(rows, test), elders)
        errors[test] = np.log(data.time_us[rows[test]] / core.predict_us(data.features.iloc[rows[test]]))
    return _predictor(data, rows, _fit(data, rows, elders), errors)


def transfer_held_out(data: TrainingSet, elders: Sequence[Predictor], seed: int) -> HeldOut:
    """Each probe predicted, intervals included, by a transfer that has not seen its shape: folds over the probes."""
    zeros = np.zeros(len(data.time_us))
    held_out = HeldOut(zeros, zeros.copy(), zeros.copy(), zeros.astype(bool))
    every = np.arange(len(data.time_us))
    for test in _folds(data, every, seed):
        predictor = transfer(data, elders, seed, np.delete(every, test))
        frame = data.features.iloc[test]
        held_out.time_us[test] = predictor.predict_us(frame)
        held_out.low_us[test], held_out.high_us[test] = predictor.intervals.bounds(frame, held_out.time_us[test])
        held_out.outside[test] = predictor.outside(frame)
    return held_out


def transfer_sets(
    sets: Mapping[str, TrainingSet], elders: Sequence[Mapping[str, Predictor]], seed: int
) -> dict[str, Fitted]:
    """Transfers each training set of probes that an elder has a predictor for (by the set's name), as `fit_sets`."""
    with threadpool_limits(1):
        known = {name: [elder[name] for elder in elders if name in elder] for name in sets}
        return {
            name: Fitted(transfer(data, known[name], seed), transfer_held_out(data, known[name], seed), ())
            for name, data in sets.items()
            if known[name]
        }


@dataclass(frozen=True)
class _Core:
    """What predicts: the mixture of the elders' cost models, and the process on what it leaves."""

    cost_model: CostModel
    process: GaussianProcess | None

    def predict_us(self, frame: pd.DataFrame) -> Floats:
        score = 0.0 if self.process is None else self.process.predict(frame)
        return np.asarray(self.cost_model.predict_us(frame) * np.exp(score))


def _folds(data: TrainingSet, rows: Rows, seed: int) -> list[Rows]:
    shapes = data.shape_of[rows]
    return shape_folds(shapes, min(_FOLDS, len(np.unique(shapes))), seed)


def _fit(data: TrainingSet, rows: Rows, elders: Sequence[Predictor]) -> _Core:
    frame, time_us = data.features.iloc[rows], data.time_us[rows]
    cost_model = _mixture(data, frame, time_us, [elder.cost_model for elder in elders])
    search = _elders_search(data, frame, elders)
    if search is None:
        return _Core(cost_model, None)
    cost_us = cost_model.predict_us(frame)
    observed = Observed(np.log(time_us / cost_us), data.repeats[rows], cost_us)
    return _Core(cost_model, search.fit(frame, observed))


def _mixture(data: TrainingSet, frame: pd.DataFrame, time_us: Floats, elders: Sequence[CostModel]) -> CostModel:
    """The elders' cost models added up, each term with the weight that the probes give it."""
    terms, families = data.design.terms, data.vocabulary.families
    tables = {name: [_coefficients(elder, name, terms) for elder in elders] for name in (*families, POOLED)}
    codes = frame["family"].to_numpy(np.int64)
    columns = frame[list(terms)].to_numpy(np.float64)
    stacked = np.array([tables[name] for name in families])  # [families, elders, terms]
    costs = columns[:, None, :] * stacked[codes]  # [n, elders, terms]
    logs = np.log(time_us)[:, None] - np.log(np.maximum(costs.sum(axis=2), 1e-9))
    scales = np.exp(np.median(logs, axis=0))
    relative = (costs * scales[None, :, None] / time_us[:, None, None]).reshape(len(frame), -1)
    shared = _drawn(relative, np.full(relative.shape[1], 1 / len(elders)), _DRAW)
    coefficients = {POOLED: _mixed(tables[POOLED], scales, shared)}
    for code, name in enumerate(families):
        of_family = codes == code
        weights = _drawn(relative[of_family], shared, _DRAW_OF_FAMILY) if of_family.any() else shared
        coefficients[name] = _mixed(tables[name], scales, weights)
    return CostModel(terms, families, coefficients)


def _coefficients(elder: CostModel, family: str, terms: Sequence[str]) -> Floats:
    """An elder's coefficients of a family by the names of terms; the pooled ones where it has not met the family."""
    known = dict(zip(elder.terms, elder.coefficients_us.get(family, elder.coefficients_us[POOLED]), strict=True))
    return np.array([known.get(term, 0.0) for term in terms])


def _drawn(relative: Floats, start: Floats, draw: float) -> Floats:
    """Non-negative weights w with the least |1 - relative w|^2 + draw |w - start|^2."""
    root = np.sqrt(draw)
    matrix = np.vstack([relative, root * np.eye(len(start))])
    weights, _ = nnls(matrix, np.concatenate([np.ones(len(relative)), root * start]))
    return np.asarray(weights, dtype=np.float64)


def _mixed(tables: Sequence[Floats], scales: Floats, weights: Floats) -> tuple[float, ...]:
    mixed = (weights.reshape(len(tables), -1) * scales[:, None] * np.array(tables)).sum(axis=0)
    return tuple(float(value) for value in mixed)


def _elders_search(data: TrainingSet, frame: pd.DataFrame, elders: Sequence[Predictor]) -> Search | None:
    """Length scales as the elders' processes found them: the mean of their inverse squares, each process weighing as
    much as it has observations. None where no elder has a process."""
    processes = [process for elder in elders if elder.process is not None for _, process in elder.process.parts]
    total = sum(len(process.points) for process in processes)
    plain, columns, scales = data.design.plain, [], []
    for name in data.design.smooth:
        known = [process for process in processes if name in process.scaling.columns]
        if known:
            found = np.array([each.scaling.scale[each.scaling.columns.index(name)] for each in known])
            weights = np.array([len(each.points) / total for each in known])
            columns.append(name)
            scales.append(_STRETCH / np.sqrt(np.sum(weights / np.square(found))))
    if not columns:
        return None
    logged = [np.log(np.maximum(frame[name], 1e-6)) if name not in plain else frame[name] for name in columns]
    centre = np.array([float(np.mean(values)) for values in logged])
    chosen = Hyperparameters(np.ones(len(columns)), _SIGNAL, np.array([_FLOOR, 0.0, _SHORT]))
    return Search(tuple(columns), plain, 0, centre, np.array(scales), chosen)


def _predictor(data: TrainingSet, rows: Rows, core: _Core, errors: Floats) -> Predictor:
    frame, families = data.features.iloc[rows], data.vocabulary.families
    by_shape = pd.Series(errors).groupby(data.shape_of[rows])
    first = frame.groupby(data.shape_of[rows]).first()
    return Predictor(
        data.target,
        tuple(sorted({json.loads(data.shapes[row])["type"] for row in rows})),
        data.vocabulary,
        core.cost_model,
        _no_booster(frame),
        Intervals.fit(first, np.asarray(by_shape.median(), dtype=np.float64), data.design.range, families),
        Ranges.fit(frame, data.design.range, families),
        None if core.process is None else FamilyProcesses.of_all(core.process, len(families)),
        0.0 if core.process is None else 1.0,
        data.runtime,
    )


def _no_booster(frame: pd.DataFrame) -> str:
    """A Booster whose score is 0 everywhere: a few probes are too few for trees."""
    parameters: dict[str, Any] = {"verbosity": -1, "num_threads": 1, "deterministic": True, "force_row_wise": True}
    zeros = lightgbm.Dataset(frame.to_numpy(np.float64), np.zeros(len(frame)), feature_name=list(frame.columns))
    return str(lightgbm.train(parameters, zeros, 1).model_to_string())
