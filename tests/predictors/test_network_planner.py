from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitfleet.kernels import Conv2d, DepthwiseConv2d, Linear, Operator
from splitfleet.kernels.network import Network, Node
from splitfleet.predictors.network_planner import Choice, plan_network, shortest
from splitfleet.predictors.split_table import SplitDecision
from splitfleet.predictors.train import ClassModels

from . import synthetic

JOIN_US = 10.0
TIMES = st.floats(1, 100).map(lambda value: round(value, 2))


def decision(operator: Operator, cut: int) -> SplitDecision:
    way = {0: ("gpu", 0, "finish"), operator.channels: ("cpu", 1, None)}.get(cut, ("split", 1, "finish"))
    processor, threads, join = way
    return SplitDecision(operator, processor, cut, threads, join, 1.0, 1.0, 1.0, 1.0, 1, 1.0, "finish")  # type: ignore[arg-type]


def node(name: str, operator: Operator | None, *inputs: str, kind: str = "add") -> Node:
    kind = kind if operator is None else operator.type
    return Node(name, kind, kind, inputs, (f"{name}.out",), ((1, 4, 4, 16),), 0, operator)


def ways(operator: Operator | None, cpu_us: float, gpu_us: float, split_us: float, dispatch_us: float) -> list[Choice]:
    if operator is None:
        return [Choice(None, "glue", cpu_us)]
    split = [Choice(decision(operator, cut), "split", split_us) for cut in (4, 8)]
    return [
        Choice(decision(operator, operator.channels), "cpu", cpu_us),
        Choice(decision(operator, 0), "gpu", gpu_us, min(dispatch_us, gpu_us)),
        *split,
    ]


def reference_us(network: Network, chosen: tuple[Choice, ...]) -> float:
    """What running the nodes in these ways takes, tensor by tensor, without any state but what is joined."""
    total, joined_at, cut_of, busy = 0.0, -1, {}, False
    made = {}
    for index, (each, way) in enumerate(zip(network.nodes, chosen, strict=True)):
        unseen = [name for name in each.inputs if name in made and made[name] > joined_at and cut_of[name] is not None]
        same_cut = way.side == "split" and each.kind == "depthwise_conv2d" and all(cut_of[n] == way.cut for n in unseen)
        if way.side != "gpu" and unseen and not same_cut:
            total, joined_at, busy = total + JOIN_US, index, False
        total += way.work_us - (way.dispatch_us if way.side == "gpu" and busy else 0.0)
        busy = way.side == "gpu" or busy
        name = each.outputs[0]
        made[name] = index + 0.5
        cut_of[name] = {"cpu": None, "glue": None, "gpu": 0}.get(way.side, way.cut)
    waiting = [name for name in network.outputs if made[name] > joined_at and cut_of[name] is not None]
    return total + (JOIN_US if waiting else 0.0)


@st.composite
def networks(draw: st.DrawFn) -> tuple[Network, list[list[Choice]]]:
    nodes: list[Node] = []
    choices = []
    for index in range(draw(st.integers(1, 5))):
        tensors = ["in", *(each.outputs[0] for each in nodes)]
        operator = draw(
            st.sampled_from(
                [
                    None,
                    Conv2d(4, 4, 16, 16, 1, 1, 1, 0, 0),
                    DepthwiseConv2d(4, 4, 16, 3, 3, 1, 1, 1),
                    Linear(16, 16, 16, "add"),
                ]
            )
        )
        count = 2 if operator is None or operator.has_residual else 1
        inputs = [draw(st.sampled_from(tensors[-3:])) for _ in range(count)]
        nodes.append(node(f"n{index}", operator, *inputs))
        choices.append(ways(operator, *(draw(TIMES) for _ in range(4))))
    outputs = tuple(draw(st.sets(st.sampled_from([each.outputs[0] for each in nodes]), min_size=1)))
    return Network("drawn", tuple(nodes), {"in": (1, 4, 4, 16)}, tuple(sorted(outputs))), choices


@settings(max_examples=150, deadline=None)
@given(networks())
def test_the_shortest_path_is_what_brute_force_finds(drawn: tuple[Network, list[list[Choice]]]) -> None:
    network, choices = drawn
    best = min(reference_us(network, chosen) for chosen in product(*choices))
    assert shortest(network, choices, JOIN_US).cost_us == pytest.approx(best)


def chain(*operators: Operator) -> Network:
    nodes = []
    for index, operator in enumerate(operators):
        nodes.append(node(f"n{index}", operator, f"n{index - 1}.out" if index else "in"))
    return Network("chain", tuple(nodes), {"in": (1, 4, 4, 16)}, (nodes[-1].outputs[0],))


def test_a_channel_wise_operator_cut_where_its_input_is_needs_no_join() -> None:
    first, second = Conv2d(4, 4, 16, 16, 1, 1, 1, 0, 0), DepthwiseConv2d(4, 4, 16, 3, 3, 1, 1, 1)
    split = [[Choice(decision(op, 8), "split", 5.0)] for op in (first, second)]
    path = shortest(chain(first, second), split, JOIN_US)
    assert (path.cost_us, path.joins) == (20.0, 1)
    elsewhere = [split[0], [Choice(decision(second, 4), "split", 5.0)]]
    assert shortest(chain(first, second), elsewhere, JOIN_US).joins == 2


def test_a_busy_gpu_hides_dispatch() -> None:
    layer = Linear(16, 16, 16)
    on_gpu = [[Choice(decision(layer, 0), "gpu", 30.0, 20.0)]] * 3
    path = shortest(chain(layer, layer, layer), on_gpu, JOIN_US)
    assert (path.cost_us, path.joins) == (30.0 + 10.0 + 10.0 + JOIN_US, 1)


def test_a_network_is_planned_with_every_shape_once(trained: ClassModels) -> None:
    layer = Linear(197, 768, 768)
    plan = plan_network(chain(*[layer] * 4), trained.models, synthetic.DEVICE)
    assert set(plan.decisions) == {"n0", "n1", "n2", "n3"}
    assert plan.predicted_us <= min(plan.cpu_us, plan.gpu_us) * (1 + 1e-9)
    assert plan.predicted_speedup >= 1
    single = plan_network(chain(layer), trained.models, synthetic.DEVICE)
    assert plan.cpu_us == pytest.approx(4 * single.cpu_us)
    assert plan.gpu_us < 4 * single.gpu_us, "dispatch is hidden"
