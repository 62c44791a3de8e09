"""Reads .tflite files: flatbuffers whose tensors are channels last already."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.network import Network, Node

from .fusion import fuse
from .parts import Meant, Shape, Window, convolution, glue, linear, mean, node_of, other, pooling, same_padding, sliced

_IDENTIFIER = b"TFL3"
_LEAST_BYTES = 16
_ACTIVATIONS = {0: None, 1: "relu", 3: "relu6"}  # ActivationFunctionType; the others become a node of kind `other`
_VALID = 1  # Padding; 0 is SAME


def read_tflite(path: Path) -> Network:
    """The first subgraph of a file. Raises UserError for a file that is no model, or damaged."""
    data = path.read_bytes()
    if len(data) < _LEAST_BYTES or data[4:8] != _IDENTIFIER:
        raise UserError("no TensorFlow Lite model: its bytes 4 to 8 are not TFL3")
    import tflite

    # flatbuffers in Python checks no offset: a damaged file makes it raise whatever reading elsewhere brings.
    try:
        model = tflite.Model.GetRootAs(data, 0)
        if not model.SubgraphsLength():
            raise UserError("the model has no graph")
        nodes, inputs, outputs = _Graph(model, len(data)).read()
    except (
        struct.error, IndexError, TypeError, ValueError, KeyError, AttributeError, OverflowError, MemoryError,
        RecursionError, ZeroDivisionError,
    ) as error:  # fmt: skip
        raise UserError(f"a damaged TensorFlow Lite model ({type(error).__name__}: {error})") from error
    return fuse(Network(path.stem, tuple(nodes), inputs, outputs))


@dataclass(frozen=True)
class _Operation:
    """One operation with what its handler asks for: tensors' numbers, shapes, and the values of constants."""

    type: str
    inputs: list[int]
    outputs: list[int]
    shapes: list[Shape]
    target: Shape
    options: Callable[[Any], Any]
    values: Callable[[int], NDArray[Any]]
    is_constant: Callable[[int], bool]


