"""What a whole network takes beside its operators: a fixed time, a time for each operator, a share of their sum.

    network = network_us + operator_us x operators + factor x (sum of the operators' times)

The fixed part is what starting and reading back cost, the part per operator launches and gaps between them, the factor
operations that nobody listed and memory that the next operator finds cold. All three are fitted to networks that were
measured whole, by non-negative least squares on the relative error.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from splitfleet.kernels.errors import UserError

from .predictor import Floats

LEAST_NETWORKS = 10
_FOLDS = 5
_LEVEL = 0.9


@dataclass(frozen=True)
class NetworkOverhead:
    """Fitted to `networks` of them. `low` and `high`: of 90 % of held-out networks, measured over predicted."""

    network_us: float
    operator_us: float
    factor: float
    low: float
    high: float
    networks: int

    def predict_us(self, operators_us: Floats, counts: Floats) -> Floats:
        """Whole networks' times [n] in us, from the sums of their operators' times and how many those are, [n]."""
        return self.network_us + self.operator_us * counts + self.factor * operators_us

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any], where: str) -> NetworkOverhead:
        """What `to_json` wrote. Raises UserError naming `where`."""
        try:
            numbers = {name: float(data[name]) for name in ("network_us", "operator_us", "factor", "low", "high")}
            return cls(**numbers, networks=int(data["networks"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where}: damaged: {error!r}; train again") from error


def fit_overhead(
    operators_us: Floats, counts: Floats, measured_us: Floats, seed: int
) -> tuple[NetworkOverhead, Floats]:
    """The overhead of networks [n], and the time in us [n] that a fit without each network's fold predicts for it.

    Raises UserError for fewer than LEAST_NETWORKS.
    """
    total = len(measured_us)
    if total < LEAST_NETWORKS:
        raise UserError(f"{total} networks were measured whole; an overhead needs {LEAST_NETWORKS}")
    terms = np.column_stack([np.ones(total), counts, operators_us])
    held_out = np.empty(total)
    for fold in np.array_split(np.random.default_rng(seed).permutation(total), _FOLDS):
        rest = np.setdiff1d(np.arange(total), fold)
        held_out[fold] = terms[fold] @ _fit(terms[rest], measured_us[rest])
    low, high = _interval(measured_us / held_out)
    network_us, operator_us, factor = _fit(terms, measured_us)
    return NetworkOverhead(network_us, operator_us, factor, low, high, total), held_out


def _fit(terms: Floats, measured_us: Floats) -> Floats:
    coefficients, _ = nnls(terms / measured_us[:, None], np.ones(len(measured_us)))
    return np.asarray(coefficients, dtype=np.float64)


def _interval(ratios: Floats) -> tuple[float, float]:
    """Split-conformal bounds: the quantiles of n ratios that hold 90 % of further ones under exchangeability."""
    count = len(ratios)
    tail = (1 - _LEVEL) / 2
    ordered = np.sort(ratios)
    outer = int(np.floor(tail * (count + 1))) - 1
    return float(ordered[max(outer, 0)]), float(ordered[min(count - 1 - outer, count - 1)])
