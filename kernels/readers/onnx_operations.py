"""What each ONNX operation amounts to."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from splitfleet.kernels.errors import UserError

from .onnx_file import CHANNELS_LAST, OnnxGraph, Value, label
from .parts import Shape, Window, convolution, glue, linear, mean, other, pooling, same_padding, sliced


def convert(graph: OnnxGraph, node: Any) -> None:
    """Appends what a node of the file amounts to. Raises UserError, naming it, where its sizes do not fit."""
    handler = _HANDLERS.get(node.op_type)
    try:
        if handler is None:
            _unknown(graph, node, "not known here")
        else:
            handler(graph, node)
    except UserError as error:
        named = label(node)
        raise error if named in str(error) else UserError(f"{named}: {error}") from error


def _unknown(graph: OnnxGraph, node: Any, reason: str, flops: int | None = None) -> None:
    """A node of kind `other`, with all its outputs."""
    inputs = [_operand(graph, name) for name in node.input if name]
    given = [graph.plain(item) if isinstance(item, Value) else item for item in inputs]
    for index, name in enumerate(node.output):
        if name:
            graph.emit(node, other(reason, flops if index == 0 else 0), given, output=index)


def _attributes(node: Any) -> dict[str, Any]:
    from onnx.helper import get_attribute_value

    return {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}


def _operand(graph: OnnxGraph, name: str) -> Value | str:
    """A tensor, or the name of a constant. Raises UserError where nothing has made it."""
    if name in graph.constants:
        return name
    if name not in graph.values:
        raise UserError(f"nothing makes its input {name!r}")
    return graph.values[name]


def _tensor(graph: OnnxGraph, node: Any, position: int = 0) -> Value:
    found = _operand(graph, node.input[position])
    if isinstance(found, str):
        raise UserError(f"{label(node)}: its input {found!r} is a constant, which is not known here")
    return found


def _window(node: Any, source: Shape, kernel: tuple[int, ...]) -> Window:
    given = _attributes(node)
    strides, dilations = (tuple(given.get(name, (1, 1))) for name in ("strides", "dilations"))
    window = Window((kernel[0], kernel[1]), (strides[0], strides[1]), (dilations[0], dilations[1]))
    way = given.get("auto_pad", b"NOTSET").decode()
    if way.startswith("SAME"):
        pads = same_padding((source[1], source[2]), window)
        if way == "SAME_LOWER":
            pads = (pads[1], pads[0], pads[3], pads[2])
    else:
        top, left, bottom, right = given.get("pads", (0, 0, 0, 0))
        pads = (top, bottom, left, right)
    return Window(window.kernel, window.strides, window.dilations, pads)


def _conv(graph: OnnxGraph, node: Any) -> None:
    source = _tensor(graph, node)
    weights = graph.constants.get(node.input[1])
    if weights is None or len(source.shape) != 4:
        return _unknown(graph, node, "its weights are computed" if weights is None else "not in two dimensions")
    image = graph.image(source)
    target = _stored(graph.shape(node.output[0]))
    window = _window(node, image.stored, weights[2:])
    groups = int(_attributes(node).get("group", 1))
    if weights[1] * groups != image.stored[3]:
        raise UserError(f"its weights take {weights[1] * groups} channels, its input has {image.stored[3]}")
    meant = convolution(image.stored, target, window, groups)
    return graph.emit(node, meant, [image], CHANNELS_LAST, weights_apart=True)


def _pool(graph: OnnxGraph, node: Any) -> None:
    source = _tensor(graph, node)
    if len(source.shape) != 4:
        return _unknown(graph, node, "not in two dimensions")
    image = graph.image(source)
    target = _stored(graph.shape(node.output[0]))
    window = _window(node, image.stored, tuple(_attributes(node)["kernel_shape"]))
    mode = "max" if node.op_type == "MaxPool" else "avg"
    return graph.emit(node, pooling(mode, image.stored, target, window), [image], CHANNELS_LAST)


def _stored(shape: Shape) -> Shape:
    return tuple(shape[axis] for axis in CHANNELS_LAST)


def _batch_norm(graph: OnnxGraph, node: Any) -> None:
    source = _tensor(graph, node)
    graph.emit(node, glue("batch_norm"), [source], source.perm, weights_apart=True)


def _global_pool(graph: OnnxGraph, node: Any) -> None:
    image = graph.image(_tensor(graph, node))
    graph.emit(node, mean(image.stored, [1, 2], True), [image], CHANNELS_LAST)


def _gemm(graph: OnnxGraph, node: Any) -> None:
    given = _attributes(node)
    weights = graph.constants.get(node.input[1])
    if weights is None or given.get("transA", 0):
        return _unknown(graph, node, "its weights are computed, or its input is transposed")
    source = graph.plain(_tensor(graph, node))
    out_features, in_features = weights if given.get("transB", 0) else weights[::-1]
    return graph.emit(node, linear(source.stored, in_features, out_features), [source], weights_apart=True)


def _matmul(graph: OnnxGraph, node: Any) -> None:
    source, second = (_operand(graph, name) for name in node.input)
    if isinstance(source, str):
        return _unknown(graph, node, "its first input is a constant")
    first = graph.plain(source)
    if isinstance(second, str) and len(graph.constants[second]) == 2:
        in_features, out_features = graph.constants[second]
        return graph.emit(node, linear(first.stored, in_features, out_features), [first], weights_apart=True)
    given = second if isinstance(second, str) else graph.plain(second)
    return graph.emit(node, glue("matmul", transpose_b=False), [first, given])


def _elementwise(kind: str) -> Callable[[OnnxGraph, Any], None]:
    """An operation on one tensor, or on two that are broadcast; the order of storing stays where all have the same."""

    def handle(graph: OnnxGraph, node: Any) -> None:
        operands = [_operand(graph, name) for name in node.input if name]
        tensors = [operand for operand in operands if isinstance(operand, Value)]
        rank = len(graph.shape(node.output[0]))
        perms = {tensor.perm for tensor in tensors}
        if len(perms) == 1 and all(len(tensor.shape) == rank for tensor in tensors):
            graph.emit(node, glue(kind), operands, perms.pop())
        else:
            graph.emit(node, glue(kind), [graph.plain(item) if isinstance(item, Value) else item for item in operands])

    return handle


def _gelu(graph: OnnxGraph, node: Any) -> None:
    source = _tensor(graph, node)
    approximate = _attributes(node).get("approximate", b"none").decode()
    graph.emit(node, glue("gelu", approximate=approximate), [source], source.perm)


def _clip(graph: OnnxGraph, node: Any) -> None:
    given = _attributes(node)
    bounds = [given.get("min"), given.get("max")]
    for place, name in enumerate(node.input[1:3]):
        if name in graph.folded:
            bounds[place] = float(graph.folded[name].reshape(()))
    if bounds != [0.0, 6.0]:
        return _unknown(graph, node, f"bounds {bounds[0]} and {bounds[1]}")
    source = _tensor(graph, node)
    return graph.emit(node, glue("relu6"), [source], source.perm)


def _softmax(graph: OnnxGraph, node: Any) -> None:
    source = _tensor(graph, node)
    axis = _attributes(node).get("axis", -1 if graph.opsets.get("", 13) >= 13 else 1)
    graph.emit(node, glue("softmax", axis=source.axis(axis)), [source], source.perm)


def _layer_norm(graph: OnnxGraph, node: Any) -> None:
    source = graph.plain(_tensor(graph, node))
    given = _attributes(node)
    meant = glue("layer_norm", axis=source.axis(given.get("axis", -1)), epsilon=float(given.get("epsilon", 1e-5)))
    graph.emit(node, meant, [source], weights_apart=True)


def _mean(graph: OnnxGraph, node: Any) -> None:
    given, source = _attributes(node), _tensor(graph, node)
    rank = len(source.shape)
    axes = sorted({axis % rank for axis in given.get("axes") or graph.whole_numbers(node, 1) or range(rank)})
    keepdims = bool(given.get("keepdims", 1))
    perm = source.perm if keepdims else _dropped(source.perm, axes)
    meant = mean(source.stored, sorted(source.axis(axis) for axis in axes), keepdims)
    graph.emit(node, meant, [source], perm)


def _dropped(perm: Shape, axes: list[int]) -> Shape:
    """The order of storing after these axes of the file are gone."""
    kept = [axis for axis in perm if axis not in axes]
    return tuple(sorted(kept).index(axis) for axis in kept)


def _concat(graph: OnnxGraph, node: Any) -> None:
    operands = [_operand(graph, name) for name in node.input]
    perms = {operand.perm for operand in operands if isinstance(operand, Value)}
    if len(perms) > 1:
        operands = [graph.plain(item) if isinstance(item, Value) else item for item in operands]
        perms = {tuple(range(len(graph.shape(node.output[0]))))}
    perm = perms.pop()
    axis = perm.index(int(_attributes(node)["axis"]) % len(perm))
    graph.emit(node, glue("concat", axis=axis), operands, perm)


def _slice(graph: OnnxGraph, node: Any) -> None:
    given, source = _attributes(node), _tensor(graph, node)
    found = [given.get(name) or graph.whole_numbers(node, place) for place, name in enumerate(("starts", "ends"), 1)]
    starts, ends = (part or [] for part in found)
    axes = given.get("axes") or graph.whole_numbers(node, 3) or list(range(len(starts)))
    steps = graph.whole_numbers(node, 4) or [1] * len(starts)
    ranges = {}
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = source.shape[axis]
        ranges[source.axis(axis)] = (*slice(start, end, step).indices(size)[:2], step)
    graph.emit(node, sliced(source.stored, ranges), [source], source.perm)


def _split(graph: OnnxGraph, node: Any) -> None:
    """A slice for each part."""
    source = _tensor(graph, node)
    axis = source.axis(_attributes(node).get("axis", 0))
    start = 0
    for index, name in enumerate(node.output):
        stop = start + graph.shape(name)[source.perm[axis]]
        graph.emit(node, sliced(source.stored, {axis: (start, stop, 1)}), [source], source.perm, output=index)
        start = stop


def _gather(graph: OnnxGraph, node: Any) -> None:
    source = _tensor(graph, node)
    index = graph.folded.get(node.input[1])
    if index is None or index.size != 1:
        return _unknown(graph, node, "its indices are computed, or more than one")
    axis = _attributes(node).get("axis", 0) % len(source.shape)
    at = int(index.reshape(())) % source.shape[axis]
    if index.ndim == 1:
        return graph.emit(node, sliced(source.stored, {source.axis(axis): (at, at + 1, 1)}), [source], source.perm)
    if index.ndim:
        return _unknown(graph, node, "its indices have more than one axis")
    meant = glue("gather", axis=source.axis(axis), index=at)
    return graph.emit(node, meant, [source], _dropped(source.perm, [axis]))


def _pad(graph: OnnxGraph, node: Any) -> None:
    source = _tensor(graph, node)
    pads = list(_attributes(node).get("pads") or graph.whole_numbers(node, 1) or [])
    if _attributes(node).get("mode", b"constant") != b"constant" or len(pads) != 2 * len(source.shape):
        return _unknown(graph, node, "a mode other than constant, or some of the axes")
    both = [[pads[axis], pads[axis + len(source.shape)]] for axis in source.perm]
    return graph.emit(node, glue("pad", pads=both), [source], source.perm)


def _transpose(graph: OnnxGraph, node: Any) -> None:
    """Nothing moves where the result, stored as its input is, is stored plainly or channels last."""
    source = _tensor(graph, node)
    rank = len(source.shape)
    order = tuple(_attributes(node).get("perm", range(rank - 1, -1, -1)))
    perm = tuple(order.index(axis) for axis in source.perm)
    if perm in (tuple(range(rank)), CHANNELS_LAST):
        graph.emit(node, glue("transpose", perm=list(range(rank))), [source], perm)
    else:
        graph.emit(node, glue("transpose", perm=list(order)), [graph.plain(source)])


def _reshape(graph: OnnxGraph, node: Any) -> None:
    """An image's pixels may become one axis as they are stored: [1, C, H, W] to [1, C, H * W], or to [1, C]."""
    source = _tensor(graph, node)
    target = graph.shape(node.output[0])
    if source.perm == CHANNELS_LAST:
        batch, channels, height, width = source.shape
        if target == (batch, channels, height * width):
            return graph.emit(node, glue("reshape"), [source], (0, 2, 1))
        if height * width == 1 and prod(target) == prod(target[:2]) == batch * channels and target[:1] == (batch,):
            return graph.emit(node, glue("reshape"), [source])
    return graph.emit(node, glue("reshape"), [graph.plain(source)])


_HANDLERS: dict[str, Callable[[OnnxGraph, Any], None]] = {
    "Conv": _conv,
    **dict.fromkeys(("MaxPool", "AveragePool"), _pool),
    "GlobalAveragePool": _global_pool,
    "BatchNormalization": _batch_norm,
    "Gemm": _gemm,
    "MatMul": _matmul,
    **{
        name: _elementwise(kind)
        for name, kind in {
            "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Pow": "pow", "Relu": "relu", "Sigmoid": "sigmoid",
            "Tanh": "tanh", "HardSwish": "hard_swish", "Erf": "erf", "Sqrt": "sqrt", "Exp": "exp", "Cast": "identity",
        }.items()
    },
    "Gelu": _gelu,
    "Clip": _clip,
    "Softmax": _softmax,
    "LayerNormalization": _layer_norm,
    "ReduceMean": _mean,
    "Concat": _concat,
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    "Pad": _pad,
    "Transpose": _transpose,
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
}  # fmt: skip
