"""What an executed network says of its operators goes into the next plan."""

from __future__ import annotations

import pytest

from splitfleet.kernels import Operator
from splitfleet.predictors.curves import Curves, predict_curves
from splitfleet.predictors.network_calibration import NodeTimes, measured_join_us, network_calibrations
from splitfleet.predictors.network_planner import plan_network
from splitfleet.predictors.split_table import SplitDecision
from splitfleet.predictors.train import ClassModels

from . import synthetic
from .test_network_planner import chain

THREADS = max(synthetic.THREADS)
CPU, GPU = 1.3, 1.6  # how much longer everything takes in the network than alone


def curves_of(operators: list[Operator], trained: ClassModels) -> dict[Operator, Curves]:
    return {each.operator: each for each in predict_curves(operators, trained.models, synthetic.DEVICE)}


def in_the_network(curves: Curves, decision: SplitDecision) -> NodeTimes:
    cut, channels = decision.cut, curves.operator.channels
    place = curves.cuts.tolist().index(cut)
    return NodeTimes(
        cpu_us=CPU * float(curves.cpu_us[THREADS][-1]),
        gpu_us=GPU * float(curves.execution_us[0]),
        cpu_part_us=CPU * float(curves.cpu_us[decision.threads][place]) if cut else 0.0,
        gpu_part_us=GPU * float(curves.gpu_us[place]) if cut < channels else 0.0,
    )


def test_a_network_that_is_slower_than_its_layers_alone_is_predicted_as_slow(trained: ClassModels) -> None:
    layers = [layer for layer in synthetic.layers(20, seed=5) if layer.channels > 400][:4]
    curves = curves_of(layers, trained)
    network = chain(*layers)
    first = plan_network(network, trained.models, synthetic.DEVICE)
    times = {
        node.name: in_the_network(curves[node.operator], first.decisions[node.name])
        for node in network.nodes
        if node.operator
    }
    found = network_calibrations(network, first, times, THREADS, trained.models, synthetic.DEVICE)
    assert {each.cut for calibrations in found.values() for each in calibrations} == {
        decision.cut if decision.processor == "split" else None for decision in first.decisions.values()
    }
    again = plan_network(network, trained.models, synthetic.DEVICE, found, join_us=7.0)
    assert again.cpu_us == pytest.approx(sum(each.cpu_us for each in times.values()), rel=0.02)
    dispatch_us = float(curves[layers[0]].dispatch_us[0])
    assert again.gpu_us == pytest.approx(sum(each.gpu_us for each in times.values()) + dispatch_us + 7.0, rel=0.02)
    assert again.predicted_us > first.predicted_us
    assert any(decision.processor == "split" for decision in again.decisions.values())


def test_a_join_takes_what_the_parts_leave(trained: ClassModels) -> None:
    layers = [layer for layer in synthetic.layers(20, seed=5) if layer.channels > 400][:4]
    network = chain(*layers)
    plan = plan_network(network, trained.models, synthetic.DEVICE)
    assert plan.joins > 0
    times = {node.name: NodeTimes(9.0, 8.0, 4.0, 5.0) for node in network.nodes}
    assert measured_join_us(plan, times, 5.0 * len(layers) + 3.0 * plan.joins) == pytest.approx(3.0)
    assert measured_join_us(plan, times, 1.0) == 0.0
