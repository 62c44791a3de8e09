"""What executing a network says of its operators: their times there, on either processor and in halves.

An operator that is measured alone finds its input in the caches, its weights too where they fit, and nothing of the
other processor's in between. In a network its input was written just before, by the other processor in part, and its
weights have been displaced. How much that costs depends on the caches, the sizes and the neighbours, and is measured
rather than modelled: the agent tells how long each node's parts took, and the network is planned again with that
(`calibration`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from splitfleet.kernels import Device, Operator
from splitfleet.kernels.network import Network

from .calibration import Calibration
from .curves import predict_curves
from .models import DeviceModels
from .network_planner import NetworkPlan


@dataclass(frozen=True)
class NodeTimes:
    """One node of an executed network, in us: whole on the CPU, whole on the GPU, and its parts as the plan has them.

    Of the GPU's, the execution alone. 0 where a processor had no part.
    """

    cpu_us: float
    gpu_us: float
    cpu_part_us: float
    gpu_part_us: float

    def plus(self, other: NodeTimes) -> NodeTimes:
        """One after the other."""
        return NodeTimes(
            self.cpu_us + other.cpu_us,
            self.gpu_us + other.gpu_us,
            self.cpu_part_us + other.cpu_part_us,
            self.gpu_part_us + other.gpu_part_us,
        )


def network_calibrations(
    network: Network,
    plan: NetworkPlan,
    times: Mapping[str, NodeTimes],
    cpu_threads: int,
    models: DeviceModels,
    device: Device,
) -> dict[Operator, list[Calibration]]:
    """One for each operator and cut of the network that was executed by `plan`, from the medians of its nodes.

    `times` are by the nodes' names, those of all-CPU with `cpu_threads`. Halves have no dispatch, since in a network
    most of them are enqueued ahead; a whole on the GPU has the predicted one, which the planner hides behind a busy
    GPU.
    """
    operators = list(dict.fromkeys(network.operators))
    curves = {each.operator: each for each in predict_curves(operators, models, device)}
    groups: dict[tuple[Operator, int], list[str]] = {}
    for node in network.nodes:
        if node.operator is not None:
            groups.setdefault((node.operator, plan.decisions[node.name].cut), []).append(node.name)
    join, wait_us = models.costs.gpu_wait()
    found: dict[Operator, list[Calibration]] = {}
    for (operator, cut), names in groups.items():
        decision, own = plan.decisions[names[0]], [times[name] for name in names]
        is_split = decision.processor == "split"
        calibration = Calibration(
            cut if is_split else None,
            decision.threads if is_split else cpu_threads,
            decision.join if is_split else join,
            cpu_half_us=_median(own, "cpu_part_us") if is_split else 0.0,
            gpu_half_us=_median(own, "gpu_part_us") if is_split else 0.0,
            rest_us=0.0,
            joint_us=median(max(each.cpu_part_us, each.gpu_part_us) for each in own),
            cpu_us=_median(own, "cpu_us"),
            cpu_threads=cpu_threads,
            gpu_us=_median(own, "gpu_us") + float(curves[operator].dispatch_us[0]) + wait_us,
        )
        found.setdefault(operator, []).append(calibration)
    return found


def _median(times: Sequence[NodeTimes], name: str) -> float:
    return float(median(getattr(each, name) for each in times))


def measured_join_us(plan: NetworkPlan, times: Mapping[str, NodeTimes], wall_us: float) -> float | None:
    """What a join takes in this network: the rest of the inference's `wall_us` beyond its nodes' later parts."""
    if not plan.joins:
        return None
    parts_us = sum(max(each.cpu_part_us, each.gpu_part_us) for each in times.values())
    return max(wall_us - parts_us, 0.0) / plan.joins
