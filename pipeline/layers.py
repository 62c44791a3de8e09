"""The [[layers]] of a campaign file: one class a type, with the operator that each stands for."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt, field_validator

from splitfleet.kernels import Conv2d, DepthwiseConv2d, Linear, Operator, Pool2d

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
    """A linear layer of the input: output[rows, out] = input[rows, in] x weights."""

    type: Literal["linear"]
    rows: PositiveInt
    in_features: PositiveInt = Field(alias="in")
    out_features: PositiveInt = Field(alias="out")
    epilogue: Epilogue = "none"

    @property
    def operator(self) -> Operator:
        return Linear(self.rows, self.in_features, self.out_features, self.epilogue)


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


Layer = LinearLayer | ConvLayer | DepthwiseLayer | PoolLayer
LAYER_TYPES: dict[str, type[Layer]] = {
    "linear": LinearLayer,
    "conv2d": ConvLayer,
    "depthwise_conv2d": DepthwiseLayer,
    "pool2d": PoolLayer,
}
