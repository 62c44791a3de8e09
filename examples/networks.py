"""Writes ResNet-50, MobileNetV2 and ViT-B/16 as .onnx files: python examples/networks.py FOLDER

Batch 1, 224 x 224, in evaluation mode. The weights are random and drawn when the model is run (RandomNormal), so a file
has a few kilobytes. Sources of the graphs: torchvision.models.resnet50 and mobilenet_v2 with batch normalisation folded
into the convolutions; Dosovitskiy et al., "An Image is Worth 16x16 Words" (2020), with one linear layer for Q, K and V.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper, save

OPSET = 20  # the first with Gelu


class Graph:
    """Appends nodes; each method returns the name of the tensor that it makes, and names weights by their layer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        name = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [f"{name}:0"], name=name, **attributes))
        return f"{name}:0"

    def weight(self, name: str, *shape: int) -> str:
        fan_in = int(np.prod(shape[1:])) or 1
        scale = (2 / fan_in) ** 0.5
        self.nodes.append(
            helper.make_node(
                "RandomNormal", [], [name], name=f"draw {name}", shape=shape, scale=scale, seed=float(len(self.nodes))
            )
        )
        return name

    def numbers(self, name: str, values: list[int]) -> str:
        self.constants.append(numpy_helper.from_array(np.array(values, dtype=np.int64), name))
        return name

    def number(self, name: str, value: int) -> str:
        self.constants.append(numpy_helper.from_array(np.array(value, dtype=np.int64), name))
        return name

    def scalar(self, name: str, value: float) -> str:
        self.constants.append(numpy_helper.from_array(np.array(value, dtype=np.float32), name))
        return name

    def conv(self, x: str, name: str, source: int, target: int, kernel: int, stride: int = 1, groups: int = 1) -> str:
        """A convolution with a bias; its padding leaves the size to the stride, but for patches side by side."""
        pad = 0 if kernel == stride else kernel // 2
        weights = self.weight(f"{name}.weight", target, source // groups, kernel, kernel)
        window = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4, "group": groups}
        return self.op("Conv", x, weights, self.weight(f"{name}.bias", target), name=name, **window)

    def linear(self, x: str, name: str, source: int, target: int) -> str:
        product = self.op("MatMul", x, self.weight(f"{name}.weight", source, target), name=name)
        return self.op("Add", product, self.weight(f"{name}.bias", target), name=f"{name}.add_bias")

    def norm(self, x: str, name: str, width: int) -> str:
        scale, shift = self.weight(f"{name}.weight", width), self.weight(f"{name}.bias", width)
        return self.op("LayerNormalization", x, scale, shift, name=name, axis=-1, epsilon=1e-6)

    def classifier(self, x: str, name: str, source: int) -> str:
        weights, bias = self.weight(f"{name}.weight", 1000, source), self.weight(f"{name}.bias", 1000)
        return self.op("Gemm", x, weights, bias, name=name, transB=1)

    def model(self, output: str) -> ModelProto:
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 224, 224])
        scores = helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, 1000])
        graph = helper.make_graph(self.nodes, self.name, [image], [scores], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def resnet50() -> ModelProto:
    graph = Graph("resnet50")
    x = graph.op("Relu", graph.conv("image", "conv1", 3, 64, 7, 2))
    x = graph.op("MaxPool", x, name="maxpool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, (width, blocks) in enumerate(zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True), 1):
        for block in range(blocks):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            shortcut = graph.conv(x, f"{name}.downsample", channels, 4 * width, 1, stride) if block == 0 else x
            y = graph.op("Relu", graph.conv(x, f"{name}.conv1", channels, width, 1))
            y = graph.op("Relu", graph.conv(y, f"{name}.conv2", width, width, 3, stride))
            y = graph.conv(y, f"{name}.conv3", width, 4 * width, 1)
            x = graph.op("Relu", graph.op("Add", y, shortcut))
            channels = 4 * width
    x = graph.op("Flatten", graph.op("GlobalAveragePool", x, name="avgpool"))
    return graph.model(graph.classifier(x, "fc", channels))


def mobilenet_v2() -> ModelProto:
    graph = Graph("mobilenet_v2")
    low, high = graph.scalar("zero", 0.0), graph.scalar("six", 6.0)

    def relu6(x: str) -> str:
        return graph.op("Clip", x, low, high)

    x, channels, index = relu6(graph.conv("image", "features.0", 3, 32, 3, 2)), 32, 0
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, target, blocks, first_stride in stages:
        for block in range(blocks):
            index += 1
            name, stride, hidden = f"features.{index}", first_stride if block == 0 else 1, channels * expansion
            y = x if expansion == 1 else relu6(graph.conv(x, f"{name}.expand", channels, hidden, 1))
            y = relu6(graph.conv(y, f"{name}.depthwise", hidden, hidden, 3, stride, groups=hidden))
            y = graph.conv(y, f"{name}.project", hidden, target, 1)
            x = graph.op("Add", x, y) if stride == 1 and channels == target else y
            channels = target
    x = relu6(graph.conv(x, "features.18", channels, 1280, 1))
    x = graph.op("Flatten", graph.op("GlobalAveragePool", x, name="avgpool"))
    return graph.model(graph.classifier(x, "classifier", 1280))


def vit_b16() -> ModelProto:
    graph, width, heads, rows = Graph("vit_b16"), 768, 12, 197
    depth = width // heads
    apart = graph.numbers("heads apart", [1, rows, 3, heads, depth])
    together = graph.numbers("heads together", [1, rows, width])
    which = [graph.number(name, index) for index, name in enumerate("qkv")]
    scale = graph.scalar("scale", depth**-0.5)
    x = graph.conv("image", "patch_embed", 3, width, 16, 16)
    x = graph.op("Reshape", x, graph.numbers("patches", [1, width, rows - 1]))
    x = graph.op("Transpose", x, perm=[0, 2, 1])
    x = graph.op("Concat", graph.weight("class_token", 1, 1, width), x, axis=1)
    x = graph.op("Add", x, graph.weight("position", 1, rows, width))
    for block in range(12):
        name = f"blocks.{block}"
        y = graph.linear(graph.norm(x, f"{name}.norm1", width), f"{name}.attn.qkv", width, 3 * width)
        y = graph.op("Transpose", graph.op("Reshape", y, apart), perm=[2, 0, 3, 1, 4])
        q, k, v = (graph.op("Gather", y, index, axis=0) for index in which)
        scores = graph.op("MatMul", graph.op("Mul", q, scale), graph.op("Transpose", k, perm=[0, 1, 3, 2]))
        y = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), v)
        y = graph.op("Reshape", graph.op("Transpose", y, perm=[0, 2, 1, 3]), together)
        x = graph.op("Add", x, graph.linear(y, f"{name}.attn.proj", width, width))
        y = graph.linear(graph.norm(x, f"{name}.norm2", width), f"{name}.mlp.fc1", width, 4 * width)
        x = graph.op("Add", x, graph.linear(graph.op("Gelu", y), f"{name}.mlp.fc2", 4 * width, width))
    x = graph.op("Gather", graph.norm(x, "norm", width), graph.number("first", 0), axis=1)
    return graph.model(graph.classifier(x, "head", width))


NETWORKS: dict[str, Callable[[], ModelProto]] = {"resnet50": resnet50, "mobilenet_v2": mobilenet_v2, "vit_b16": vit_b16}

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/networks.py FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in NETWORKS.items():
        save(make(), folder / f"{name}.onnx")
        print(folder / f"{name}.onnx")
