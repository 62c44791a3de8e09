"""What a prediction for a whole network consists of: distinct operators with their times, and what has none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from splitfleet.kernels.network import Network, Node

_VIEWS = ("reshape", "identity")


@dataclass(frozen=True)
class OperatorTimes:
    """One distinct operator: the names of its nodes, and predicted times in us of one of them, by what is timed.

    `best` says in words how it is run best; None where there is but one way.
    """

    label: str
    nodes: tuple[str, ...]
    times_us: dict[str, float]
    best: str | None = None
    fused: str = ""
    outside: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"operator": self.label, **{k: v for k, v in asdict(self).items() if k != "label"}}


@dataclass(frozen=True)
class Unsupported:
    """Operations of one type that no predictor knows; `reason` where the file's reader gave one."""

    type: str
    count: int
    flops: int
    reason: str


@dataclass(frozen=True)
class NetworkTimes:
    """`whole_us`: the sums of the operators' times by what is timed, and what is more on a network (its `whole`).

    `unsupported` operations are in no time. Their shares are percent of all FLOPs, and of all operations that compute.
    """

    device_class: str
    runtime: str
    network: str
    operators: tuple[OperatorTimes, ...]
    whole_us: dict[str, float]
    unsupported: tuple[Unsupported, ...]
    unsupported_flops_percent: float
    unsupported_count_percent: float

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        return {**data, "operators": [operator.to_json() for operator in self.operators]}


def unsupported(network: Network, nodes: Iterable[Node]) -> tuple[tuple[Unsupported, ...], float, float]:
    """These nodes of the network by type, the most FLOPs first, and their shares of FLOPs and of operations in percent.

    What moves no data (reshape, a transposition that leaves the order) is no operation.
    """
    found: dict[tuple[str, str], tuple[int, int]] = {}
    kept = [node for node in nodes if not _is_view(node)]
    for node in kept:
        key = (node.type, str(node.attributes.get("reason", "")))
        count, flops = found.get(key, (0, 0))
        found[key] = (count + 1, flops + node.flops)
    rows = [Unsupported(kind, count, flops, reason) for (kind, reason), (count, flops) in found.items()]
    total = sum(not _is_view(node) for node in network.nodes)
    flops = sum(row.flops for row in rows)
    return (
        tuple(sorted(rows, key=lambda row: (-row.flops, -row.count, row.type))),
        100.0 * flops / max(network.flops, 1),
        100.0 * len(kept) / max(total, 1),
    )


def _is_view(node: Node) -> bool:
    still = list(range(len(node.output_shape)))
    return node.kind in _VIEWS or (node.kind == "transpose" and node.attributes["perm"] == still)
