"""Readers of model files: what a graph amounts to, what is fused, and what is said of files that are none."""

from __future__ import annotations

import contextlib
import json
import tomllib
from collections import Counter
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from splitfleet.kernels import Network, UserError
from splitfleet.kernels.readers import read_network
from splitfleet.pipeline.layers import LAYER_TYPES

from .tflite_files import Operation, Tensor, small_network, tflite_bytes

EXAMPLES = Path(__file__).parents[2] / "examples"


def made_with(
    nodes: list[Any],
    shape: list[Any] | None = None,
    weights: dict[str, tuple[int, ...]] | None = None,
    numbers: dict[str, list[int]] | None = None,
) -> bytes:
    """An ONNX model of nodes from tensor `x` to tensor `y`."""
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape or [1, 8, 16, 16])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    arrays = {name: np.zeros(sizes, dtype=np.float32) for name, sizes in (weights or {}).items()}
    arrays |= {name: np.array(values, dtype=np.int64) for name, values in (numbers or {}).items()}
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "made", [image], [output], constants)
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString())


def read(data: bytes, folder: Path, name: str = "made.onnx") -> Network:
    path = folder / name
    path.write_bytes(data)
    network = read_network(path)
    assert Network.from_json(json.loads(json.dumps(network.to_json()))) == network
    return network


def node(kind: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


@pytest.fixture(scope="module")
def networks() -> ModuleType:
    spec = spec_from_file_location("networks", EXAMPLES / "networks.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2", "vit_b16"])
def test_the_three_networks_have_the_layers_of_the_campaigns(name: str, networks: ModuleType, tmp_path: Path) -> None:
    network = read(networks.NETWORKS[name]().SerializeToString(), tmp_path, f"{name}.onnx")
    listed = Counter[str]()
    for layer in tomllib.loads((EXAMPLES / f"{name}.toml").read_text("utf-8"))["layers"]:
        listed[LAYER_TYPES[layer["type"]].model_validate(layer).operator.label] += layer["count"]
    labels = Counter(operator.label for operator in network.operators)
    if name == "vit_b16":  # the campaign has its layers without what the graph adds
        labels = Counter(label.removesuffix(",epilogue=add") for label in labels.elements())
    assert labels == listed
    assert not [node for node in network.nodes if node.kind == "other"]


def test_a_transformer_keeps_its_glue_in_order(networks: ModuleType, tmp_path: Path) -> None:
    network = read(networks.vit_b16().SerializeToString(), tmp_path, "vit.onnx")
    kinds = Counter(node.kind for node in network.nodes)
    assert (kinds["softmax"], kinds["layer_norm"], kinds["gelu"], kinds["matmul"]) == (12, 25, 12, 24)
    assert network.inputs == {"image": (1, 224, 224, 3)}
    by_name = {node.name: node for node in network.nodes}
    projection = by_name["blocks.0.attn.proj"]
    assert projection.operator is not None
    assert projection.operator.epilogue_name == "add"
    assert network.producers[projection.inputs[1]].kind == "add"  # the position's, before the first block
    scores = next(node for node in network.nodes if node.kind == "matmul")
    assert (scores.output_shape, scores.flops) == ((1, 12, 197, 197), 2 * 12 * 197 * 197 * 64)
    # The patches are stored as the convolution leaves them: nothing is moved.
    first = next(node for node in network.nodes if node.kind == "transpose")
    assert (first.output_shape, first.attributes["perm"]) == ((1, 196, 768), [0, 1, 2])


