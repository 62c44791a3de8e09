from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from splitfleet.kernels import Device, Linear, Network, UserError
from splitfleet.kernels.network import Node
from splitfleet.pipeline.network_lowering import lower_network
from splitfleet.predictors.split_table import SplitDecision, SplitEntry, SplitTable
from splitfleet.predictors.split_table_binary import decode_split_table

DEVICE = Device("a GPU", "a vendor", 2, 256, (256, 256, 64), 4, 2**30, True, True)
PROFILE: Any = SimpleNamespace(device=DEVICE, conditions=SimpleNamespace(precision="fp32"), tuning=None)
LAYER = Linear(6, 8, 16)


def _network(*glue: tuple[str, str, tuple[int, ...], tuple[str, ...], dict[str, Any]]) -> Network:
    nodes = [Node("y", "Gemm", "linear", ("x",), ("y",), ((1, 6, 16),), LAYER.flops, LAYER)]
    nodes += [
        Node(name, kind.title(), kind, inputs, (name,), (shape,), 0, None, attributes)
        for name, kind, shape, inputs, attributes in glue
    ]
    return Network("net", tuple(nodes), {"x": (1, 6, 8)}, nodes[-1].outputs)


def _table(cut: int) -> SplitTable:
    if cut == 0:
        decision = SplitDecision(LAYER, "gpu", 0, 0, "finish", 1.0, 1.0, 1.0, 2.0, 1, 1.0, "finish")
    else:
        decision = SplitDecision(LAYER, "split", cut, 1, "finish", 1.0, 1.0, 1.0, 2.0, 1, 2.0, "finish")
    return SplitTable.of("phone", "eigen", [SplitEntry(decision)])


def test_a_split_operator_has_two_plans_and_the_job_its_table() -> None:
    table = _table(8)
    lowered = lower_network(_network(), table, PROFILE)
    (node,) = lowered.body["nodes"]
    whole, half = (lowered.body["plans"][node[name]] for name in ("gpu", "split"))
    offsets = [next(b for b in plan["buffers"] if b["role"] == "output")["column_offset"] for plan in (whole, half)]
    assert offsets == [0, 8]
    assert decode_split_table(bytes.fromhex(lowered.body["split_table"])) == table
    assert "split" not in lower_network(_network(), _table(0), PROFILE).body["nodes"][0]


def test_what_moves_nothing_is_the_same_tensor() -> None:
    network = _network(
        ("r", "reshape", (6, 16), ("y",), {}),
        ("t", "transpose", (1, 6, 16), ("y",), {"perm": [0, 1, 2]}),
        ("s", "softmax", (6, 16), ("r",), {"axis": -1}),
    )
    body = lower_network(network, _table(0), PROFILE).body
    assert [node.get("glue", "operator") for node in body["nodes"]] == ["operator", "softmax"]
    assert body["nodes"][1]["inputs"] == [body["nodes"][0]["output"]]


def test_a_transposition_is_a_strided_copy() -> None:
    network = _network(("t", "transpose", (1, 16, 6), ("y",), {"perm": [0, 2, 1]}))
    node = lower_network(network, _table(0), PROFILE).body["nodes"][1]
    assert (node["sizes"], node["from_strides"], node["to_strides"]) == ([16, 6], [1, 16], [6, 1])


@pytest.mark.parametrize(
    ("glue", "message"),
    [
        (("z", "sigmoid", (1, 6, 16), ("y",), {}), r"node 'z' \(Sigmoid\): the agent has no executor for sigmoid"),
        (("z", "softmax", (1, 6, 16), ("y",), {"axis": 1}), "softmax along the last axis only"),
        (("z", "add", (1, 6, 16), ("y",), {"constants": [{"position": 1, "shape": [6, 1]}]}), "broadcast"),
        (("z", "slice", (1, 6, 8), ("y",), {"starts": [0, 0, 8], "stops": [1, 6, 0], "steps": [1, 1, -1]}), "forwards"),
    ],
)
def test_a_node_that_the_agent_cannot_execute_is_named(glue: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        lower_network(_network(glue), _table(0), PROFILE)
