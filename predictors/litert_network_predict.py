"""Predicting whole networks on a GPU under LiteRT: each operation, and the whole with its fitted overhead."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.litert.network_operations import DelegateNode, delegate_graph
from splitfleet.kernels.network import Network

from .litert_predict import predict_fused
from .litert_train import LitertModels
from .network_times import NetworkTimes, OperatorTimes, unsupported

GPU, WHOLE, LOW, HIGH = "gpu", "whole", "low", "high"


def predict_litert_network(models: LitertModels, network: Network) -> NetworkTimes:
    """Times of every distinct operation with what is fused into it (`gpu`; `low` and `high` of 90 %), and their sum.

    Where networks were measured whole, `whole` is the time of one inference, with `low` and `high` of 90 % of networks.
    Raises UserError where the network has no operation that the predictors know.
    """
    known = {name for predictor in models.predictors.values() for name in predictor.operator_types}
    graph = delegate_graph(network)
    launched = [entry for entry in graph.launched if entry.operation.type in known]
    if not launched:
        raise UserError(f"{network.name}: {models.device_class} has predictors for none of its operations")
    alike: dict[tuple[str, str], list[DelegateNode]] = defaultdict(list)
    for entry in launched:
        alike[entry.operation.label, _words(entry.fused)].append(entry)
    table = predict_fused(models, [(entries[0].operation, entries[0].fused) for entries in alike.values()])
    rows = []
    for ((label, fused), entries), row in zip(alike.items(), table.to_dict("records"), strict=True):
        times = {GPU: row["predicted_us"], LOW: row["low_us"], HIGH: row["high_us"]}
        names = tuple(entry.node.name for entry in entries)
        rows.append(OperatorTimes(label, names, times, fused=fused, outside=bool(row["outside"])))
    operators_us = sum(row.times_us[GPU] * len(row.nodes) for row in rows)
    whole = {GPU: operators_us}
    if models.overhead is not None:
        [predicted] = models.overhead.predict_us(np.array([operators_us]), np.array([float(len(launched))]))
        whole |= {
            WHOLE: float(predicted),
            LOW: float(predicted * models.overhead.low),
            HIGH: float(predicted * models.overhead.high),
        }
    unknown = [entry.node for entry in graph.launched if entry.operation.type not in known]
    listed, flops, count = unsupported(network, [*graph.rest, *unknown])
    return NetworkTimes(models.device_class, "litert", network.name, tuple(rows), whole, listed, flops, count)


def _words(fused: dict[str, int]) -> str:
    return " ".join(kind for kind, count in sorted(fused.items()) for _ in range(count))