def test_a_tflite_file_is_read_with_what_the_delegate_fuses(tmp_path: Path) -> None:
    network = read(small_network(), tmp_path, "small.tflite")
    assert [(node.type, node.kind) for node in network.nodes] == [
        ("CONV_2D", "conv2d"),
        ("DEPTHWISE_CONV_2D", "depthwise_conv2d"),
        ("CONV_2D", "conv2d"),
        ("MEAN", "pool2d"),
        ("FULLY_CONNECTED", "linear"),
        ("WhoKnows", "other"),
        ("SOFTMAX", "softmax"),
    ]
    assert [operator.label for operator in network.operators] == [
        "conv2d:h=16,w=16,in=8,out=16,k=3,stride=2,pad=1,epilogue=relu",
        "depthwise:h=8,w=8,c=16,k=3,stride=1,pad=1,epilogue=relu6",
        "conv2d:h=8,w=8,in=16,out=16,k=1,stride=1,pad=0,epilogue=add_relu",
        "avgpool:h=8,w=8,c=16,k=8,stride=1,pad=0",
        "linear:rows=1,in=16,out=12",
    ]
    first, _, point = network.nodes[:3]
    assert first.attributes["pads"] == [0, 1, 0, 1]  # of the file; the operator's are even
    assert point.inputs[1] == first.outputs[0]
    assert network.outputs == ("probabilities",)


@pytest.mark.parametrize(
    ("nodes", "weights", "epilogues", "kinds"),
    [
        ([node("Conv", "x w", "a"), node("Relu", "a", "y")], {"w": (8, 8, 1, 1)}, ["relu"], []),
        ([node("Conv", "x w", "a"), node("Add", "a x", "y")], {"w": (8, 8, 1, 1)}, ["add"], []),
        # What is used twice stays.
        (
            [node("Conv", "x w", "a"), node("Relu", "a", "b"), node("Add", "a b", "y")],
            {"w": (8, 8, 1, 1)},
            ["none"],
            ["relu", "add"],
        ),
        # A sum after a ReLU is none of the epilogues, nor is one that is broadcast.
        (
            [node("Conv", "x w", "a"), node("Relu", "a", "b"), node("Add", "b x", "y")],
            {"w": (8, 8, 1, 1)},
            ["relu"],
            ["add"],
        ),
        (
            [node("Conv", "x w", "a"), node("GlobalAveragePool", "x", "b"), node("Add", "a b", "y")],
            {"w": (8, 8, 1, 1)},
            ["none", "none"],
            ["add"],
        ),
        # A bias, and a batch normalisation, are part of the convolution.
        (
            [node("Conv", "x w", "a"), node("Add", "a b", "c"), node("Relu", "c", "y")],
            {"w": (8, 8, 1, 1), "b": (8, 1, 1)},
            ["relu"],
            [],
        ),
        (
            [node("Conv", "x w", "a"), node("BatchNormalization", "a s s s s", "b"), node("Relu", "b", "y")],
            {"w": (8, 8, 1, 1), "s": (8,)},
            ["relu"],
            [],
        ),
    ],
)
def test_fusion(
    nodes: list[Any], weights: dict[str, tuple[int, ...]], epilogues: list[str], kinds: list[str], tmp_path: Path
) -> None:
    network = read(made_with(nodes, weights=weights), tmp_path)
    assert [operator.epilogue_name for operator in network.operators] == epilogues
    assert [node.kind for node in network.nodes if node.operator is None] == kinds


@pytest.mark.parametrize(
    ("attributes", "weights", "label", "reason"),
    [
        ({"strides": [2, 2], "pads": [0, 0, 1, 1]}, (4, 8, 3, 3), "conv2d:h=16,w=16,in=8,out=4,k=3,stride=2,pad=1", ""),
        ({"auto_pad": "SAME_UPPER"}, (4, 8, 3, 3), "conv2d:h=16,w=16,in=8,out=4,k=3,stride=1,pad=1", ""),
        ({"group": 8}, (8, 1, 3, 3), "depthwise:h=16,w=16,c=8,k=3,stride=1,pad=0", ""),
        ({"group": 2}, (8, 4, 3, 3), "", "a convolution in 2 groups"),
        ({"group": 8}, (16, 1, 3, 3), "", "a convolution in 8 groups"),
        ({"dilations": [2, 2]}, (4, 8, 3, 3), "", "dilation 2 x 2"),
        ({"strides": [1, 2]}, (4, 8, 3, 3), "", "strides 1 x 2"),
        ({"pads": [0, 0, 3, 0]}, (4, 8, 3, 3), "", r"padding [0, 3, 0, 0] (top, bottom, left, right)"),
    ],
)
def test_convolutions(
    attributes: dict[str, Any], weights: tuple[int, ...], label: str, reason: str, tmp_path: Path
) -> None:
    [only] = read(made_with([node("Conv", "x w", "y", **attributes)], weights={"w": weights}), tmp_path).nodes
    assert (only.operator.label if only.operator else "") == label
    assert only.attributes.get("reason", "") == reason
    assert only.flops > 0


