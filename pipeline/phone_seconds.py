"""What planning costs, in seconds that phones work for it, against measuring every cut of every layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from splitfleet.kernels import Operator, cuts

from .jobs import Job
from .proof import LayerProof


@dataclass(frozen=True)
class PhoneSeconds:
    """`campaign`: all that was measured for training. `calibration`: the planned layers' own measurements. `search`:
    the searches that were made. `exhaustive`: every cut at a multiple of 4 and both processors, of every layer: the
    searched layers' seconds a cut, fitted as a constant and a part in proportion to the layer's FLOPs; None without a
    search.
    """

    campaign: float
    calibration: float
    search: float
    exhaustive: float | None


def phone_seconds(
    layers: Sequence[Operator], calibration: Sequence[Job], proofs: Sequence[LayerProof], traces: pd.DataFrame
) -> PhoneSeconds:
    """From all traces of a device class, and the jobs that calibrated and searched its layers."""
    measured = traces[traces["purpose"] == "measure"]
    of_job = traces[traces["purpose"] == "validate"].groupby("job_id")["elapsed_us"].sum() / 1e6
    searched = {
        proof.decision.operator: [float(of_job.get(job.id, np.nan)) for job in proof.search.values()]
        for proof in proofs
        if proof.search
    }
    a_cut = {operator: float(np.nanmean(times)) for operator, times in searched.items() if np.isfinite(times).any()}
    return PhoneSeconds(
        campaign=float(measured["elapsed_us"].sum()) / 1e6,
        calibration=float(sum(of_job.get(job.id, 0.0) for job in calibration)),
        search=float(sum(np.nansum(times) for times in searched.values())),
        exhaustive=_exhaustive(layers, a_cut) if a_cut else None,
    )


def _exhaustive(layers: Sequence[Operator], a_cut: dict[Operator, float]) -> float:
    columns = _columns(list(a_cut))
    found, _ = nnls(columns, np.array(list(a_cut.values())))
    ways = np.array([len(cuts(layer)) + 2 for layer in layers])
    return float(ways @ (_columns(layers) @ found))


def _columns(operators: Sequence[Operator]) -> np.ndarray:
    gigaflops = np.array([operator.flops / 1e9 for operator in operators])
    return np.column_stack([np.ones_like(gigaflops), gigaflops])
