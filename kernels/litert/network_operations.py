"""A network as LiteRT's GPU delegate runs it: its operations, each with the layers that are linked to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.network import Network, Node
from splitfleet.kernels.operators import Conv2d, DepthwiseConv2d, Linear

from .operations import Concat, GroupedConv2d, Mean, Operation

_EPILOGUES = {"none": (), "relu": ("relu",), "relu6": ("relu",), "add": ("add",), "add_relu": ("add", "relu")}
_LINKED = {
    "add": "add", "mul": "mul", "relu": "relu", "relu6": "relu", "hard_swish": "hard_swish", "sigmoid": "sigmoid",
    **dict.fromkeys(("sub", "div", "pow", "tanh", "gelu", "erf", "sqrt", "exp"), "other"),
}  # fmt: skip
"""Elementwise kinds of nodes, by what is counted as fused. The delegate links them to what makes their input
(tflite/delegates/gpu/common/gpu_model.cc, MergeNodes)."""


@dataclass(frozen=True)
class DelegateNode:
    """One operation that the delegate launches: the node it stands for, and how many layers of each kind are linked."""

    node: Node
    operation: Operation
    fused: dict[str, int]


@dataclass(frozen=True)
class DelegateGraph:
    """`rest` are nodes that are neither launched as an operation that is known here nor linked to one."""

    launched: tuple[DelegateNode, ...]
    rest: tuple[Node, ...]


def delegate_graph(network: Network) -> DelegateGraph:
    """What the delegate launches for a network."""
    launched: dict[str, DelegateNode] = {}
    owner: dict[str, str] = {}
    rest = []
    for node in network.nodes:
        operation = _operation(node, network.shapes)
        if operation is not None:
            epilogue = node.operator.epilogue_name if node.operator is not None else "none"
            launched[node.name] = DelegateNode(node, operation, dict.fromkeys(_EPILOGUES[epilogue], 1))
            owner |= dict.fromkeys(node.outputs, node.name)
        elif (linked := _linked_to(node, network, owner)) is not None:
            fused = dict(launched[linked].fused)
            fused[_LINKED[node.kind]] = fused.get(_LINKED[node.kind], 0) + 1
            launched[linked] = replace(launched[linked], fused=fused)
            owner |= dict.fromkeys(node.outputs, linked)
        else:
            rest.append(node)
    return DelegateGraph(tuple(launched.values()), tuple(rest))


def _operation(node: Node, shapes: Mapping[str, tuple[int, ...]]) -> Operation | None:
    operator = node.operator
    if isinstance(operator, Linear | Conv2d | DepthwiseConv2d):
        return replace(operator, epilogue="none")
    if operator is not None:
        # A reader makes an average pooling of a mean over the image.
        if node.type in ("MEAN", "ReduceMean", "GlobalAveragePool"):
            return Mean(operator.height, operator.width, operator.channels)
        return operator
    try:
        if "grouped_conv2d" in node.attributes:
            return GroupedConv2d(**node.attributes["grouped_conv2d"])
        if node.kind == "concat" and len(node.output_shape) == 4 and node.attributes["axis"] == 3:
            _, height, width, channels = node.output_shape
            return Concat(height, width, channels, shapes[node.inputs[0]][3], len(node.inputs))
    except UserError:
        return None
    return None


def _linked_to(node: Node, network: Network, owner: Mapping[str, str]) -> str | None:
    """The launched operation that an elementwise node is linked to; None for what is none, or stands alone."""
    if node.kind not in _LINKED:
        return None
    alone = [tensor for tensor in node.inputs if tensor in owner and len(network.consumers[tensor]) == 1]
    return owner[alone[-1]] if alone else None
