"""The operators that can be timed and split: shapes, FLOPs, bytes, and slices along output channels.

Tensors are channels last, batch 1; sizes in bytes are those of fp32. The split that Splitfleet plans gives some output
channels to the CPU and the rest to the GPU, so a slice along output channels is itself an operator.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .errors import UserError

FLOAT_BYTES = 4
CUT_MULTIPLE = 4
"""Output channels are cut at multiples of this: GPU kernels and NEON work in groups of four."""

EPILOGUES = ("none", "relu", "relu6", "add", "add_relu")
"""What is done to a sum before it is stored, as runtimes fuse it; `add` adds a residual of the output's shape."""

POOL_MODES = ("max", "avg")
_MAX_ELEMENTS = 2**31 - 1  # kernels index with 32-bit ints


@dataclass(frozen=True)
class _Operator(ABC):
    """What every operator has; M, N, K are the sizes of the matrix product it amounts to."""

    type: ClassVar[str]

    @property
    @abstractmethod
    def matmul(self) -> tuple[int, int, int]:
        """(M, N, K): output rows or pixels, output channels, length of one dot product."""

    @property
    def flops(self) -> int:
        """Floating-point operations, a multiply and an add counted as two; the epilogue's few are not counted."""
        m, n, k = self.matmul
        return 2 * m * n * k

    @property
    def weight_shape(self) -> tuple[int, int]:
        """Of the logical weight matrix [K, N]."""
        _, n, k = self.matmul
        return k, n

    @property
    def weight_bytes(self) -> int:
        k, n = self.weight_shape
        return k * n * FLOAT_BYTES

    @property
    def output_bytes(self) -> int:
        m, n, _ = self.matmul
        return m * n * FLOAT_BYTES

    @property
    def input_bytes(self) -> int:
        return int(np.prod(self.input_shape)) * FLOAT_BYTES

    @property
    def epilogue_name(self) -> str:
        """One of EPILOGUES; `none` for operators that have no epilogue."""
        return str(getattr(self, "epilogue", "none"))

    @property
    def has_residual(self) -> bool:
        return self.epilogue_name.startswith("add")

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """Of one input tensor, channels last."""

    @property
    @abstractmethod
    def output_shape(self) -> tuple[int, ...]:
        """Of the output tensor, channels last."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; an epilogue of `none` is left out."""
        data = {"type": self.type, **asdict(self)}
        if self.epilogue_name == "none":
            data.pop("epilogue", None)
        return data

    def _check(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _WORDS:
                if value not in _WORDS[field.name]:
                    known = ", ".join(_WORDS[field.name])
                    raise UserError(f"{self.type}: unknown {field.name} {value!r}; known: {known}")
                continue
            least = 0 if field.name.startswith("pad") else 1
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UserError(f"{self.type}: {field.name} must be an integer of at least {least}, not {value!r}")
        m, n, k = self.matmul
        if m < 1:
            raise UserError(f"{self.type}: the kernel is larger than the padded input: {self}")
        if max(m * n, n * k, int(np.prod(self.input_shape, dtype=object))) > _MAX_ELEMENTS:
            raise UserError(f"{self.type}: a tensor of more than {_MAX_ELEMENTS} elements: {self}")


_WORDS = {"epilogue": EPILOGUES, "mode": POOL_MODES}


@dataclass(frozen=True)
class Linear(_Operator):
    """output[rows, out_features] = input[rows, in_features] x weights[in_features, out_features]."""

    rows: int
    in_features: int
    out_features: int
    epilogue: str = "none"
    type: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        self._check()

    @property
    def channels(self) -> int:
        """Output features: the dimension that is split."""
        return self.out_features

    @property
    def matmul(self) -> tuple[int, int, int]:
        return self.rows, self.out_features, self.in_features

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.rows, self.in_features

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.rows, self.out_features

    @property
    def label(self) -> str:
        """The text that `parse_operator` reads."""
        return f"linear:rows={self.rows},in={self.in_features},out={self.out_features}{_epilogue_label(self)}"

    def with_channels(self, channels: int) -> Linear:
        return replace(self, out_features=channels)


class _Windowed(_Operator):
    """An operator whose output pixels are made from windows of an image [height, width, channels]; dilation is 1."""

    height: int
    width: int
    kernel_h: int
    kernel_w: int
    stride: int
    pad_h: int
    pad_w: int

    @property
    def output_height(self) -> int:
        return (self.height + 2 * self.pad_h - self.kernel_h) // self.stride + 1

    @property
    def output_width(self) -> int:
        return (self.width + 2 * self.pad_w - self.kernel_w) // self.stride + 1

    @property
    def pixels(self) -> int:
        """Of the output. Negative sizes must not multiply to a positive one."""
        return max(self.output_height, 0) * max(self.output_width, 0)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.output_height, self.output_width, self.matmul[1]

    @property
    def _window_label(self) -> str:
        return (
            f"k={_pair(self.kernel_h, self.kernel_w)},stride={self.stride},pad={_pair(self.pad_h, self.pad_w)}"
            f"{_epilogue_label(self)}"
        )


@dataclass(frozen=True)
class Conv2d(_Windowed):
    """A 2-D convolution of one image [height, width, in_channels]; padding is symmetric, dilation 1, groups 1."""

    height: int
    width: int
    in_channels: int
    out_channels: int
    kernel_h: int
    kernel_w: int
    stride: int
    pad_h: int
    pad_w: int
    epilogue: str = "none"
    type: ClassVar[str] = "conv2d"

    def __post_init__(self) -> None:
        self._check()

    @property
    def channels(self) -> int:
        """Output channels: the dimension that is split."""
        return self.out_channels

    @property
    def matmul(self) -> tuple[int, int, int]:
        return self.pixels, self.out_channels, self.kernel_h * self.kernel_w * self.in_channels

    @property
    def is_pointwise(self) -> bool:
        """A 1x1 convolution that touches every pixel once is a plain matrix product."""
        return (self.kernel_h, self.kernel_w, self.stride, self.pad_h, self.pad_w) == (1, 1, 1, 0, 0)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.height, self.width, self.in_channels

    @property
    def label(self) -> str:
        """The text that `parse_operator` reads."""
        sizes = f"h={self.height},w={self.width},in={self.in_channels},out={self.out_channels}"
        return f"conv2d:{sizes},{self._window_label}"

    def with_channels(self, channels: int) -> Conv2d:
        return replace(self, out_channels=channels)


class _ChannelWise(_Windowed):
    """Output channel c is made from input channel c alone, so a slice of the output needs only its own input.

    `channels`, the dimension that is split, is a field here.
    """

    channels: int

    @property
    def matmul(self) -> tuple[int, int, int]:
        return self.pixels, self.channels, self.kernel_h * self.kernel_w

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.height, self.width, self.channels


@dataclass(frozen=True)
class DepthwiseConv2d(_ChannelWise):
    """A convolution of each channel with weights of its own, logically [kernel_h * kernel_w, channels]."""

    height: int
    width: int
    channels: int
    kernel_h: int
    kernel_w: int
    stride: int
    pad_h: int
    pad_w: int
    epilogue: str = "none"
    type: ClassVar[str] = "depthwise_conv2d"

    def __post_init__(self) -> None:
        self._check()

    @property
    def label(self) -> str:
        """The text that `parse_operator` reads."""
        return f"depthwise:h={self.height},w={self.width},c={self.channels},{self._window_label}"

    def with_channels(self, channels: int) -> DepthwiseConv2d:
        return replace(self, channels=channels)


@dataclass(frozen=True)
class Pool2d(_ChannelWise):
    """The largest or the average value of each window. Taps outside the image do not count; there are no weights."""

    mode: str
    height: int
    width: int
    channels: int
    kernel_h: int
    kernel_w: int
    stride: int
    pad_h: int
    pad_w: int
    type: ClassVar[str] = "pool2d"

    def __post_init__(self) -> None:
        self._check()
        if self.pad_h >= self.kernel_h or self.pad_w >= self.kernel_w:
            raise UserError(f"{self.type}: padding as large as the window leaves windows without a value: {self}")

    @property
    def flops(self) -> int:
        """One comparison or addition a tap."""
        m, n, k = self.matmul
        return m * n * k

    @property
    def weight_shape(self) -> tuple[int, int]:
        return 0, self.channels

    @property
    def label(self) -> str:
        """The text that `parse_operator` reads."""
        return f"{self.mode}pool:h={self.height},w={self.width},c={self.channels},{self._window_label}"

    def with_channels(self, channels: int) -> Pool2d:
        return replace(self, channels=channels)


Operator = Linear | Conv2d | DepthwiseConv2d | Pool2d


def slice_output(operator: Operator, start: int, stop: int) -> Operator:
    """The operator that computes output channels [start, stop) alone.

    Raises UserError when a bound lies outside the layer, or inside it at no multiple of four.
    """
    channels = operator.channels
    if not 0 <= start < stop <= channels:
        raise UserError(f"{operator.label}: no channels {start} to {stop}; the layer has {channels}")
    for bound in (start, stop):
        if bound % CUT_MULTIPLE and bound != channels:
            raise UserError(f"{operator.label}: cut {bound} is no multiple of {CUT_MULTIPLE}")
    return operator.with_channels(stop - start)


def cuts(operator: Operator, step: int = CUT_MULTIPLE) -> NDArray[np.int64]:
    """Every cut strictly inside the layer at multiples of `step` channels; empty for a layer too small to split."""
    if step < 1 or step % CUT_MULTIPLE:
        raise UserError(f"cut step {step} is no multiple of {CUT_MULTIPLE}")
    return np.arange(step, operator.channels, step, dtype=np.int64)


def _pair(first: int, second: int) -> str:
    return str(first) if first == second else f"{first}x{second}"


def _epilogue_label(operator: _Operator) -> str:
    return "" if operator.epilogue_name == "none" else f",epilogue={operator.epilogue_name}"
