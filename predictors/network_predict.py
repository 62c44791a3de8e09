"""Predicting whole networks from a predictor package: CPU by threads, GPU, and the best split of each operator."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from splitfleet.kernels import Operator, describe_many, lower_many
from splitfleet.kernels.errors import UserError
from splitfleet.kernels.network import Network, Node

from .network_planner import plan_network
from .network_times import NetworkTimes, OperatorTimes, unsupported
from .package import Package
from .predictor import GPU_DISPATCH, GPU_EXECUTION, threads_of

GPU, BEST = "gpu", "best"


def predict_network(package: Package, network: Network) -> NetworkTimes:
    """Times of every distinct operator and of the whole: `cpu_t<n>`, `gpu` as the host sees it, and `best`.

    `best` is the plan of each operator by itself: all-CPU, all-GPU or a split. Of the whole there are `planned`, of the
    plan over the graph, and `planned_cpu` and `planned_gpu`, of its like on one processor, where results stay where
    they are and the GPU's launches are enqueued one behind the other. Operations without a predictor take no time.
    Raises UserError where the network has no operator that the predictors know.
    """
    by_operator: dict[Operator, list[Node]] = defaultdict(list)
    rest = []
    for node in network.nodes:
        if node.operator is not None and _is_known(package, node.operator):
            by_operator[node.operator].append(node)
        else:
            rest.append(node)
    if not by_operator:
        raise UserError(f"{network.name}: {package.device_class} has predictors for none of its operations")
    times = _times(package, list(by_operator))
    rows = []
    for (operator, nodes), times_us in zip(by_operator.items(), times, strict=True):
        plan = package.plan(operator)
        names = tuple(node.name for node in nodes)
        rows.append(OperatorTimes(operator.label, names, {**times_us, BEST: plan.predicted_us}, plan.summary))
    whole = {name: sum(row.times_us[name] * len(row.nodes) for row in rows) for name in rows[0].times_us}
    planned = plan_network(_without(network, rest), package.models, package.device)
    whole |= {"planned": planned.predicted_us, "planned_cpu": planned.cpu_us, "planned_gpu": planned.gpu_us}
    listed, flops, count = unsupported(network, rest)
    return NetworkTimes(package.device_class, "splitfleet", network.name, tuple(rows), whole, listed, flops, count)


def _without(network: Network, unknown: list[Node]) -> Network:
    """The network with these nodes as operations that the planner takes for what lies between operators."""
    names = {node.name for node in unknown if node.operator is not None}
    nodes = [replace(node, kind="other", operator=None) if node.name in names else node for node in network.nodes]
    return replace(network, nodes=tuple(nodes))


def _is_known(package: Package, operator: Operator) -> bool:
    return all(operator.type in predictor.operator_types for predictor in package.models.predictors.values())


def _times(package: Package, operators: list[Operator]) -> list[dict[str, float]]:
    """Of each operator the times in us on one processor alone."""
    models = package.models
    launches = lower_many(operators, package.device, precision=models.precision, tuned=models.tuning)
    shapes = describe_many(operators)
    columns = {
        target: predictor.predict_table_us(shapes)
        for target, predictor in sorted(models.predictors.items())
        if threads_of(target) is not None
    }
    dispatch_us, execution_us = (
        models.predictors[target].predict_table_us(launches) for target in (GPU_DISPATCH, GPU_EXECUTION)
    )
    columns[GPU] = dispatch_us + execution_us + models.costs.gpu_wait()[1]
    return [{name: float(values[index]) for name, values in columns.items()} for index in range(len(operators))]
