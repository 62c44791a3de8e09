"""Predicting whole networks from a predictor package: CPU by threads, GPU, and the best split of each operator."""

from __future__ import annotations

from collections import defaultdict

from splitfleet.kernels import Operator, describe_many, lower_many
from splitfleet.kernels.errors import UserError
from splitfleet.kernels.network import Network, Node

from .network_times import NetworkTimes, OperatorTimes, unsupported
from .package import Package
from .predictor import GPU_DISPATCH, GPU_EXECUTION, threads_of

GPU, BEST = "gpu", "best"


def predict_network(package: Package, network: Network) -> NetworkTimes:
    """Times of every distinct operator and of the whole: `cpu_t<n>`, `gpu` as the host sees it, and `best`.

    `best` is the plan of each operator by itself: all-CPU, all-GPU or a split. Nothing is added for operations between
    them. Raises UserError where the network has no operator that the predictors know.
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
    listed, flops, count = unsupported(network, rest)
    return NetworkTimes(package.device_class, "splitfleet", network.name, tuple(rows), whole, listed, flops, count)


def _is_known(package: Package, operator: Operator) -> bool:
    return all(operator.type in predictor.operator_types for predictor in package.models.predictors.values())


def _times(package: Package, operators: list[Operator]) -> list[dict[str, float]]:
    """Of each operator the times in us on one processor alone."""
    models = package.models
    launches = lower_many(operators, package.device, precision=models.precision, tuned=models.tuning)
    shapes = describe_many(operators)
    gpu_us = models.costs.gpu_wait()[1]
    columns = {}
    for target, predictor in sorted(models.predictors.items()):
        if threads_of(target) is not None:
            columns[target] = predictor.predict_table_us(shapes)
        elif target in (GPU_DISPATCH, GPU_EXECUTION):
            gpu_us = gpu_us + predictor.predict_table_us(launches)
    columns[GPU] = gpu_us
    return [{name: float(values[index]) for name, values in columns.items()} for index in range(len(operators))]
