"""Writes small .tflite files: tensors, some of them constants, and operations in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite


@dataclass(frozen=True)
class Tensor:
    """An activation, or with `data` a constant. `signature` has -1 for open sizes."""

    name: str
    shape: Sequence[int]
    data: Any = None
    signature: Sequence[int] = ()


@dataclass(frozen=True)
class Operation:
    """`options` gives the options' fields by name; their table is `kind`."""

    code: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    kind: str = ""
    options: dict[str, int] = field(default_factory=dict)


def tflite_bytes(
    tensors: Sequence[Tensor], operations: Sequence[Operation], inputs: Sequence[str], outputs: Sequence[str]
) -> bytes:
    b = flatbuffers.Builder(1024)
    place = {tensor.name: index for index, tensor in enumerate(tensors)}
    buffers = [_buffer(b, None)]
    written = []
    for tensor in tensors:
        number = 0
        if tensor.data is not None:
            number = len(buffers)
            buffers.append(_buffer(b, tensor.data))
        written.append(_tensor(b, tensor, number))
    codes = list(dict.fromkeys(operation.code for operation in operations))
    code_tables = [_code(b, code) for code in codes]
    of = {code: index for index, code in enumerate(codes)}
    made = [_operation(b, operation, of[operation.code], place) for operation in operations]
    graph = [
        ("Tensors", _offsets(b, tflite.SubGraphStartTensorsVector, written)),
        ("Inputs", _numbers(b, tflite.SubGraphStartInputsVector, [place[name] for name in inputs])),
        ("Outputs", _numbers(b, tflite.SubGraphStartOutputsVector, [place[name] for name in outputs])),
        ("Operators", _offsets(b, tflite.SubGraphStartOperatorsVector, made)),
    ]
    subgraph = _table(b, "SubGraph", graph)
    model = [
        ("Version", 3),
        ("OperatorCodes", _offsets(b, tflite.ModelStartOperatorCodesVector, code_tables)),
        ("Subgraphs", _offsets(b, tflite.ModelStartSubgraphsVector, [subgraph])),
        ("Buffers", _offsets(b, tflite.ModelStartBuffersVector, buffers)),
    ]
    b.Finish(_table(b, "Model", model), file_identifier=b"TFL3")
    return bytes(b.Output())


def _table(b: Any, kind: str, fields: Sequence[tuple[str, int]]) -> int:
    getattr(tflite, f"{kind}Start")(b)
    for name, value in fields:
        getattr(tflite, f"{kind}Add{name}")(b, value)
    return int(getattr(tflite, f"{kind}End")(b))


def _offsets(b: Any, start: Callable[[Any, int], Any], offsets: Sequence[int]) -> int:
    start(b, len(offsets))
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())


def _numbers(b: Any, start: Callable[[Any, int], Any], numbers: Sequence[int]) -> int:
    start(b, len(numbers))
    for number in reversed(numbers):
        b.PrependInt32(number)
    return int(b.EndVector())


def _buffer(b: Any, data: Any) -> int:
    if data is None:
        return _table(b, "Buffer", [])
    return _table(b, "Buffer", [("Data", b.CreateNumpyVector(np.asarray(data).view(np.uint8).reshape(-1)))])


def _tensor(b: Any, tensor: Tensor, buffer: int) -> int:
    is_index = tensor.data is not None and np.asarray(tensor.data).dtype == np.int32
    kind = tflite.TensorType.INT32 if is_index else tflite.TensorType.FLOAT32
    shape = _numbers(b, tflite.TensorStartShapeVector, tensor.shape)
    fields = [("Shape", shape), ("Type", kind), ("Buffer", buffer), ("Name", b.CreateString(tensor.name))]
    if tensor.signature:
        fields.append(("ShapeSignature", _numbers(b, tflite.TensorStartShapeSignatureVector, tensor.signature)))
    return _table(b, "Tensor", fields)


