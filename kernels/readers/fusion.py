"""What a runtime fuses: additions and ReLUs into the operator before them, padding into the one behind, biases.

A layer is fused where nothing else uses what lies between, as the delegate does (tflite/delegates/gpu/common,
transformations/merge_padding_with.cc and gpu_model.cc, MergeNodes). The fused node takes the later one's place, so the
order stays one in which nodes can be computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import prod
from typing import Any

from splitfleet.kernels.network import Network, Node
from splitfleet.kernels.operators import Conv2d, DepthwiseConv2d, Linear, Operator

_EPILOGUES = {
    ("none", "relu"): "relu",
    ("none", "relu6"): "relu6",
    ("none", "add"): "add",
    ("add", "relu"): "add_relu",
}
"""The epilogue of an operator with this one and what follows it."""


def fuse(network: Network) -> Network:
    """The network with what can be fused fused."""
    uses = Counter(tensor for node in network.nodes for tensor in node.inputs)
    uses.update(network.outputs)
    place = {node.outputs[0]: index for index, node in enumerate(network.nodes)}
    kept: dict[str, Node] = {}
    for node in network.nodes:
        # Of two operators whose outputs are added the last takes the addition: it can wait for what it adds.
        alone = sorted({name for name in node.inputs if name in kept and uses[name] == 1}, key=place.__getitem__)
        fused, before = _fused(node, [kept[name] for name in reversed(alone)], network.shapes)
        if before is not None:
            del kept[before.outputs[0]]
        kept[node.outputs[0]] = fused
    return replace(network, nodes=tuple(kept.values()))


def _fused(node: Node, producers: list[Node], shapes: Mapping[str, tuple[int, ...]]) -> tuple[Node, Node | None]:
    """The node with one of the producers of its inputs in it, and that producer; the node as it is, and None."""
    if isinstance(node.operator, Conv2d | DepthwiseConv2d):
        for before in producers:
            if before.kind == "pad" and (widened := _without_pad(node, before)) is not None:
                return widened, before
        return node, None
    for before in producers:
        operator = before.operator
        if not isinstance(operator, Linear | Conv2d | DepthwiseConv2d) or node.output_shape != before.output_shape:
            continue
        if operator.epilogue == "none" and (node.kind == "batch_norm" or _is_bias(node, operator)):
            return _joined(before, node, operator), before
        others = [name for name in node.inputs if name not in before.outputs]
        epilogue = _EPILOGUES.get((operator.epilogue, node.kind))
        adds = node.kind == "add" and len(node.inputs) == 2 and all(shapes[o] == node.output_shape for o in others)
        if epilogue is not None and (adds or node.kind != "add"):
            return _joined(before, node, replace(operator, epilogue=epilogue), others), before
    return node, None


def _joined(before: Node, node: Node, operator: Operator, residual: Iterable[str] = ()) -> Node:
    return replace(
        before,
        operator=operator,
        inputs=(*before.inputs, *residual),
        outputs=node.outputs,
        fused=(*before.fused, node.name),
    )


def _is_bias(node: Node, operator: Operator) -> bool:
    """Whether a node adds a constant for each output channel."""
    constants = node.attributes.get("constants", ())
    if node.kind != "add" or len(node.inputs) != 1 or len(constants) != 1:
        return False
    shape = constants[0]["shape"]
    return bool(shape) and shape[-1] == prod(shape) == operator.channels


def _without_pad(node: Node, pad: Node) -> Node | None:
    """A convolution with the zeros before it as its own padding; None where they are not the same on both sides."""
    operator = node.operator
    assert isinstance(operator, Conv2d | DepthwiseConv2d)
    pads = pad.attributes["pads"]
    if operator.pad_h or operator.pad_w or len(pads) != 4 or any(pads[0]) or any(pads[3]):
        return None
    (top, bottom), (left, right) = pads[1], pads[2]
    sizes: dict[str, Any] = {
        "height": operator.height - top - bottom,
        "width": operator.width - left - right,
        "pad_h": -(-(top + bottom) // 2),
        "pad_w": -(-(left + right) // 2),
    }
    wider = replace(operator, **sizes)
    if wider.output_shape != operator.output_shape:
        return None
    attributes = dict(node.attributes)
    if top != bottom or left != right:
        attributes["pads"] = [top, bottom, left, right]
    return replace(node, operator=wider, inputs=pad.inputs, attributes=attributes, fused=(pad.name, *node.fused))
