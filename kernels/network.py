"""A whole network as a graph of nodes: what a model file says (see `readers`), with our operators where we have one.

Conventions, whatever file a network came from:

* Tensors are channels last with a batch of 1, as [1, height, width, channels] or [1, rows, features]. A reader of a
  format that stores channels first says every shape, axis and permutation in these terms.
* A node's `inputs` are activations alone. Weights are not read, and a bias is part of its convolution or linear layer:
  kernels do not add one, and no figure counts it. Other constants (an embedding that is added, a class token) are in
  `attributes["constants"]`.
* What an epilogue does is part of the operator's node: with `add` or `add_relu`, `inputs` is (input, residual).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .errors import UserError
from .operator_text import operator_from_json
from .operators import Operator

SCHEMA_VERSION = 1

GLUE = (
    "add", "sub", "mul", "div", "pow", "relu", "relu6", "sigmoid", "tanh", "hard_swish", "gelu", "erf", "sqrt", "exp",
    "softmax", "layer_norm", "batch_norm", "matmul", "mean", "concat", "slice", "gather", "pad", "transpose",
    "reshape", "identity", "other",
)  # fmt: skip
"""Kinds of nodes without an operator; `other` is one that no executor of ours knows. Their attributes:

| kind | attributes |
|---|---|
| add, sub, mul, div, pow | none; shapes broadcast as NumPy's |
| softmax | axis |
| layer_norm | axis (the first normalised one), epsilon; scale and shift are weights |
| batch_norm | none; a scale and a shift of each channel are weights |
| gelu | approximate: "none" or "tanh" |
| matmul | transpose_b: whether the second input is [..., N, K]; leading dimensions broadcast |
| mean | axes, keepdims |
| concat | axis |
| slice | starts, stops, steps: of every axis |
| gather | axis, index: one whole number; the axis goes away |
| pad | pads: [[before, after], ...] of every axis; zeros |
| transpose | perm; an identical one moves nothing |
| reshape | none; the new shape is the output's |
| other | reason: why it is none of ours |
| any | constants: [{"position", "shape"}] of inputs, by their place among all inputs, that are no activations |
"""


@dataclass(frozen=True)
class Node:
    """One operation of a network.

    `type` is the file's own name for it, as CONV_2D or Conv; `kind` that of its operator, or one of GLUE. `flops`
    counts a multiply and an add as two. `fused` names the file's operations that became its epilogue.
    """

    name: str
    type: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    output_shapes: tuple[tuple[int, ...], ...]
    flops: int
    operator: Operator | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    fused: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        expected = GLUE if self.operator is None else (self.operator.type,)
        if self.kind not in expected:
            raise UserError(f"node {self.name!r}: kind {self.kind!r} is none of {', '.join(expected)}")
        if not self.outputs or len(self.outputs) != len(self.output_shapes):
            raise UserError(
                f"node {self.name!r}: {len(self.outputs)} outputs with {len(self.output_shapes)} shapes; "
                "it needs as many of each, and at least one"
            )
        if self.operator is not None:
            wanted = 2 if self.operator.has_residual else 1
            if len(self.inputs) != wanted:
                raise UserError(f"node {self.name!r}: {self.operator.label} takes {wanted} inputs: {self.inputs}")

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of the first output."""
        return self.output_shapes[0]

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {
            "name": self.name,
            "type": self.type,
            "kind": self.kind,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "output_shapes": [list(shape) for shape in self.output_shapes],
            "flops": self.flops,
        }
        if self.operator is not None:
            data["operator"] = self.operator.to_json()
        if self.attributes:
            data["attributes"] = dict(self.attributes)
        if self.fused:
            data["fused"] = list(self.fused)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Node:
        """The node that `to_json` wrote. Raises UserError for anything else."""
        try:
            operator = operator_from_json(data["operator"]) if "operator" in data else None
            return cls(
                str(data["name"]),
                str(data["type"]),
                str(data["kind"]),
                tuple(map(str, data["inputs"])),
                tuple(map(str, data["outputs"])),
                tuple(_shape(shape) for shape in data["output_shapes"]),
                int(data["flops"]),
                operator,
                dict(data.get("attributes", {})),
                tuple(map(str, data.get("fused", ()))),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"no node of a network ({type(error).__name__}: {error}): {str(data)[:120]}") from None


@dataclass(frozen=True)
class Network:
    """Nodes in an order in which they can be computed. `inputs` gives the shape of each tensor fed into the network."""

    name: str
    nodes: tuple[Node, ...]
    inputs: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...]

    def __post_init__(self) -> None:
        shapes: dict[str, tuple[int, ...]] = dict(self.inputs)
        names = set()
        for node in self.nodes:
            if node.name in names:
                raise UserError(f"network {self.name!r}: two nodes are named {node.name!r}")
            names.add(node.name)
            if missing := [tensor for tensor in node.inputs if tensor not in shapes]:
                raise UserError(
                    f"network {self.name!r}: node {node.name!r} uses {missing[0]!r} before anything makes it"
                )
            for tensor, shape in zip(node.outputs, node.output_shapes, strict=True):
                if tensor in shapes:
                    raise UserError(f"network {self.name!r}: tensor {tensor!r} is made twice, again by {node.name!r}")
                shapes[tensor] = shape
        if missing := [tensor for tensor in self.outputs if tensor not in shapes]:
            raise UserError(f"network {self.name!r}: nothing makes its output {missing[0]!r}")
        if not self.outputs:
            raise UserError(f"network {self.name!r}: it has no output")
        for tensor, shape in shapes.items():
            if any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in shape):
                raise UserError(f"network {self.name!r}: tensor {tensor!r} has sizes below 1: {list(shape)}")

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every activation, inputs included."""
        made = {
            name: shape for node in self.nodes for name, shape in zip(node.outputs, node.output_shapes, strict=True)
        }
        return {**self.inputs, **made}

    @cached_property
    def producers(self) -> dict[str, Node]:
        """The node that makes each tensor; an input of the network has none."""
        return {tensor: node for node in self.nodes for tensor in node.outputs}

    @cached_property
    def consumers(self) -> dict[str, tuple[Node, ...]]:
        """The nodes that use each tensor, in order, each once; empty for one that only leaves the network."""
        found: dict[str, list[Node]] = {tensor: [] for tensor in self.shapes}
        for node in self.nodes:
            for tensor in dict.fromkeys(node.inputs):
                found[tensor].append(node)
        return {tensor: tuple(nodes) for tensor, nodes in found.items()}

    @property
    def operators(self) -> tuple[Operator, ...]:
        """Of the nodes that have one, in order, with repetitions."""
        return tuple(node.operator for node in self.nodes if node.operator is not None)

    @property
    def flops(self) -> int:
        return sum(node.flops for node in self.nodes)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA_VERSION,
            "name": self.name,
            "inputs": {tensor: list(shape) for tensor, shape in self.inputs.items()},
            "outputs": list(self.outputs),
            "nodes": [node.to_json() for node in self.nodes],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Network:
        """The network that `to_json` wrote. Raises UserError for another schema, or what is no network."""
        if data.get("schema") != SCHEMA_VERSION:
            raise UserError(f"a network of schema {data.get('schema')!r}; this version reads {SCHEMA_VERSION}")
        try:
            nodes = tuple(Node.from_json(node) for node in data["nodes"])
            inputs = {str(tensor): _shape(shape) for tensor, shape in data["inputs"].items()}
            return cls(str(data["name"]), nodes, inputs, tuple(map(str, data["outputs"])))
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"no network ({type(error).__name__}: {error})") from None


def _shape(sizes: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in sizes)
