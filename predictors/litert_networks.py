"""Whole networks under LiteRT: their operators' predicted times, and the overhead fitted to networks measured whole.

Networks lie beside a folder's traces, in `networks/phone=<name>/<file>.parquet`: device_class, network, measured_us,
operations (JSON: a list of {"operation", "fused"}, in order).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.litert.operations import Operation, operation_from_json

from .breakdown import held_out_metrics
from .litert_predict import predict_fused
from .litert_train import LitertModels, LitertTraining
from .network_overhead import NetworkOverhead, fit_overhead
from .predictor import Floats

NETWORK = "network"
"""Under this name a training's metrics have those of whole networks."""

_COLUMNS = ("device_class", "network", "measured_us", "operations")
Listed = tuple[Operation, dict[str, int]]


@dataclass(frozen=True)
class MeasuredNetwork:
    """A network's operations, each with what is fused into it (layers of each kind), and its whole time in us."""

    name: str
    measured_us: float
    operations: tuple[Listed, ...]


@dataclass(frozen=True)
class NetworkFit:
    """`held_out`: one row a network: network, operators, operators_us, measured_us, predicted_us, low_us, high_us.

    Each was predicted by an overhead fitted without it, from operators whose shapes their predictors had not seen.
    """

    overhead: NetworkOverhead
    held_out: pd.DataFrame

    @property
    def metrics(self) -> dict[str, float]:
        return held_out_metrics(self.held_out)


def write_networks(networks: Iterable[MeasuredNetwork], device_class: str, path: Path) -> None:
    """Writes the file whole or not at all."""
    rows = [
        {
            "device_class": device_class,
            "network": network.name,
            "measured_us": network.measured_us,
            "operations": json.dumps(
                [{"operation": operation.to_json(), "fused": fused} for operation, fused in network.operations]
            ),
        }
        for network in networks
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        pd.DataFrame(rows, columns=list(_COLUMNS)).to_parquet(temporary, index=False)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_networks(folder: Path, device_class: str) -> tuple[MeasuredNetwork, ...]:
    """The networks of a device class below `<folder>/networks`; none where there is no such folder.

    Raises UserError naming a file that is no such table.
    """
    found = []
    for path in sorted((folder / "networks").glob("phone=*/*.parquet")):
        try:
            table = pd.read_parquet(path)
            rows = table[table["device_class"] == device_class]
            found += [_network(row) for row in rows.to_dict("records")]
        except (OSError, ValueError, KeyError, TypeError, UserError) as error:
            raise UserError(f"{path}: no table of networks: {error}; import it again") from error
    return tuple(found)


def _network(row: dict[Any, Any]) -> MeasuredNetwork:
    listed = tuple(
        (operation_from_json(entry["operation"]), {str(kind): int(n) for kind, n in entry["fused"].items()})
        for entry in json.loads(row["operations"])
    )
    return MeasuredNetwork(str(row["network"]), float(row["measured_us"]), listed)


def fit_networks(trained: LitertTraining, networks: Sequence[MeasuredNetwork]) -> NetworkFit:
    """The overhead of these networks. Raises UserError where there are too few.

    Operations of a type that no predictor knows count as part of the overhead. A shape that was measured counts as
    training predicted it from the other shapes; the others are predicted by the models, which have not seen them.
    """
    seen = dict(zip(trained.held_out["shape"], trained.held_out["predicted_us"], strict=True))
    sums, counts = np.empty(len(networks)), np.empty(len(networks))
    known = {name for predictor in trained.models.predictors.values() for name in predictor.operator_types}
    for index, network in enumerate(networks):
        listed = [entry for entry in network.operations if entry[0].type in known]
        sums[index] = _operators_us(trained.models, listed, seen).sum()
        counts[index] = len(listed)
    measured = np.array([network.measured_us for network in networks])
    overhead, predicted = fit_overhead(sums, counts, measured, trained.seed)
    held_out = pd.DataFrame(
        {
            "network": [network.name for network in networks],
            "operators": counts.astype(int),
            "operators_us": sums,
            "measured_us": measured,
            "predicted_us": predicted,
            "low_us": predicted * overhead.low,
            "high_us": predicted * overhead.high,
        }
    )
    return NetworkFit(overhead, held_out)


def _operators_us(models: LitertModels, listed: Sequence[Listed], seen: dict[str, float]) -> Floats:
    """Of each operation [n] in us; `seen` has those of the shapes that training held out, by their JSON text."""
    keys = [json.dumps(operation.to_json(), sort_keys=True, separators=(",", ":")) for operation, _ in listed]
    times = np.array([seen.get(key, np.nan) for key in keys])
    new = np.flatnonzero(np.isnan(times))
    if len(new):
        times[new] = predict_fused(models, [listed[int(index)] for index in new])["predicted_us"]
    return times
