"""A network as the agent's `network` job takes it (docs/agent.md): tensors by number, launch plans, nodes in order.

Operators keep their kinds and get a launch plan for the whole on the GPU and, where they are split, one for the GPU's
part. How an operator runs is what the split table says, unless the network's plan has another way for that node.
Everything else becomes the few kinds of glue that the agent computes on the CPU. What moves no number (reshape,
identity, a transposition of axes of size 1) is a second name of the same tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from splitfleet.kernels import LaunchPlan, Network, Operator, lower_half
from splitfleet.kernels.errors import UserError
from splitfleet.kernels.network import Node
from splitfleet.kernels.programs import Program, program_for
from splitfleet.predictors.split_table import SplitDecision, SplitTable
from splitfleet.predictors.split_table_binary import encode_split_table

from .profile import DeviceProfile

_ERROR_GROWTH = 10
_MOST_TOLERANCE = 0.1
_MOST_AXES = 6
_GATE = "await_host"

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LoweredNetwork:
    """The job's `network` object, the plans in it, and of each of its nodes the network's node that it is a part of."""

    body: dict[str, Any]
    plans: tuple[LaunchPlan, ...]
    parts_of: tuple[str, ...]

    @property
    def programs(self) -> tuple[Program, ...]:
        return *(plan.program for plan in self.plans), program_for(_GATE)


def lower_network(
    network: Network, table: SplitTable, profile: DeviceProfile, decisions: Mapping[str, SplitDecision] | None = None
) -> LoweredNetwork:
    """Decisions are the table's, by its default where it has none, which the agent looks up again by itself;
    `decisions`, by the nodes' names, are those of nodes that run otherwise.

    A tensor may differ from that of the all-CPU execution by ten times what a plan's output may, since errors add up.
    Raises UserError naming the first node that the agent has no executor for.
    """
    lowering = _Lowering(network, table, profile, decisions or {})
    parts_of: list[str] = []
    for node in network.nodes:
        lowering.add(node)
        parts_of += [node.name] * (len(lowering.nodes) - len(parts_of))
    tolerances = [plan.tolerance for plan in lowering.plans.values()]
    body = {
        "tolerance": min(_ERROR_GROWTH * max(tolerances, default=0.0), _MOST_TOLERANCE),
        "tensors": lowering.tensors,
        "plans": [plan.to_json() for plan in lowering.plans.values()],
        "gate": {"program": program_for(_GATE).id, "kernel": _GATE},
        "split_table": encode_split_table(table).hex(),
        "nodes": lowering.nodes,
    }
    return LoweredNetwork(body, tuple(lowering.plans.values()), tuple(parts_of))


@dataclass
class _Lowering:
    network: Network
    table: SplitTable
    profile: DeviceProfile
    decisions: Mapping[str, SplitDecision]
    tensors: list[dict[str, Any]] = field(default_factory=list)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    plans: dict[tuple[Operator, int], LaunchPlan] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, shape in self.network.inputs.items():
            self.numbers[name] = self._tensor(shape, given=True)

    def add(self, node: Node) -> None:
        if node.operator is not None:
            self._add_operator(node, node.operator)
            return
        add = _GLUE.get(node.kind)
        if add is None or len(node.outputs) != 1:
            raise UserError(
                f"{self.network.name}: node {node.name!r} ({node.type}): the agent has no executor for {node.kind}; "
                f"it has operators and {', '.join(sorted(_GLUE))}"
            )
        add(self, node)

    def _tensor(self, shape: Shape, *, given: bool = False) -> int:
        self.tensors.append({"floats": prod(shape), "given": given})
        return len(self.tensors) - 1

    def _output(self, node: Node) -> int:
        self.numbers[node.outputs[0]] = self._tensor(node.output_shape)
        return self.numbers[node.outputs[0]]

    def _add_operator(self, node: Node, operator: Operator) -> None:
        entry = {
            "operator": operator.to_json(),
            "inputs": [self.numbers[name] for name in node.inputs],
            "output": self._output(node),
            "gpu": self._plan(operator, 0),
        }
        found = self.table.find(operator, "default")
        assert found is not None, "the default always answers"
        processor, cut = found.processor, found.cut
        own = self.decisions.get(node.name)
        if own is not None and (own.cut, own.threads) != (found.cut, found.threads):
            processor, cut = own.processor, own.cut
            entry |= {"cut": cut, **({"threads": own.threads} if cut else {})}
        if processor == "split":
            entry["split"] = self._plan(operator, cut)
        self.nodes.append(entry)

    def _plan(self, operator: Operator, cut: int) -> int:
        if (operator, cut) not in self.plans:
            self.plans[operator, cut] = lower_half(
                operator,
                cut,
                self.profile.device,
                precision=self.profile.conditions.precision,
                tuned=self.profile.tuning,
            )
        return list(self.plans).index((operator, cut))

    def glue(self, node: Node, kind: str, inputs: Sequence[int], **fields: Any) -> None:
        self.nodes.append({"glue": kind, "inputs": list(inputs), "output": self._output(node), **fields})

    def shape(self, node: Node, index: int = 0) -> Shape:
        return self.network.shapes[node.inputs[index]]

    def refuse(self, node: Node, why: str) -> UserError:
        return UserError(f"{self.network.name}: node {node.name!r} ({node.type}): {why}")

    def alias(self, node: Node) -> None:
        self.numbers[node.outputs[0]] = self.numbers[node.inputs[0]]

    def transpose(self, node: Node) -> None:
        shape, order = self.shape(node), node.attributes["perm"]
        moved = [axis for axis in order if shape[axis] > 1]
        if moved == sorted(moved):
            self.alias(node)
            return
        strides = _strides(shape)
        self._copy_first(node, [strides[axis] for axis in order], 0)

    def gather(self, node: Node) -> None:
        shape, axis = self.shape(node), node.attributes["axis"]
        strides = _strides(shape)
        start = (node.attributes["index"] % shape[axis]) * strides[axis]
        kept = [*strides[:axis], *strides[axis + 1 :]]
        self._copy_first(node, kept, start)

    def slice(self, node: Node) -> None:
        strides = _strides(self.shape(node))
        steps, starts = node.attributes["steps"], node.attributes["starts"]
        if min(steps) < 1 or min(starts) < 0:
            raise self.refuse(node, "the agent slices forwards only")
        start = sum(map(int.__mul__, starts, strides))
        self._copy_first(node, list(map(int.__mul__, steps, strides)), start)

    def concat(self, node: Node) -> None:
        axis, output = node.attributes["axis"], self._output(node)
        stride, at = _strides(node.output_shape)[axis], 0
        for number, shape in self._parts(node):
            self._copy(node, (number, output), shape, _strides(shape), (0, at * stride))
            at += shape[axis]

    def _parts(self, node: Node) -> list[tuple[int, Shape]]:
        """Number and shape of each input, constants among them, in the file's order."""
        parts = [(self.numbers[name], self.network.shapes[name]) for name in node.inputs]
        for constant in sorted(node.attributes.get("constants", ()), key=lambda constant: int(constant["position"])):
            shape = tuple(constant["shape"])
            parts.insert(constant["position"], (self._tensor(shape, given=True), shape))
        return parts

    def _copy_first(self, node: Node, strides: Sequence[int], offset: int) -> None:
        """Fills the output from the first input, read with these strides."""
        ends = (self.numbers[node.inputs[0]], self._output(node))
        self._copy(node, ends, node.output_shape, strides, (offset, 0))

    def _copy(
        self, node: Node, ends: tuple[int, int], shape: Shape, strides: Sequence[int], offsets: tuple[int, int]
    ) -> None:
        """Copies a box of this shape; `ends` and `offsets` are (from, to), `strides` of the tensor it comes from."""
        to_strides = _strides(node.output_shape)
        axes = [axis for axis in range(len(shape)) if shape[axis] > 1] or [len(shape) - 1]
        if len(axes) > _MOST_AXES:
            raise self.refuse(node, f"the agent moves tensors of up to {_MOST_AXES} axes")
        entry = {
            "glue": "copy",
            "inputs": [ends[0]],
            "output": ends[1],
            "sizes": [shape[axis] for axis in axes],
            "from_strides": [strides[axis] for axis in axes],
            "to_strides": [to_strides[axis] for axis in axes],
            "from_offset": offsets[0],
            "to_offset": offsets[1],
        }
        self.nodes.append(entry)

    def combine(self, node: Node) -> None:
        parts = self._parts(node)
        parts.sort(key=lambda part: -prod(part[1]))
        (first, shape), (second, other) = parts
        trimmed = other[next((i for i, size in enumerate(other) if size > 1), len(other)) :]
        if shape != node.output_shape or tuple(shape[len(shape) - len(trimmed) :]) != trimmed:
            raise self.refuse(node, f"the agent does not broadcast {list(other)} over {list(shape)}")
        self.glue(node, node.kind, [first, second], sizes=[prod(shape)], period=prod(other))

    def rows(self, node: Node) -> None:
        shape, axis = self.shape(node), node.attributes["axis"]
        if axis % len(shape) != len(shape) - 1:
            raise self.refuse(node, f"the agent computes {node.kind} along the last axis only")
        fields = {"epsilon": node.attributes["epsilon"]} if node.kind == "layer_norm" else {}
        sizes = [prod(shape[:-1]), shape[-1]]
        self.glue(node, node.kind, [self.numbers[node.inputs[0]]], sizes=sizes, **fields)

    def gelu(self, node: Node) -> None:
        self.glue(node, "gelu", [self.numbers[node.inputs[0]]], sizes=[prod(node.output_shape)])

    def matmul(self, node: Node) -> None:
        (*batch, m, k), (*other, _, _) = self.shape(node, 0), self.shape(node, 1)
        if batch != other or "constants" in node.attributes:
            raise self.refuse(node, "the agent multiplies two activations with the same leading axes")
        sizes = [prod(batch), m, k, node.output_shape[-1]]
        numbers = [self.numbers[name] for name in node.inputs]
        self.glue(node, "matmul", numbers, sizes=sizes, transpose_b=bool(node.attributes["transpose_b"]))


_GLUE: dict[str, Callable[[_Lowering, Node], None]] = {
    "reshape": _Lowering.alias,
    "identity": _Lowering.alias,
    "transpose": _Lowering.transpose,
    "gather": _Lowering.gather,
    "slice": _Lowering.slice,
    "concat": _Lowering.concat,
    "add": _Lowering.combine,
    "mul": _Lowering.combine,
    "softmax": _Lowering.rows,
    "layer_norm": _Lowering.rows,
    "gelu": _Lowering.gelu,
    "matmul": _Lowering.matmul,
}


def _strides(shape: Shape) -> list[int]:
    """Of a contiguous tensor, in elements."""
    return [prod(shape[axis + 1 :]) for axis in range(len(shape))]
