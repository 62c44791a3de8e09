"""Whole networks: the overhead that is fitted to them, and their times from a package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from splitfleet.kernels import Conv2d, DepthwiseConv2d, Linear, Network, Node, Operator, Pool2d
from splitfleet.kernels.errors import UserError
from splitfleet.kernels.litert.network_operations import delegate_graph
from splitfleet.kernels.litert.operations import Concat, GroupedConv2d, Mean
from splitfleet.predictors.network_overhead import NetworkOverhead, fit_overhead
from splitfleet.predictors.network_predict import predict_network
from splitfleet.predictors.package import open_package


def made(*parts: tuple[str, Operator | str, tuple[int, ...], str]) -> Network:
    """Nodes (name, operator or kind, output shape, inputs) after an image `x`."""
    nodes = []
    for name, what, shape, inputs in parts:
        kind = what if isinstance(what, str) else what.type
        operator = None if isinstance(what, str) else what
        flops = 100 if operator is None else operator.flops
        attributes = {"axis": 3} if kind == "concat" else {"reason": "why"} if kind == "other" else {}
        nodes.append(
            Node(name, kind.upper(), kind, tuple(inputs.split()), (name,), (shape,), flops, operator, attributes)
        )
    return Network("made", tuple(nodes), {"x": (1, 8, 8, 16)}, (nodes[-1].outputs[0],))


IMAGE = (1, 8, 8, 16)
CONV = Conv2d(8, 8, 16, 16, 3, 3, 1, 1, 1)


def test_an_overhead_is_found_again_and_networks_are_held_out() -> None:
    draw = np.random.default_rng(3)
    sums, counts = np.exp(draw.uniform(6, 11, 80)), draw.integers(10, 200, 80).astype(float)
    noise = np.exp(0.03 * draw.standard_normal(80))
    measured = (800 + 5 * counts + 1.1 * sums) * noise
    overhead, held_out = fit_overhead(sums, counts, measured, seed=1)
    assert overhead.factor == pytest.approx(1.1, rel=0.03)
    assert overhead.network_us == pytest.approx(800, rel=0.15)
    assert overhead.operator_us == pytest.approx(5, rel=0.3)
    assert 0.9 < overhead.low < 0.97 < 1.03 < overhead.high < 1.1
    errors = np.abs(held_out / measured - 1)
    assert errors.mean() < 0.035
    assert not np.allclose(held_out, overhead.predict_us(sums, counts))  # not the fit that has seen them
    assert NetworkOverhead.from_json(overhead.to_json(), "here") == overhead
    with pytest.raises(UserError, match="here: damaged"):
        NetworkOverhead.from_json({"network_us": "?"}, "here")
    with pytest.raises(UserError, match="9 networks were measured whole; an overhead needs 10"):
        fit_overhead(sums[:9], counts[:9], measured[:9], seed=1)


def test_a_network_is_the_sum_of_its_operators_and_the_rest_is_named(package_file: Path) -> None:
    package = open_package(package_file)
    linear = Linear(1, 1024, 200)
    network = made(
        ("a", CONV, IMAGE, "x"),
        ("b", CONV, IMAGE, "a"),
        ("c", DepthwiseConv2d(8, 8, 16, 3, 3, 1, 1, 1), IMAGE, "b"),
        ("s", "softmax", IMAGE, "c"),
        ("r", "reshape", (1, 1024), "s"),
        ("d", linear, (1, 200), "r"),
    )
    found = predict_network(package, network)
    assert [(row.label, row.nodes) for row in found.operators] == [(CONV.label, ("a", "b")), (linear.label, ("d",))]
    for row, operator in zip(found.operators, (CONV, linear), strict=True):
        prediction, plan = package.predict(operator), package.plan(operator)
        assert row.times_us["gpu"] == pytest.approx(prediction.gpu_us)
        assert row.times_us["cpu_t1"] == pytest.approx(prediction.times_us["cpu_t1"])
        assert (row.times_us["best"], row.best) == (plan.predicted_us, plan.summary)
    one, two = found.operators
    assert found.whole_us["gpu"] == pytest.approx(2 * one.times_us["gpu"] + two.times_us["gpu"])
    assert 0 < found.whole_us["planned"] <= min(found.whole_us["planned_cpu"], found.whole_us["planned_gpu"])
    # The depthwise convolution was not trained on; a softmax is no operator; a reshape is nothing at all.
    assert [(row.type, row.count) for row in found.unsupported] == [("DEPTHWISE_CONV2D", 1), ("SOFTMAX", 1)]
    assert found.unsupported_count_percent == pytest.approx(40)
    lost = network.nodes[2].flops + 100
    assert found.unsupported_flops_percent == pytest.approx(100 * lost / network.flops)
    with pytest.raises(UserError, match="has predictors for none of its operations"):
        predict_network(package, made(("s", "softmax", IMAGE, "x")))


def test_what_the_delegate_launches_and_links() -> None:
    mean = Node("m", "MEAN", "pool2d", ("k",), ("m",), ((1, 32),), 1, Pool2d("avg", 8, 8, 32, 8, 8, 1, 0, 0))
    nodes = made(
        ("a", Conv2d(8, 8, 16, 16, 3, 3, 1, 1, 1, "relu"), IMAGE, "x"),
        ("b", CONV, IMAGE, "a"),
        ("h", "hard_swish", IMAGE, "b"),
        ("p", "mul", IMAGE, "h a"),
        ("k", "concat", (1, 8, 8, 32), "p a"),
    ).nodes
    grouped = {"height": 8, "width": 8, "in_channels": 32, "out_channels": 32, "kernel": 3, "stride": 1, "pad": 1}
    attributes = {"reason": "a convolution in 4 groups", "grouped_conv2d": {**grouped, "groups": 4}}
    group = Node("g", "CONV_2D", "other", ("k",), ("g",), ((1, 8, 8, 32),), 1, None, attributes)
    last = Node("s", "SOFTMAX", "softmax", ("m",), ("s",), ((1, 32),), 1)
    graph = delegate_graph(Network("made", (*nodes, group, mean, last), {"x": IMAGE}, ("s",)))
    assert [(entry.node.name, entry.fused) for entry in graph.launched] == [
        ("a", {"relu": 1}),
        ("b", {"hard_swish": 1, "mul": 1}),
        ("k", {}),
        ("g", {}),
        ("m", {}),
    ]
    assert graph.launched[0].operation == CONV
    assert [entry.operation for entry in graph.launched[2:]] == [
        Concat(8, 8, 32, 16, 2),
        GroupedConv2d(**grouped, groups=4),
        Mean(8, 8, 32),
    ]
    assert [node.name for node in graph.rest] == ["s"]
