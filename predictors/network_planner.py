"""The plan of a whole network: a shortest path over the ways in which each operator can run.

Operators run one after the other. Their results stay where they are, in memory that both processors see, so nothing is
copied; what costs time is learning that the other processor is done:

* What the GPU has computed can be used by the CPU after a join, which makes all earlier results of the GPU visible.
  The GPU needs none for what the CPU has computed: it is given its work after that.
* GPU after GPU without a join between them: the second is enqueued while the first runs, and its dispatch is hidden.
* A split of a convolution or a linear layer needs all channels of its input, on both sides. A channel-wise operator
  (depthwise, pooling) that is cut where its input was cut needs on each side only what that side has computed: a chain
  of such splits has no join inside.

So the state on the way is which of the tensors that are still needed wait for a join, how they were cut, and whether
the GPU is busy. The path is exact while there are no more than _MOST_STATES of them, which takes networks with many
open branches; beyond, the cheapest are kept. Nodes without an operator (glue) run on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from splitfleet.kernels import Device, Operator
from splitfleet.kernels.network import Network, Node

from .calibration import Calibration
from .curves import Curves, predict_curves
from .models import DeviceModels
from .planner import Calibrations, OperatorPlan, plan_curves, prospect, splits
from .split_table import SplitDecision, SplitEntry, SplitTable

_MOST_STATES = 512
_CHANNEL_WISE = ("depthwise_conv2d", "pool2d")
_VIEWS = ("reshape", "identity")
_NO_CUT = -1

GlueTime = Callable[[Node], float]


@dataclass(frozen=True)
class NetworkPlan:
    """How each node with an operator runs, by the node's name, and the predicted times of one inference in us.

    `cpu_us` and `gpu_us` are those of all operators on one processor. `joins` counts how often the CPU waits for the
    GPU, `joins_saved` how many more it were if each operator were joined by itself.
    """

    decisions: dict[str, SplitDecision]
    predicted_us: float
    cpu_us: float
    gpu_us: float
    joins: int
    joins_saved: int

    @property
    def predicted_speedup(self) -> float:
        """Over the better single processor."""
        return min(self.cpu_us, self.gpu_us) / self.predicted_us


@dataclass(frozen=True)
class Choice:
    """One way to run a node, in us: `work_us` without waiting for others, of which `dispatch_us` is hidden behind a
    busy GPU."""

    decision: SplitDecision | None
    side: Literal["cpu", "gpu", "split", "glue", "view"]
    work_us: float
    dispatch_us: float = 0.0

    @property
    def cut(self) -> int:
        return self.decision.cut if self.decision is not None else 0


@dataclass(frozen=True)
class _State:
    """`waiting`: tensors that the CPU may not use before a join, each with where it was cut (0 for all-GPU)."""

    waiting: tuple[tuple[str, int], ...] = ()
    is_busy: bool = False


@dataclass(frozen=True)
class _Path:
    cost_us: float
    joins: int
    last: tuple[_Path, Choice] | None


def plan_network(
    network: Network,
    models: DeviceModels,
    device: Device,
    calibrations: Calibrations | None = None,
    glue_us: GlueTime | None = None,
    table: SplitTable | None = None,
    join_us: float | None = None,
) -> NetworkPlan:
    """The plan of the least expected time. Shapes that come again are planned once.

    What `table` has exactly is split as it says, or not at all. `glue_us` says how long a node without an operator
    takes; nothing by default. `join_us` is what a join costs in this network, where that was measured. Raises UserError
    for operators of a type that the predictors do not know.
    """
    glue = glue_us or (lambda node: 0.0)
    choices = node_choices(network, models, device, calibrations or {}, glue, table)
    wait_us = _join_us(models) if join_us is None else join_us
    best = shortest(network, choices, max(wait_us, 0.0))
    chosen = _chosen(best)
    single = [shortest(network, [_only(each, side) for each in choices], max(wait_us, 0.0)) for side in ("cpu", "gpu")]
    decisions = {node.name: way.decision for node, way in zip(network.nodes, chosen, strict=True) if way.decision}
    apart = sum(way.side in ("gpu", "split") for way in chosen)
    return NetworkPlan(
        decisions, best.cost_us, single[0].cost_us, single[1].cost_us, best.joins, max(0, apart - best.joins)
    )


def _join_us(models: DeviceModels) -> float:
    cheapest_us = min((us for costs in models.costs.join_us.values() for us in costs.values()), default=None)
    return models.costs.gpu_wait()[1] if cheapest_us is None else cheapest_us + models.interference.join_us


def node_choices(
    network: Network,
    models: DeviceModels,
    device: Device,
    calibrations: Calibrations,
    glue_us: GlueTime,
    table: SplitTable | None = None,
) -> list[list[Choice]]:
    """The ways of every node: whole on each processor, the best split where it pays, and for a channel-wise operator
    the cuts of what it reads."""
    operators = list(dict.fromkeys(network.operators))
    curves = {each.operator: each for each in predict_curves(operators, models, device)}
    plans = {op: plan_curves(each, models, device, calibrations.get(op, ())) for op, each in curves.items()}
    known = {op: entry.decision for op in operators if table and (entry := _entry(table, op))}
    basic = {op: _basic(curves[op], plans[op], models, known.get(op)) for op in operators}
    found: list[list[Choice]] = []
    by_tensor: dict[str, list[Choice]] = {}
    for node in network.nodes:
        if node.operator is None:
            side: Literal["view", "glue"] = "view" if node.kind in _VIEWS else "glue"
            ways = [Choice(None, side, 0.0 if side == "view" else glue_us(node))]
        else:
            ways = list(basic[node.operator])
            if node.kind in _CHANNEL_WISE:
                cuts = {way.cut for way in by_tensor.get(node.inputs[0], ()) if way.side == "split"}
                measured = calibrations.get(node.operator, ())
                ways += _at_cuts(curves[node.operator], plans[node.operator], cuts, models, device, measured)
        found.append(ways)
        by_tensor |= dict.fromkeys(node.outputs, ways)
    return found


def _entry(table: SplitTable, operator: Operator) -> SplitEntry | None:
    found = table.find(operator, "exact")
    return None if found is None else found.entry


def _basic(curves: Curves, plan: OperatorPlan, models: DeviceModels, known: SplitDecision | None) -> list[Choice]:
    _, wait_us = models.costs.gpu_wait()
    gpu_us = max(plan.gpu.expected_us - wait_us, 0.0)
    hidden_us = min(float(curves.dispatch_us[0]), gpu_us)
    ways = [
        Choice(plan.whole("cpu"), "cpu", plan.cpu.expected_us),
        Choice(plan.whole("gpu"), "gpu", gpu_us, hidden_us),
    ]
    decision = known or plan.decision
    if plan.prospect is not None and decision.processor == "split":
        ways.append(Choice(decision, "split", max(decision.predicted_us - plan.prospect.rest_us, 0.0)))
    return ways


def _at_cuts(
    curves: Curves,
    plan: OperatorPlan,
    cuts: set[int],
    models: DeviceModels,
    device: Device,
    known: Sequence[Calibration],
) -> list[Choice]:
    """Splits where the input was cut. What such a split gains lies in the joins that it saves, so the uncertainty of
    its time counts against it."""
    found = []
    for ways in splits(curves, models, device, known):
        for cut in sorted(cuts & set(ways.cuts.tolist())):
            way = prospect(ways, ways.cuts.tolist().index(cut), plan.cpu, plan.gpu)
            unsure_us = way.uncertainty * min(plan.cpu.expected_us, plan.gpu.expected_us)
            found.append(Choice(plan.split(way), "split", way.expected_us - way.rest_us + unsure_us))
    return found


def shortest(network: Network, choices: Sequence[Sequence[Choice]], join_us: float) -> _Path:
    """The cheapest path through the network's nodes, one of each node's choices each."""
    last_use = {tensor: index for index, node in enumerate(network.nodes) for tensor in node.inputs}
    last_use |= dict.fromkeys(network.outputs, len(network.nodes))
    paths = {_State(): _Path(0.0, 0, None)}
    for index, (node, ways) in enumerate(zip(network.nodes, choices, strict=True)):
        found: dict[_State, _Path] = {}
        for state, path in paths.items():
            for way in ways:
                reached, cost_us, joins = step(state, node, way, join_us)
                alive = tuple(each for each in reached.waiting if last_use.get(each[0], -1) > index)
                reached = _State(alive, reached.is_busy)
                total_us = path.cost_us + cost_us
                if reached not in found or total_us < found[reached].cost_us:
                    found[reached] = _Path(total_us, path.joins + joins, (path, way))
        paths = found
        if len(paths) > _MOST_STATES:
            paths = dict(sorted(found.items(), key=lambda item: item[1].cost_us)[:_MOST_STATES])
    ends = [
        _Path(path.cost_us + join_us, path.joins + 1, path.last) if state.waiting else path
        for state, path in paths.items()
    ]
    return min(ends, key=lambda path: path.cost_us)


def step(state: _State, node: Node, way: Choice, join_us: float) -> tuple[_State, float, int]:
    """Runs a node in this way: what state that leaves, what it takes in us, and how many joins."""
    waiting = dict(state.waiting)
    used = [tensor for tensor in node.inputs if tensor in waiting]
    if way.side == "view":
        # Another shape has other channels.
        cut = min(waiting[used[0]], _NO_CUT) if used and waiting[used[0]] else 0
        return _State(_with(waiting, node.outputs, cut) if used else state.waiting, state.is_busy), 0.0, 0
    if way.side == "gpu":
        hidden_us = way.dispatch_us if state.is_busy else 0.0
        return _State(_with(waiting, node.outputs, 0), True), way.work_us - hidden_us, 0
    keeps_cut = way.side == "split" and node.kind in _CHANNEL_WISE and all(waiting[each] == way.cut for each in used)
    joins = int(bool(used) and not keeps_cut)
    waiting = {} if joins else waiting
    if way.side == "split":
        waiting = dict(_with(waiting, node.outputs, way.cut))
    return _State(tuple(sorted(waiting.items())), state.is_busy and not joins), way.work_us + joins * join_us, joins


def _with(waiting: Mapping[str, int], tensors: Iterable[str], cut: int) -> tuple[tuple[str, int], ...]:
    return tuple(sorted({**waiting, **dict.fromkeys(tensors, cut)}.items()))


def _only(ways: Sequence[Choice], side: str) -> list[Choice]:
    return [way for way in ways if way.side in (side, "view", "glue")]


def _chosen(path: _Path) -> list[Choice]:
    ways = []
    step_back = path.last
    while step_back is not None:
        ways.append(step_back[1])
        step_back = step_back[0].last
    return ways[::-1]
