"""Reads .onnx files: shapes by ONNX's own inference, constants folded by its reference evaluator, layouts turned.

ONNX keeps images channels first. A reader's network has them channels last, so each tensor here has the permutation in
which it is stored; where an operation needs the file's own order, a transposition is put before it. What only computes
shapes (Shape, Gather, Concat before a Reshape) is evaluated and does not become a node.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.network import Network, Node

from .fusion import fuse
from .parts import Meant, Shape, glue, node_of

CHANNELS_LAST = (0, 2, 3, 1)
_LARGEST_FOLDED = 4096  # values; shapes and indices are small, weights are not read
_IMAGE_OPERATIONS = ("Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "BatchNormalization")
_ALIASES = ("Identity", "Dropout")
_FIX = (
    "fix it, as with onnx.tools.update_model_dims.update_inputs_outputs_dims or torch.onnx.export without dynamic_axes"
)


def read_onnx(path: Path) -> Network:
    """The graph of a file. Raises UserError for a file that is no model, is damaged, or has open shapes."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(path.read_bytes())
        if not model.graph.node:
            raise UserError("no ONNX model, or one without operations")
        _fix_batch(model.graph)
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except DecodeError:
        raise UserError("no ONNX model, or a truncated one") from None
    except onnx.shape_inference.InferenceError as error:
        raise UserError(f"its shapes do not fit together: {str(error).splitlines()[0]}") from None
    try:
        return fuse(OnnxGraph(model, path.stem).read())
    except (IndexError, TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError, AssertionError) as error:
        raise UserError(f"a damaged ONNX model ({type(error).__name__}: {error})") from error


