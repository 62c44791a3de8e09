"""The operators that can be timed and split: shapes, FLOPs, bytes, and slices along output channels.

Tensors are fp32 and channels last, batch 1. The split that Splitfleet plans gives some output channels to the CPU and
the rest to the GPU, so a slice along output channels is itself an operator.
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
        """Floating-point operations, a multiply and an add counted as two."""
        m, n, k = self.matmul
        return 2 * m * n * k

    @property
    def channels(self) -> int:
        """Output channels (output features of a linear layer): the dimension that is split."""
        return self.matmul[1]

    @property
    def weight_bytes(self) -> int:
        _, n, k = self.matmul
        return n * k * FLOAT_BYTES

    @property
    def output_bytes(self) -> int:
        m, n, _ = self.matmul
        return m * n * FLOAT_BYTES

    @property
    def input_bytes(self) -> int:
        return int(np.prod(self.input_shape)) * FLOAT_BYTES

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """Of one input tensor, channels last."""

    @property
    @abstractmethod
    def output_shape(self) -> tuple[int, ...]:
        """Of the output tensor, channels last."""

    def to_json(self) -> dict[str, Any]:
        return {"type": self.type, **asdict(self)}

    def _check(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name.startswith("pad") else 1
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UserError(f"{self.type}: {field.name} must be an integer of at least {least}, not {value!r}")
        m, n, k = self.matmul
        if m < 1:
            raise UserError(f"{self.type}: the kernel is larger than the padded input: {self}")
        if max(m * n, n * k, int(np.prod(self.input_shape, dtype=object))) > _MAX_ELEMENTS:
            raise UserError(f"{self.type}: a tensor of more than {_MAX_ELEMENTS} elements: {self}")


@dataclass(frozen=True)
class Linear(_Operator):
    """output[rows, out_features] = input[rows, in_features] x weights[in_features, out_features]."""

    rows: int
    in_features: int
    out_features: int
    type: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        self._check()

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
        return f"linear:rows={self.rows},in={self.in_features},out={self.out_features}"

    def with_channels(self, channels: int) -> Linear:
        return replace(self, out_features=channels)


@dataclass(frozen=True)
class Conv2d(_Operator):
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
    type: ClassVar[str] = "conv2d"

    def __post_init__(self) -> None:
        self._check()

    @property
    def output_height(self) -> int:
        return (self.height + 2 * self.pad_h - self.kernel_h) // self.stride + 1

    @property
    def output_width(self) -> int:
        return (self.width + 2 * self.pad_w - self.kernel_w) // self.stride + 1

    @property
    def matmul(self) -> tuple[int, int, int]:
        # Negative sizes must not multiply to a positive one.
        pixels = max(self.output_height, 0) * max(self.output_width, 0)
        return pixels, self.out_channels, self.kernel_h * self.kernel_w * self.in_channels

    @property
    def is_pointwise(self) -> bool:
        """A 1x1 convolution that touches every pixel once is a plain matrix product."""
        return (self.kernel_h, self.kernel_w, self.stride, self.pad_h, self.pad_w) == (1, 1, 1, 0, 0)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.height, self.width, self.in_channels

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.output_height, self.output_width, self.out_channels

    @property
    def label(self) -> str:
        """The text that `parse_operator` reads."""
        return (
            f"conv2d:h={self.height},w={self.width},in={self.in_channels},out={self.out_channels},"
            f"k={_pair(self.kernel_h, self.kernel_w)},stride={self.stride},pad={_pair(self.pad_h, self.pad_w)}"
        )

    def with_channels(self, channels: int) -> Conv2d:
        return replace(self, out_channels=channels)


Operator = Linear | Conv2d
_TYPES: dict[str, type[Linear] | type[Conv2d]] = {"linear": Linear, "conv2d": Conv2d}
_SHORT: dict[str, dict[str, tuple[str, ...]]] = {
    "linear": {"rows": ("rows",), "in": ("in_features",), "out": ("out_features",)},
    "conv2d": {
        "h": ("height",),
        "w": ("width",),
        "in": ("in_channels",),
        "out": ("out_channels",),
        "k": ("kernel_h", "kernel_w"),
        "stride": ("stride",),
        "pad": ("pad_h", "pad_w"),
    },
}
_DEFAULTS = {"stride": "1", "pad": "0"}


def operator_from_json(data: dict[str, Any]) -> Operator:
    """The operator that `to_json` wrote. Raises UserError for an unknown type, a missing or unknown key, a bad size."""
    kind = data.get("type")
    if kind not in _TYPES:
        raise UserError(f"unknown operator type {kind!r}; known: {', '.join(_TYPES)}")
    cls = _TYPES[kind]
    given = {key: value for key, value in data.items() if key != "type"}
    names = {field.name for field in fields(cls)}
    if given.keys() != names:
        wrong = sorted(given.keys() ^ names)
        raise UserError(f"{kind}: missing or unknown key: {', '.join(wrong)} (needs {', '.join(sorted(names))})")
    return cls(**given)


def parse_operator(text: str) -> Operator:
    """Reads `linear:rows=50,in=768,out=3072` or `conv2d:h=56,w=56,in=64,out=256,k=3,stride=1,pad=1`.

    `k` and `pad` may be given as HxW; stride defaults to 1 and pad to 0. Raises UserError.
    """
    kind, _, rest = text.partition(":")
    if kind not in _SHORT:
        raise UserError(f"operator {text!r}: unknown type {kind!r}; known: {', '.join(_SHORT)}")
    keys = _SHORT[kind]
    given = {key: value for key, value in _DEFAULTS.items() if key in keys}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if key not in keys or not equals:
            raise UserError(f"operator {text!r}: cannot read {part!r}; {kind} takes {', '.join(keys)}")
        given[key] = value
    if missing := [key for key in keys if key not in given]:
        raise UserError(f"operator {text!r}: {', '.join(missing)} is missing")
    sizes: dict[str, int] = {}
    for key, value in given.items():
        names = keys[key]
        numbers = value.split("x") if len(names) == 2 and "x" in value else [value] * len(names)
        if len(numbers) != len(names) or not all(number.lstrip("-").isdecimal() for number in numbers):
            raise UserError(f"operator {text!r}: {key} must be a whole number, not {value!r}")
        sizes.update(zip(names, map(int, numbers), strict=True))
    return _TYPES[kind](**sizes)


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
