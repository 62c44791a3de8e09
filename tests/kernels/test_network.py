"""Networks: a graph is checked when it is made, finds its neighbours, and comes back from JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitfleet.kernels import Conv2d, Linear, Network, Node, UserError

SHAPE = (1, 8, 8, 16)


def conv(name: str, *inputs: str, epilogue: str = "none") -> Node:
    operator = Conv2d(8, 8, 16, 16, 3, 3, 1, 1, 1, epilogue)
    return Node(name, "Conv", operator.type, inputs, (f"{name}:0",), (SHAPE,), operator.flops, operator)


def glue(kind: str, name: str, *inputs: str) -> Node:
    return Node(name, kind.upper(), kind, inputs, (f"{name}:0",), (SHAPE,), 1024)


def block() -> Network:
    """A convolution, and one that adds the first's output to its own."""
    nodes = (conv("a", "x"), glue("sigmoid", "s", "a:0"), conv("b", "s:0", "a:0", epilogue="add"))
    return Network("block", nodes, {"x": SHAPE}, ("b:0",))


def test_neighbours_are_found() -> None:
    network = block()
    assert network.producers["a:0"].name == "a"
    assert "x" not in network.producers
    assert [node.name for node in network.consumers["a:0"]] == ["s", "b"]
    assert network.consumers["b:0"] == ()
    assert network.shapes["x"] == SHAPE
    assert [operator.epilogue_name for operator in network.operators] == ["none", "add"]
    assert network.flops == 2 * network.operators[0].flops + 1024


@pytest.mark.parametrize(
    ("nodes", "outputs", "message"),
    [
        ((conv("b", "a:0"), conv("a", "x")), ("b:0",), "node 'b' uses 'a:0' before anything makes it"),
        ((conv("a", "x"), conv("a", "x")), ("a:0",), "two nodes are named 'a'"),
        ((conv("a", "x"),), ("c:0",), "nothing makes its output 'c:0'"),
        ((conv("a", "x"),), (), "it has no output"),
        ((Node("a", "Add", "add", ("x",), ("x",), (SHAPE,), 0),), ("x",), "'x' is made twice, again by 'a'"),
        ((Node("a", "Add", "add", ("x",), ("y",), ((1, 0),), 0),), ("y",), "'y' has sizes below 1"),
    ],
)
def test_a_graph_that_cannot_be_computed_is_refused(
    nodes: tuple[Node, ...], outputs: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Network("n", nodes, {"x": SHAPE}, outputs)


def test_a_node_agrees_with_its_operator() -> None:
    with pytest.raises(UserError, match="takes 2 inputs"):
        conv("a", "x", epilogue="add_relu")
    with pytest.raises(UserError, match="kind 'linear' is none of conv2d"):
        Node("a", "Conv", "linear", ("x",), ("y",), (SHAPE,), 0, Conv2d(8, 8, 16, 16, 1, 1, 1, 0, 0))
    with pytest.raises(UserError, match="kind 'wobble' is none of add"):
        Node("a", "Wobble", "wobble", ("x",), ("y",), (SHAPE,), 0)
    with pytest.raises(UserError, match="1 outputs with 0 shapes"):
        Node("a", "Add", "add", ("x",), ("y",), (), 0)


@given(st.data())
def test_a_chain_comes_back_from_json(data: st.DataObject) -> None:
    tensors = ["x"]
    nodes = []
    for index in range(data.draw(st.integers(1, 6))):
        source, residual = (data.draw(st.sampled_from(tensors)) for _ in range(2))
        rows, features = data.draw(st.tuples(st.integers(1, 99), st.integers(1, 99)))
        epilogue = data.draw(st.sampled_from(["none", "relu", "add"]))
        operator = Linear(rows, features, features, epilogue)
        inputs = (source, residual) if operator.has_residual else (source,)
        fused = data.draw(st.lists(st.text(), max_size=2).map(tuple))
        attributes = data.draw(st.dictionaries(st.text(), st.integers(), max_size=2))
        shape = ((1, rows, features),)
        tensors.append(f"t{index}")
        nodes.append(Node(f"n{index}", "Gemm", "linear", inputs, (tensors[-1],), shape, 7, operator, attributes, fused))
    network = Network("chain", tuple(nodes), {"x": (1, 5, 5)}, (tensors[-1],))
    assert Network.from_json(json.loads(json.dumps(network.to_json()))) == network


@pytest.mark.parametrize(
    "damage", [{"schema": 9}, {"nodes": [{}]}, {"nodes": 3}, {"inputs": None}, {"nodes": [None]}, {"outputs": [1.5, 2]}]
)
def test_what_is_no_network_is_told(damage: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        Network.from_json({**block().to_json(), **damage})