def test_what_only_computes_a_shape_is_no_node(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "batch"),
        node("Concat", "batch rest", "target", axis=0),
        node("Reshape", "x target", "y"),
    ]
    network = read(made_with(nodes, numbers={"zero": [0], "rest": [-1, 16]}), tmp_path)
    [only] = network.nodes
    assert (only.kind, only.output_shape) == ("reshape", (1, 128, 16))


def test_channels_first_is_restored_where_the_order_counts(tmp_path: Path) -> None:
    """Flattening an image of several pixels: its values are needed in the file's order."""
    nodes = [node("Conv", "x w", "a"), node("Flatten", "a", "b"), node("Gemm", "b v", "y", transB=1)]
    network = read(made_with(nodes, weights={"w": (4, 8, 1, 1), "v": (10, 1024)}), tmp_path)
    assert [node.kind for node in network.nodes] == ["conv2d", "transpose", "reshape", "linear"]
    assert network.nodes[1].attributes["perm"] == [0, 3, 1, 2]


def test_axes_are_those_of_the_stored_tensor(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x w", "a"),
        node("Concat", "a x", "b", axis=1),
        helper.make_node("Split", ["b", "parts"], ["c", "d"], axis=1),
        node("Pad", "c pads", "e"),
        node("ReduceMean", "e axes", "f", keepdims=0),
        node("Softmax", "f", "g", axis=1),
        node("Slice", "d first last axis", "h"),
        node("Mul", "h g2", "i"),
        node("Unsqueeze", "g axes", "g2"),
    ]
    order = [*nodes[:7], nodes[8], helper.make_node("Mul", ["h", "g2"], ["y"])]
    numbers = {
        "parts": [4, 8], "pads": [0, 0, 1, 2, 0, 0, 1, 2], "axes": [2, 3], "first": [0], "last": [4], "axis": [1],
    }  # fmt: skip
    network = read(made_with(order, weights={"w": (4, 8, 1, 1)}, numbers=numbers), tmp_path)
    by_kind = {node.kind: node for node in network.nodes}
    assert by_kind["concat"].attributes["axis"] == 3
    assert by_kind["pad"].attributes["pads"] == [[0, 0], [1, 1], [2, 2], [0, 0]]
    assert by_kind["softmax"].attributes["axis"] == 1
    assert by_kind["slice"].attributes["stops"] == [1, 16, 16, 4]
    assert by_kind["pool2d"].output_shape == (1, 4)


