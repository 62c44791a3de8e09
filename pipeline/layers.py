"""The [[layers]] of a campaign file: one class a type, with the operator that each stands for."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, PositiveInt, field_validator

from splitfleet.kernels import Conv2d, DepthwiseConv2d, Linear, Operator, Pool2d
from splitfleet.predictors.split_entry import RowRange

from .section import Section

Epilogue = Literal["none", "relu", "relu6", "add", "add_relu"]
Pair = PositiveInt | tuple[PositiveInt, PositiveInt]
Padding = int | tuple[int, int]


class _Layer(Section):
    name: str = Field(min_length=1)
    network: str | None = None
    count: PositiveInt = 1
    cut: tuple[int, ...] = ()

    @field_validator("cut", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class LinearLayer(_Layer):
    """A linear layer of the input: output[rows, out] = input[rows, in] x weights.

    Rows that vary at run time, as in a decoder, are [first, last]; both may come.
    """

    type: Literal["linear"]
    rows: PositiveInt | tuple[PositiveInt, PositiveInt]
    in_features: PositiveInt = Field(alias="in")
    out_features: PositiveInt = Field(alias="out")
    epilogue: Epilogue = "none"

    @field_validator("rows", mode="before")
    @classmethod
    def _range(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("rows")
    @classmethod
    def _goes_up(cls, value: int | tuple[int, int]) -> int | tuple[int, int]:
        if isinstance(value, tuple) and value[0] >= value[1]:
            raise ValueError(f"a range of rows goes up, as in [1, 2048]; not from {value[0]} to {value[1]}")
        return value

    @property
    def row_range(self) -> RowRange | None:
        """The rows that may come; None where their number is fixed."""
        return None if isinstance(self.rows, int) else RowRange(*self.rows)

    @property
    def operator(self) -> Linear:
        """With rows that vary, of the middle of the range, on a logarithmic scale."""
        rows = self.rows if isinstance(self.rows, int) else math.isqrt(self.rows[0] * self.rows[1])
        return Linear(rows, self.in_features, self.out_features, self.epilogue)


class _Windowed(_Layer):
    """A layer that slides a window over an image; `kernel` and `padding` are a number or [height, width]."""

    height: PositiveInt
    width: PositiveInt
    kernel: Pair
    stride: PositiveInt = 1
    padding: Padding = 0

    @field_validator("kernel", "padding", mode="before")
    @classmethod
    def _pair(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @property
    def window(self) -> tuple[int, int, int, int, int]:
        """(kernel_h, kernel_w, stride, pad_h, pad_w)."""
        kernel_h, kernel_w = (self.kernel, self.kernel) if isinstance(self.kernel, int) else self.kernel
        pad_h, pad_w = (self.padding, self.padding) if isinstance(self.padding, int) else self.padding
        return kernel_h, kernel_w, self.stride, pad_h, pad_w


class ConvLayer(_Windowed):
    """A convolution of the input."""

    type: Literal["conv2d"]
    in_channels: PositiveInt = Field(alias="in")
    out_channels: PositiveInt = Field(alias="out")
    epilogue: Epilogue = "none"

    @property
    def operator(self) -> Operator:
        sizes = (self.height, self.width, self.in_channels, self.out_channels)
        return Conv2d(*sizes, *self.window, self.epilogue)


class DepthwiseLayer(_Windowed):
    """A convolution of each channel by itself."""

    type: Literal["depthwise_conv2d"]
    channels: PositiveInt
    epilogue: Epilogue = "none"

    @property
    def operator(self) -> Operator:
        return DepthwiseConv2d(self.height, self.width, self.channels, *self.window, self.epilogue)


class PoolLayer(_Windowed):
    """The largest or the mean value of each window, channel by channel."""

    type: Literal["pool2d"]
    mode: Literal["max", "avg"]
    channels: PositiveInt

    @property
    def operator(self) -> Operator:
        return Pool2d(self.mode, self.height, self.width, self.channels, *self.window)


def operators_of(layer: Layer) -> list[Operator]:
    """The operators that a layer stands for: one or, with rows that vary, those whose rows double from the first to the
    last."""
    if not isinstance(layer, LinearLayer) or layer.row_range is None:
        return [layer.operator]
    low, high = layer.row_range.low, layer.row_range.high
    doubled = [low << power for power in range((high // low).bit_length())]
    return [replace(layer.operator, rows=rows) for rows in dict.fromkeys([*doubled, high])]


Layer = LinearLayer | ConvLayer | DepthwiseLayer | PoolLayer
LAYER_TYPES: dict[str, type[Layer]] = {
    "linear": LinearLayer,
    "conv2d": ConvLayer,
    "depthwise_conv2d": DepthwiseLayer,
    "pool2d": PoolLayer,
}