def _code(b: Any, code: str) -> int:
    number = getattr(tflite.BuiltinOperator, code, None)
    if number is None:
        number, more = tflite.BuiltinOperator.CUSTOM, [("CustomCode", b.CreateString(code))]
    else:
        more = []
    return _table(b, "OperatorCode", [("BuiltinCode", number), ("DeprecatedBuiltinCode", min(number, 127)), *more])


def _operation(b: Any, operation: Operation, code: int, place: dict[str, int]) -> int:
    inputs = _numbers(b, tflite.OperatorStartInputsVector, [place[name] for name in operation.inputs])
    outputs = _numbers(b, tflite.OperatorStartOutputsVector, [place[name] for name in operation.outputs])
    fields = [("OpcodeIndex", code), ("Inputs", inputs), ("Outputs", outputs)]
    if operation.kind:
        options = _table(b, operation.kind, list(operation.options.items()))
        kind = getattr(tflite.BuiltinOptions, operation.kind)
        fields += [("BuiltinOptionsType", kind), ("BuiltinOptions", options)]
    return _table(b, "Operator", fields)


def small_network() -> bytes:
    """An image of 16 x 16 x 8 through a convolution, a depthwise and a pointwise one with a shortcut, mean and scores.

    The depthwise one pads by a layer before it; the mean's axes are a constant.
    """
    weights = np.zeros((16, 3, 3, 8), dtype=np.float32)
    tensors = [
        Tensor("image", [1, 16, 16, 8], signature=[-1, 16, 16, 8]),
        Tensor("conv/w", weights.shape, weights),
        Tensor("conv", [1, 8, 8, 16]),
        Tensor("pads", [4, 2], np.array([[0, 0], [1, 1], [1, 1], [0, 0]], dtype=np.int32)),
        Tensor("padded", [1, 10, 10, 16]),
        Tensor("depthwise/w", [1, 3, 3, 16], np.zeros(144, dtype=np.float32)),
        Tensor("depthwise", [1, 8, 8, 16]),
        Tensor("point/w", [16, 1, 1, 16], np.zeros(256, dtype=np.float32)),
        Tensor("point", [1, 8, 8, 16]),
        Tensor("sum", [1, 8, 8, 16]),
        Tensor("axes", [2], np.array([1, 2], dtype=np.int32)),
        Tensor("mean", [1, 16]),
        Tensor("fc/w", [12, 16], np.zeros(192, dtype=np.float32)),
        Tensor("scores", [1, 12]),
        Tensor("odd", [1, 12]),
        Tensor("probabilities", [1, 12]),
    ]
    same, valid, relu, relu6 = 0, 1, 1, 3
    operations = [
        Operation(
            "CONV_2D", ["image", "conv/w"], ["conv"], "Conv2DOptions",
            {"Padding": same, "StrideW": 2, "StrideH": 2, "FusedActivationFunction": relu},
        ),
        Operation("PAD", ["conv", "pads"], ["padded"]),
        Operation(
            "DEPTHWISE_CONV_2D", ["padded", "depthwise/w"], ["depthwise"], "DepthwiseConv2DOptions",
            {"Padding": valid, "StrideW": 1, "StrideH": 1, "DepthMultiplier": 1, "FusedActivationFunction": relu6},
        ),
        Operation(
            "CONV_2D", ["depthwise", "point/w"], ["point"], "Conv2DOptions",
            {"Padding": same, "StrideW": 1, "StrideH": 1},
        ),
        Operation("ADD", ["conv", "point"], ["sum"], "AddOptions", {"FusedActivationFunction": relu}),
        Operation("MEAN", ["sum", "axes"], ["mean"], "ReducerOptions", {"KeepDims": 0}),
        Operation("FULLY_CONNECTED", ["mean", "fc/w"], ["scores"], "FullyConnectedOptions"),
        Operation("WhoKnows", ["scores"], ["odd"]),
        Operation("SOFTMAX", ["odd"], ["probabilities"], "SoftmaxOptions"),
    ]  # fmt: skip
    return tflite_bytes(tensors, operations, ["image"], ["probabilities"])