def test_an_open_batch_is_one_and_another_open_size_is_named(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "y")]
    assert read(made_with(nodes, ["N", 8, 4, 4]), tmp_path).inputs == {"x": (1, 8, 4, 4)}
    with pytest.raises(UserError, match=r"made.onnx: the input 'x' has an open size \(side\) at axis 2; fix it"):
        read(made_with(nodes, ["N", 8, "side", 4]), tmp_path)
    with pytest.raises(UserError, match=r"the tensor 'y' has no known shape"):
        read(made_with([node("NonZero", "x", "y")]), tmp_path)
    tensors = [Tensor("x", [1, 1, 4], signature=[-1, -1, 4]), Tensor("y", [1, 1, 4])]
    data = tflite_bytes(tensors, [Operation("RELU", ["x"], ["y"])], ["x"], ["y"])
    with pytest.raises(UserError, match=r"open.tflite: the input 'x' has the open shape \[-1, -1, 4\]; convert"):
        read(data, tmp_path, "open.tflite")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("m.txt", b"", "whose name ends in .tflite or .onnx"),
        ("m.tflite", b"", "no TensorFlow Lite model"),
        ("m.tflite", b"x" * 99, "no TensorFlow Lite model"),
        ("m.tflite", b"\xff\xff\xff\x7fTFL3" + b"\xff" * 40, "damaged TensorFlow Lite model"),
        ("m.onnx", b"", "no ONNX model"),
        ("m.onnx", b"hello, this is a text", "no ONNX model"),
        (
            "m.onnx",
            made_with([node("Conv", "x w", "y")], weights={"w": (4, 7, 3, 3)}),
            "m.onnx: Conv 'y': its weights take 7 channels, its input has 8",
        ),
        ("m.onnx", made_with([node("Relu", "z", "y")]), "nothing makes its input 'z'|no known shape"),
    ],
)
def test_what_is_no_model_is_told(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read(data, tmp_path, name)
    with pytest.raises(UserError, match="cannot be read"):
        read_network(tmp_path / "absent.onnx")


SMALL = {
    "a.tflite": small_network,
    "a.onnx": lambda: made_with([node("Conv", "x w", "a"), node("Relu", "a", "y")], weights={"w": (4, 8, 3, 3)}),
}


@pytest.mark.parametrize("name", SMALL)
@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_told_or_harmless(name: str, data: st.DataObject, tmp_path: Path) -> None:
    whole = bytearray(SMALL[name]())
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / name
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)) | st.just(len(whole)))])
    with contextlib.suppress(UserError):
        assert read_network(path).nodes


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_formats_give_the_same_operators(data: st.DataObject, tmp_path: Path) -> None:
    """A chain of convolutions, written in either format."""
    side = data.draw(st.integers(8, 40))
    nodes, tensors, operations, weights = [], [], [], {}
    shape = [1, side, side, data.draw(st.integers(1, 12))]
    first = list(shape)
    tensors.append(Tensor("x", first))
    source = "x"
    count = data.draw(st.integers(1, 3))
    for index in range(count):
        kernel, stride = data.draw(st.sampled_from([1, 3, 5])), data.draw(st.integers(1, 2))
        channels, activation = data.draw(st.integers(1, 12)), data.draw(st.sampled_from([0, 1]))
        name = "y" if index == count - 1 else f"t{index}"
        before = name + "/sum" if activation else name
        weights[f"w{index}"] = (channels, shape[3], kernel, kernel)
        nodes.append(node("Conv", f"{source} w{index}", before, strides=[stride, stride], auto_pad="SAME_UPPER"))
        if activation:
            nodes.append(node("Relu", before, name))
        tensors.append(Tensor(f"w{index}", [channels, kernel, kernel, shape[3]], np.zeros(1, dtype=np.float32)))
        shape = [1, -(-shape[1] // stride), -(-shape[2] // stride), channels]
        tensors.append(Tensor(name, shape))
        options = {"Padding": 0, "StrideW": stride, "StrideH": stride, "FusedActivationFunction": activation}
        operations.append(Operation("CONV_2D", [source, f"w{index}"], [name], "Conv2DOptions", options))
        source = name
    one = read(made_with(nodes, [first[0], first[3], *first[1:3]], weights), tmp_path, "one.onnx")
    other = read(tflite_bytes(tensors, operations, ["x"], ["y"]), tmp_path, "other.tflite")
    assert one.operators == other.operators
    assert [node.output_shapes for node in one.nodes] == [node.output_shapes for node in other.nodes]


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from splitfleet.kernels import readers

    hidden: Callable[[str], None] = lambda name: None  # noqa: E731
    monkeypatch.setattr(readers, "find_spec", hidden)
    with pytest.raises(UserError, match=r"needs the package onnx: pip install 'splitfleet\[models\]'"):
        read_network(tmp_path / "m.onnx")
    assert onnx.__name__ == "onnx"
