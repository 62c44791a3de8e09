"""What readers of all formats share: operators from a file's sizes, the FLOPs of what has none, constants' places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.network import Node
from splitfleet.kernels.operators import Conv2d, DepthwiseConv2d, Linear, Operator, Pool2d

Shape = tuple[int, ...]

_MOVES = ("concat", "slice", "gather", "pad", "transpose", "reshape", "identity", "other")


@dataclass(frozen=True)
class Window:
    """Of a convolution or a pooling; `pads` is (top, bottom, left, right)."""

    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True)
class Meant:
    """What a file's operation amounts to: an operator of ours, or glue of this kind."""

    kind: str
    operator: Operator | None = None
    attributes: dict[str, Any] | None = None
    flops: int | None = None


def glue(kind: str, **attributes: Any) -> Meant:
    return Meant(kind, attributes=attributes)


def other(reason: str, flops: int | None = None) -> Meant:
    return Meant("other", attributes={"reason": reason}, flops=flops)


def sliced(sizes: Shape, ranges: dict[int, tuple[int, int, int]]) -> Meant:
    """A slice that takes all of each axis but those in `ranges`: (start, stop, step)."""
    every = [ranges.get(axis, (0, size, 1)) for axis, size in enumerate(sizes)]
    starts, stops, steps = (list(part) for part in zip(*every, strict=True))
    return glue("slice", starts=starts, stops=stops, steps=steps)