def _fix_batch(graph: Any) -> None:
    """An open first size of an input is its batch, which is 1 here."""
    weights = {tensor.name for tensor in graph.initializer}
    opened = set()
    for value in graph.input:
        sizes = value.type.tensor_type.shape.dim
        for axis, size in enumerate(sizes):
            if value.name not in weights and not size.HasField("dim_value"):
                if axis:
                    named = size.dim_param or "unknown"
                    raise UserError(f"the input {value.name!r} has an open size ({named}) at axis {axis}; {_FIX}")
                opened.add(size.dim_param)
                size.dim_value = 1
    for value in (*graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param and size.dim_param in opened:
                size.dim_value = 1


@dataclass(frozen=True)
class Value:
    """A tensor: its name in the network, its shape in the file, and the file's axis behind each stored one."""

    name: str
    shape: Shape
    perm: Shape

    @property
    def stored(self) -> Shape:
        return tuple(self.shape[axis] for axis in self.perm)

    @property
    def is_plain(self) -> bool:
        return self.perm == tuple(range(len(self.perm)))

    def axis(self, axis: int) -> int:
        """Where the file's axis is stored."""
        return self.perm.index(axis % len(self.perm))


class OnnxGraph:
    """Turns nodes of the file into nodes of a network, one after the other."""

    def __init__(self, model: Any, name: str) -> None:
        self.graph, self.name = model.graph, name
        self.opsets = {opset.domain: opset.version for opset in model.opset_import}
        self.nodes: list[Node] = []
        self.values: dict[str, Value] = {}
        self.constants: dict[str, Shape] = {}
        self.folded: dict[str, NDArray[Any]] = {}
        self.shapes = self._shapes()
        self.names: Counter[str] = Counter()

    def read(self) -> Network:
        from .onnx_operations import convert

        images = {name for node in self.graph.node if node.op_type in _IMAGE_OPERATIONS for name in node.input[:1]}
        for value in self.graph.input:
            if value.name not in self.constants:
                shape = self.shape(value.name)
                perm = CHANNELS_LAST if len(shape) == 4 and value.name in images else tuple(range(len(shape)))
                self.values[value.name] = Value(value.name, shape, perm)
        inputs = {value.name: value.stored for value in self.values.values()}
        for node in self.graph.node:
            if not self._fold(node):
                if node.op_type in _ALIASES:
                    self.values[node.output[0]] = self.values[node.input[0]]
                else:
                    convert(self, node)
        outputs = dict.fromkeys(self.values[value.name].name for value in self.graph.output)
        return Network(self.name, tuple(self.nodes), inputs, tuple(outputs))

    def _shapes(self) -> dict[str, Shape]:
        """The shapes that are known; an open size is -1."""
        import onnx

        shapes = {}
        for value in (*self.graph.input, *self.graph.output, *self.graph.value_info):
            tensor = value.type.tensor_type
            if tensor.HasField("shape"):
                sizes = [size.dim_value if size.HasField("dim_value") else -1 for size in tensor.shape.dim]
                shapes[value.name] = tuple(sizes)
        for tensor in self.graph.initializer:
            shapes[tensor.name] = self.constants[tensor.name] = tuple(tensor.dims)
            if prod(tensor.dims) <= _LARGEST_FOLDED and (tensor.raw_data or not tensor.external_data):
                self.folded[tensor.name] = _array(onnx.numpy_helper, tensor)
        return shapes

    def shape(self, name: str) -> Shape:
        """Of a tensor of the file. Raises UserError where it is open."""
        shape = self.shapes.get(name)
        if shape is None or min(shape, default=1) < 0:
            said = "no known shape" if shape is None else f"the open shape {list(shape)}"
            raise UserError(f"the tensor {name!r} has {said}; where an input's size is open, {_FIX}")
        return shape

    def _fold(self, node: Any) -> bool:
        """Whether a node's outputs are constants; what they are, where they are small."""
        used = [name for name in node.input if name]
        is_shape = node.op_type == "Shape" and min(self.shapes.get(used[0], (-1,)), default=1) >= 0
        if not is_shape and not all(name in self.constants for name in used):
            return False
        for name in filter(None, node.output):
            self.constants[name] = self.shapes.get(name, ())
        if any(prod(self.constants[name]) > _LARGEST_FOLDED for name in node.output if name):
            return True
        if is_shape:
            feeds = {used[0]: np.empty(self.shapes[used[0]], dtype=np.bool_)}
        elif all(name in self.folded for name in used) and (used or node.op_type == "Constant"):
            feeds = {name: self.folded[name] for name in used}
        else:
            return True
        self._evaluate(node, feeds)
        return True

    def _evaluate(self, node: Any, feeds: dict[str, NDArray[Any]]) -> None:
        import onnx
        from onnx.reference import ReferenceEvaluator

        # The evaluator takes whole models alone where an operation has several versions.
        inputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in feeds]
        outputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in node.output]
        opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in self.opsets.items()]
        model = onnx.helper.make_model(onnx.helper.make_graph([node], "folded", inputs, outputs), opset_imports=opsets)
        try:
            results = ReferenceEvaluator(model).run(None, feeds)
        except Exception as error:  # whatever the evaluator's many operations raise
            raise UserError(f"{label(node)} cannot be computed from its constants: {error}") from error
        for name, result in zip(node.output, results, strict=True):
            array = np.asarray(result)
            self.constants[name] = array.shape
            if array.size <= _LARGEST_FOLDED:
                self.folded[name] = array

    def whole_numbers(self, node: Any, position: int) -> list[int] | None:
        """The constant input at this place; None where there is none. Raises UserError where it is computed."""
        if len(node.input) <= position or not node.input[position]:
            return None
        name = node.input[position]
        if name not in self.folded:
            raise UserError(f"{label(node)}: its input {name!r} is no constant; export the model with fixed shapes")
        return [int(value) for value in self.folded[name].reshape(-1)]

    def plain(self, value: Value) -> Value:
        """The tensor stored as the file has it, transposed where it is not."""
        if value.is_plain:
            return value
        return self._turned(value, tuple(range(len(value.perm))))

    def image(self, value: Value) -> Value:
        """The tensor stored channels last."""
        return value if value.perm == CHANNELS_LAST else self._turned(value, CHANNELS_LAST)

    def _turned(self, value: Value, perm: Shape) -> Value:
        made = Value(f"{value.name}/{'last' if perm == CHANNELS_LAST else 'plain'}", value.shape, perm)
        if made.name not in {name for node in self.nodes for name in node.outputs}:
            order = [value.perm.index(axis) for axis in perm]
            meant = glue("transpose", perm=order)
            inputs = [(value.name, value.stored)]
            self.nodes.append(node_of(meant, made.name, "Transpose", inputs, [(made.name, made.stored)]))
        return made

    def emit(
        self,
        node: Any,
        meant: Meant,
        inputs: list[Value | str],
        perm: Shape | None = None,
        *,
        output: int = 0,
        weights_apart: bool = False,
    ) -> None:
        """Appends a node that makes the file's output, stored in the order `perm`. A text is a constant's name."""
        name = node.output[output]
        shape = self.shape(name)
        made = Value(name, shape, tuple(range(len(shape))) if perm is None else perm)
        given: list[tuple[str | None, Shape]] = [
            (None, self._constant_shape(item, made)) if isinstance(item, str) else (item.name, item.stored)
            for item in inputs
        ]
        base = node.name or name
        self.names[base] += 1
        unique = base if self.names[base] == 1 else f"{base}#{self.names[base]}"
        outputs = [(name, made.stored)]
        self.nodes.append(node_of(meant, unique, node.op_type, given, outputs, weights_apart=weights_apart))
        self.values[name] = made

    def _constant_shape(self, name: str, made: Value) -> Shape:
        """A constant's shape in the order of the output that it is broadcast to."""
        shape = self.constants[name]
        if made.is_plain or len(shape) > len(made.perm):
            return shape
        full = (1,) * (len(made.perm) - len(shape)) + shape
        return tuple(full[axis] for axis in made.perm)


def label(node: Any) -> str:
    return f"{node.op_type} {node.name or node.output[0]!r}"


def _array(helper: Any, tensor: Any) -> NDArray[Any]:
    try:
        return np.asarray(helper.to_array(tensor))
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"the constant {tensor.name!r} is damaged: {error}") from error