class _Graph:
    def __init__(self, model: Any, size: int) -> None:
        import tflite

        self.model, self.size, self.graph = model, size, model.Subgraphs(0)
        self.names_of_codes = {
            value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)
        }
        self.tensors = [self.graph.Tensors(index) for index in range(self.count(self.graph.TensorsLength()))]
        self.names = self._names()
        self.shapes = [self._shape(tensor) for tensor in self.tensors]
        self.constants: set[int] = {
            index for index, tensor in enumerate(self.tensors) if self._buffer(tensor) is not None
        }

    def count(self, length: int) -> int:
        """A vector's length, which a damaged file may make a billion."""
        if length > self.size:
            raise UserError("a damaged TensorFlow Lite model: a list longer than the file")
        return length

    def read(self) -> tuple[list[Node], dict[str, Shape], tuple[str, ...]]:
        inputs = [self.graph.Inputs(index) for index in range(self.count(self.graph.InputsLength()))]
        outputs = [self.graph.Outputs(index) for index in range(self.count(self.graph.OutputsLength()))]
        for index in inputs:
            self._check_signature(index)
        nodes: list[Node] = []
        for index in range(self.count(self.graph.OperatorsLength())):
            nodes += self._nodes(index, self.graph.Operators(index))
        made = {self.names[index]: self.shapes[index] for index in inputs}
        return nodes, made, tuple(self.names[index] for index in outputs)

    def _names(self) -> list[str]:
        """The tensors' names; one that is empty or there already gets its number."""
        names: list[str] = []
        seen: set[str] = set()
        for index, tensor in enumerate(self.tensors):
            name = (tensor.Name() or b"").decode("utf-8", "replace")
            names.append(name if name and name not in seen else f"{name}#{index}")
            seen.add(names[-1])
        return names

    def _shape(self, tensor: Any) -> Shape:
        return tuple(int(tensor.Shape(axis)) for axis in range(self.count(tensor.ShapeLength())))

    def _check_signature(self, index: int) -> None:
        """With an open size other than the batch's, no shape in the file holds: each has 1 in its place."""
        tensor = self.tensors[index]
        sizes = [int(tensor.ShapeSignature(axis)) for axis in range(self.count(tensor.ShapeSignatureLength()))]
        if any(size < 0 for size in sizes[1:]):
            raise UserError(
                f"the input {self.names[index]!r} has the open shape {sizes}; convert the model again with a fixed one "
                "(tf.lite.TFLiteConverter.from_concrete_functions with a tf.TensorSpec of the sizes to predict)"
            )

    def _buffer(self, tensor: Any) -> Any:
        """A tensor's buffer where it holds data."""
        number = tensor.Buffer()
        if not 0 < number < self.model.BuffersLength():
            return None
        buffer = self.model.Buffers(number)
        return buffer if buffer.DataLength() else None

    def values(self, index: int) -> NDArray[Any]:
        """A constant tensor of whole numbers, as axes or paddings are."""
        buffer = self._buffer(self.tensors[index])
        kind = {2: np.int32, 4: np.int64}.get(self.tensors[index].Type())
        if buffer is None or kind is None:
            raise UserError(f"the tensor {self.names[index]!r} is no constant of whole numbers")
        return np.asarray(buffer.DataAsNumpy()).view(kind).reshape(self.shapes[index])

    def _type(self, operator: Any) -> str:
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        number = code.BuiltinCode()
        if number == self._custom:
            return str(code.CustomCode() or b"CUSTOM", "utf-8", "replace")
        return str(self.names_of_codes.get(number, f"operation {number}"))

    @property
    def _custom(self) -> int:
        import tflite

        return int(tflite.BuiltinOperator.CUSTOM)

    def _nodes(self, number: int, operator: Any) -> list[Node]:
        inputs = [operator.Inputs(index) for index in range(self.count(operator.InputsLength()))]
        outputs = [operator.Outputs(index) for index in range(self.count(operator.OutputsLength()))]
        used = [index for index in inputs if index >= 0]
        if used and all(index in self.constants for index in used):
            self.constants.update(outputs)  # as DEQUANTIZE of weights that are kept in 16 bits
            return []
        type_ = self._type(operator)
        operation = _Operation(
            type_,
            inputs,
            outputs,
            [self.shapes[index] if index >= 0 else () for index in inputs],
            self.shapes[outputs[0]],
            lambda kind: _options(operator, kind),
            self.values,
            lambda index: index in self.constants,
        )
        name = f"{number}:{self.names[outputs[0]]}"
        return self._made(operation, name)

    def _made(self, operation: _Operation, name: str) -> list[Node]:
        if operation.type in ("SPLIT", "SPLIT_V"):
            return self._split(operation, name)
        handler = HANDLERS.get(operation.type)
        meant, activation = handler(operation) if handler else (other("not known here"), None)
        outputs = [(self.names[index], self.shapes[index]) for index in operation.outputs]
        inputs = [self._input(index) for index in operation.inputs if index >= 0]
        parameters = _PARAMETERS.get(operation.type, len(inputs))
        if activation is None:
            return [node_of(meant, name, operation.type, inputs[:parameters], outputs)]
        between = f"{name}/before {activation}"
        first = node_of(meant, name, operation.type, inputs[:parameters], [(between, outputs[0][1])])
        after = glue(activation) if activation in ("relu", "relu6") else other(f"the activation {activation}")
        return [first, node_of(after, between, operation.type, [(between, outputs[0][1])], outputs)]

    def _input(self, index: int) -> tuple[str | None, Shape]:
        return (None if index in self.constants else self.names[index]), self.shapes[index]

    def _split(self, operation: _Operation, name: str) -> list[Node]:
        """A slice for each part."""
        at, source = (1, 0) if operation.type == "SPLIT_V" else (0, 1)
        axis = int(operation.values(operation.inputs[2 if at else 0]).reshape(-1)[0])
        sizes = operation.shapes[source]
        axis %= len(sizes)
        nodes, start = [], 0
        for part, output in enumerate(operation.outputs):
            stop = start + self.shapes[output][axis]
            meant = sliced(sizes, {axis: (start, stop, 1)})
            outputs = [(self.names[output], self.shapes[output])]
            inputs = [self._input(operation.inputs[source])]
            nodes.append(node_of(meant, f"{name}/{part}", operation.type, inputs, outputs))
            start = stop
        return nodes


def _options(operator: Any, kind: Any) -> Any:
    table = operator.BuiltinOptions()
    if table is None:
        raise UserError(f"an operation lacks its {kind.__name__}")
    found = kind()
    found.Init(table.Bytes, table.Pos)
    return found


def _activation(options: Any) -> str | None:
    number = options.FusedActivationFunction()
    return _ACTIVATIONS.get(number, f"number {number}")


_Handler = Callable[[_Operation], tuple[Meant, str | None]]


def _conv(operation: _Operation) -> tuple[Meant, str | None]:
    import tflite

    depthwise = operation.type == "DEPTHWISE_CONV_2D"
    options = operation.options(tflite.DepthwiseConv2DOptions if depthwise else tflite.Conv2DOptions)
    source, weights = operation.shapes[:2]
    strides = (options.StrideH(), options.StrideW())
    dilations = (options.DilationHFactor(), options.DilationWFactor())
    window = _padded(source, Window((weights[1], weights[2]), strides, dilations), options)
    groups = source[3] if depthwise else source[3] // weights[3]
    if not depthwise and groups * weights[3] != source[3]:
        raise UserError(f"{operation.type}: its weights take {weights[3]} channels, its input has {source[3]}")
    return convolution(source, operation.target, window, groups), _activation(options)