def same_padding(sizes: tuple[int, int], window: Window) -> tuple[int, int, int, int]:
    """The padding with which stride alone decides the output's size; an odd pixel goes behind (TensorFlow's SAME)."""
    pads: list[int] = []
    for size, kernel, stride, dilation in zip(sizes, window.kernel, window.strides, window.dilations, strict=True):
        reach = (kernel - 1) * dilation + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        pads += [total // 2, total - total // 2]
    return pads[0], pads[1], pads[2], pads[3]


def convolution(source: Shape, target: Shape, window: Window, groups: int) -> Meant:
    """A convolution of [1, height, width, channels] to `target`; depthwise where each channel is a group."""
    _, height, width, channels = source
    out_channels = target[3]
    if groups < 1 or channels % groups or out_channels % groups:
        raise UserError(f"a convolution of {channels} to {out_channels} channels cannot have {groups} groups")
    flops = 2 * prod(target) * prod(window.kernel) * (channels // groups)
    if groups > 1 and (groups != channels or out_channels != channels):
        return _grouped(source, target, window, groups, flops)
    kernel_h, kernel_w = window.kernel

    def make(stride: int, pad_h: int, pad_w: int) -> Operator:
        if groups > 1:
            return DepthwiseConv2d(height, width, channels, kernel_h, kernel_w, stride, pad_h, pad_w)
        return Conv2d(height, width, channels, out_channels, kernel_h, kernel_w, stride, pad_h, pad_w)

    return _windowed(make, source, target, window, flops)


def pooling(mode: str, source: Shape, target: Shape, window: Window) -> Meant:
    _, height, width, channels = source

    def make(stride: int, pad_h: int, pad_w: int) -> Operator:
        return Pool2d(mode, height, width, channels, *window.kernel, stride, pad_h, pad_w)

    return _windowed(make, source, target, window, prod(target) * prod(window.kernel))


def mean(source: Shape, axes: list[int], keepdims: bool) -> Meant:
    """A mean; over an image's pixels it is an average pooling whose window is the image."""
    if len(source) == 4 and source[0] == 1 and axes == [1, 2]:
        return pooling("avg", source, (1, 1, 1, source[3]), Window((source[1], source[2])))
    return glue("mean", axes=axes, keepdims=keepdims)


def linear(source: Shape, in_features: int, out_features: int) -> Meant:
    """A linear layer on a tensor whose sizes but the last, all together, are its rows."""
    if prod(source) % in_features:
        raise UserError(f"a linear layer of {in_features} features cannot take a tensor of {list(source)}")
    operator = Linear(prod(source) // in_features, in_features, out_features)
    return Meant(operator.type, operator)


def glue_flops(kind: str, source: Shape, target: Shape) -> int:
    """FLOPs of what has no operator: a sum's two for each term, the inputs of a mean, else one an output value.

    Moving data counts nothing. `source` is the first input's shape.
    """
    if kind in _MOVES:
        return 0
    if kind == "matmul":
        return 2 * prod(target) * source[-1]
    return prod(source) if kind == "mean" else prod(target)


def node_of(
    meant: Meant,
    name: str,
    type_: str,
    inputs: Sequence[tuple[str | None, Shape]],
    outputs: Sequence[tuple[str, Shape]],
    *,
    weights_apart: bool = False,
) -> Node:
    """The node of an operation; an input without a name is a constant.

    Constants of operators, and where `weights_apart`, are weights and are left out.
    """
    activations = tuple(tensor for tensor, _ in inputs if tensor is not None)
    attributes = dict(meant.attributes or {})
    if meant.operator is None and not weights_apart:
        constants = [
            {"position": place, "shape": list(shape)} for place, (tensor, shape) in enumerate(inputs) if tensor is None
        ]
        if constants:
            attributes["constants"] = constants
    flops = meant.flops
    if flops is None:
        first = next((shape for tensor, shape in inputs if tensor is not None), ())
        flops = meant.operator.flops if meant.operator else glue_flops(meant.kind, first, outputs[0][1])
    names, shapes = (tuple(part) for part in zip(*outputs, strict=True))
    return Node(name, type_, meant.kind, activations, names, shapes, flops, meant.operator, attributes)


def _grouped(source: Shape, target: Shape, window: Window, groups: int, flops: int) -> Meant:
    kernel, strides, dilations = window.kernel, window.strides, window.dilations
    meant = other(f"a convolution in {groups} groups", flops)
    assert meant.attributes is not None
    pad = _even_padding(source[1], target[1], kernel[0], strides[0], window.pads[:2])
    if (
        len({kernel[0] - kernel[1], strides[0] - strides[1], dilations[0] - 1, dilations[1] - 1}) == 1
        and pad is not None
    ):
        sizes = {"kernel": kernel[0], "stride": strides[0], "pad": pad, "groups": groups}
        meant.attributes["grouped_conv2d"] = {
            "height": source[1], "width": source[2], "in_channels": source[3], "out_channels": target[3], **sizes,
        }  # fmt: skip
    return meant


def _windowed(
    make: Callable[[int, int, int], Operator], source: Shape, target: Shape, window: Window, flops: int
) -> Meant:
    """Our operators have one stride, no dilation and the same padding on both sides.

    An odd pixel of padding is taken as one on either side where the output's size is the same: as much work, on windows
    that are shifted by a pixel.
    """
    if source[0] != 1:
        return other(f"a batch of {source[0]}", flops)
    if window.dilations != (1, 1):
        return other(f"dilation {window.dilations[0]} x {window.dilations[1]}", flops)
    if window.strides[0] != window.strides[1]:
        return other(f"strides {window.strides[0]} x {window.strides[1]}", flops)
    stride = window.strides[0]
    pad_h = _even_padding(source[1], target[1], window.kernel[0], stride, window.pads[:2])
    pad_w = _even_padding(source[2], target[2], window.kernel[1], stride, window.pads[2:])
    if pad_h is None or pad_w is None:
        return other(f"padding {list(window.pads)} (top, bottom, left, right)", flops)
    try:
        operator = make(stride, pad_h, pad_w)
    except UserError as error:
        return other(str(error), flops)
    uneven = window.pads[0] != window.pads[1] or window.pads[2] != window.pads[3]
    return Meant(operator.type, operator, {"pads": list(window.pads)} if uneven else None)


def _even_padding(size: int, output: int, kernel: int, stride: int, pads: tuple[int, ...]) -> int | None:
    for pad in dict.fromkeys((-(-sum(pads) // 2), sum(pads) // 2)):
        if (size + 2 * pad - kernel) // stride + 1 == output:
            return pad
    return None