def _pool(operation: _Operation) -> tuple[Meant, str | None]:
    import tflite

    options = operation.options(tflite.Pool2DOptions)
    kernel, strides = (options.FilterHeight(), options.FilterWidth()), (options.StrideH(), options.StrideW())
    window = _padded(operation.shapes[0], Window(kernel, strides), options)
    mode = "max" if operation.type == "MAX_POOL_2D" else "avg"
    return pooling(mode, operation.shapes[0], operation.target, window), _activation(options)


def _padded(source: Shape, window: Window, options: Any) -> Window:
    if options.Padding() == _VALID:
        return window
    pads = same_padding((source[1], source[2]), window)
    return Window(window.kernel, window.strides, window.dilations, pads)


def _fully_connected(operation: _Operation) -> tuple[Meant, str | None]:
    import tflite

    if not operation.is_constant(operation.inputs[1]):
        return other("its weights are computed"), None
    out_features, in_features = operation.shapes[1]
    activation = _activation(operation.options(tflite.FullyConnectedOptions))
    return linear(operation.shapes[0], in_features, out_features), activation


def _matmul(operation: _Operation) -> tuple[Meant, str | None]:
    import tflite

    options = operation.options(tflite.BatchMatMulOptions)
    if options.AdjX():
        return other("its first input is transposed"), None
    source, weights = operation.shapes
    if operation.is_constant(operation.inputs[1]) and len(weights) == 2:
        return linear(source, source[-1], operation.target[-1]), None
    return glue("matmul", transpose_b=bool(options.AdjY())), None


def _binary(operation: _Operation) -> tuple[Meant, str | None]:
    import tflite

    kinds = {"ADD": tflite.AddOptions, "SUB": tflite.SubOptions, "MUL": tflite.MulOptions, "DIV": tflite.DivOptions}
    return glue(operation.type.lower()), _activation(operation.options(kinds[operation.type]))


def _mean(operation: _Operation) -> tuple[Meant, str | None]:
    import tflite

    rank = len(operation.shapes[0])
    axes = sorted({int(axis) % rank for axis in operation.values(operation.inputs[1]).reshape(-1)})
    return mean(operation.shapes[0], axes, bool(operation.options(tflite.ReducerOptions).KeepDims())), None


def _concatenation(operation: _Operation) -> tuple[Meant, str | None]:
    import tflite

    options = operation.options(tflite.ConcatenationOptions)
    return glue("concat", axis=options.Axis() % len(operation.target)), _activation(options)


def _slice(operation: _Operation) -> tuple[Meant, str | None]:
    starts, sizes = (operation.values(index).reshape(-1) for index in operation.inputs[1:3])
    source = operation.shapes[0]
    ranges = {
        axis: (int(start), int(start + size) if size >= 0 else source[axis], 1)
        for axis, (start, size) in enumerate(zip(starts, sizes, strict=True))
    }
    return sliced(source, ranges), None


def _pad(operation: _Operation) -> tuple[Meant, str | None]:
    return glue("pad", pads=operation.values(operation.inputs[1]).reshape(-1, 2).tolist()), None


def _transpose(operation: _Operation) -> tuple[Meant, str | None]:
    return glue("transpose", perm=operation.values(operation.inputs[1]).reshape(-1).tolist()), None


def _gelu(operation: _Operation) -> tuple[Meant, str | None]:
    import tflite

    return glue("gelu", approximate="tanh" if operation.options(tflite.GeluOptions).Approximate() else "none"), None


def _plain(kind: str, **attributes: Any) -> _Handler:
    return lambda operation: (glue(kind, **attributes), None)


HANDLERS: dict[str, _Handler] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _conv,
    "MAX_POOL_2D": _pool,
    "AVERAGE_POOL_2D": _pool,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _matmul,
    **dict.fromkeys(("ADD", "SUB", "MUL", "DIV"), _binary),
    "MEAN": _mean,
    "CONCATENATION": _concatenation,
    "SLICE": _slice,
    "PAD": _pad,
    "TRANSPOSE": _transpose,
    "GELU": _gelu,
    "SOFTMAX": lambda operation: (glue("softmax", axis=len(operation.target) - 1), None),
    **{
        name: _plain(kind)
        for name, kind in {
            "RESHAPE": "reshape", "SQUEEZE": "reshape", "EXPAND_DIMS": "reshape", "RELU": "relu", "RELU6": "relu6",
            "LOGISTIC": "sigmoid", "TANH": "tanh", "HARD_SWISH": "hard_swish", "EXP": "exp", "SQRT": "sqrt",
            "POW": "pow", "QUANTIZE": "identity", "DEQUANTIZE": "identity", "CAST": "identity",
        }.items()
    },
}  # fmt: skip
_PARAMETERS = dict.fromkeys(
    ("MEAN", "SLICE", "PAD", "TRANSPOSE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "CONV_2D", "DEPTHWISE_CONV_2D",
     "FULLY_CONNECTED"), 1,
)  # fmt: skip
"""Of these only the first input is data: the others are weights, or say what to do."""
