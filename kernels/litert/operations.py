"""What LiteRT runs and Splitfleet does not: grouped convolutions, means and concatenations, as they were measured.

They are operators of traces only: none is launched or split. Each stands in the lowering's table as the operator that
it resembles, its `stand_in`, with a kernel family of its own.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import pandas as pd

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.operator_text import operator_from_json, parse_operator
from splitfleet.kernels.operators import Conv2d, Operator, Pool2d

from .choice import CONV_CONSTANTS, dot_form
from .gpu import LitertGpu
from .lowering import lower_many
from .shapes import SLICE


@dataclass(frozen=True)
class _Measured(ABC):
    """Sizes are positive integers; the operator's JSON has them by name, its text as `type:name=1,name=2`."""

    type: ClassVar[str]

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "pad" else 1
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UserError(f"{self.type}: {field.name} must be an integer of at least {least}, not {value!r}")
        _ = self.stand_in

    @property
    @abstractmethod
    def stand_in(self) -> Operator:
        """The operator whose launch is the nearest. Raises UserError for sizes that make no operator."""

    @property
    def label(self) -> str:
        """The text that `parse_operation` reads."""
        return f"{self.type}:" + ",".join(f"{name}={value}" for name, value in asdict(self).items())

    def to_json(self) -> dict[str, Any]:
        return {"type": self.type, **asdict(self)}


@dataclass(frozen=True)
class GroupedConv2d(_Measured):
    """A convolution whose channels fall into `groups` that do not mix; padding is symmetric."""

    height: int
    width: int
    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    pad: int
    groups: int
    type: ClassVar[str] = "grouped_conv2d"

    @property
    def stand_in(self) -> Conv2d:
        """A convolution of one group's input to all output channels: each output sums as much."""
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise UserError(f"{self.label}: {self.groups} groups do not divide the channels")
        source = self.in_channels // self.groups
        sides = (self.kernel, self.kernel, self.stride, self.pad, self.pad)
        return Conv2d(self.height, self.width, source, self.out_channels, *sides)


@dataclass(frozen=True)
class Mean(_Measured):
    """The mean of each channel over the image."""

    height: int
    width: int
    channels: int
    type: ClassVar[str] = "mean"

    @property
    def stand_in(self) -> Pool2d:
        """An average pooling whose window is the image."""
        return Pool2d("avg", self.height, self.width, self.channels, self.height, self.width, 1, 0, 0)


@dataclass(frozen=True)
class Concat(_Measured):
    """`parts` tensors put side by side to `channels`; the first of them has `first`.

    A work-item copies all slices of one pixel (tflite/delegates/gpu/common/tasks/concat_z.cc).
    """

    height: int
    width: int
    channels: int
    first: int
    parts: int
    type: ClassVar[str] = "concat"

    @property
    def aligned(self) -> bool:
        """Whether the first part and all together are whole slices; of the others nothing is known."""
        return self.first % SLICE == 0 and self.channels % SLICE == 0

    @property
    def stand_in(self) -> Pool2d:
        """A pooling of one pixel and one slice, which has a work-item for each pixel, too."""
        return Pool2d("max", self.height, self.width, SLICE, 1, 1, 1, 0, 0)


Operation = Operator | GroupedConv2d | Mean | Concat
"""Whatever LiteRT can be measured to run."""

_OWN: dict[str, type[GroupedConv2d] | type[Mean] | type[Concat]] = {
    kind.type: kind for kind in (GroupedConv2d, Mean, Concat)
}


def operation_from_json(data: dict[str, Any]) -> Operation:
    """What `to_json` wrote. Raises UserError for anything else."""
    kind = _OWN.get(str(data.get("type")))
    if kind is None:
        return operator_from_json(data)
    try:
        return kind(**{name: value for name, value in data.items() if name != "type"})
    except TypeError as error:
        raise UserError(f"{json.dumps(data)}: no {kind.type}: {error}") from None


def parse_operation(text: str) -> Operation:
    """An operation from its label: what `parse_operator` reads, and as `mean:height=7,width=7,channels=64`.

    Raises UserError naming the text.
    """
    name, _, sizes = text.partition(":")
    kind = _OWN.get(name.strip())
    if kind is None:
        return parse_operator(text)
    pairs = [pair.partition("=") for pair in sizes.split(",")]
    names = [field.name for field in fields(kind)]
    if sorted(key.strip() for key, _, _ in pairs) != sorted(names):
        raise UserError(f"{text!r}: a {kind.type} needs {', '.join(names)}, each once")
    try:
        return kind(**{key.strip(): int(value) for key, _, value in pairs})
    except ValueError:
        raise UserError(f"{text!r}: sizes must be whole numbers") from None


def lower_operations(operations: Sequence[Operation], gpu: LitertGpu, precision: str = "fp16") -> pd.DataFrame:
    """`lower_many` for whatever was measured, with a few columns more:

    * `groups` and `parts`: 1 where there is nothing such;
    * `aligned`: 1 but for a concatenation whose parts, as far as known, are no whole slices: values are copied singly;
    * `dot_form`: 1 where conv_constants sums by dot products;
    * `wave_fill`: the share of its waves that a work-group fills;
    * `unit_fill`: work-groups over what all compute units would run in as many rounds.

    An operation that is not one of ours has the launch of its `stand_in`, in a family named after its type.
    """
    stand_ins = [operation.stand_in if isinstance(operation, _Measured) else operation for operation in operations]
    table = lower_many(stand_ins, gpu, precision)
    own = [operation.type if isinstance(operation, _Measured) else "" for operation in operations]
    table["groups"] = [getattr(operation, "groups", 1) for operation in operations]
    table["parts"] = [getattr(operation, "parts", 1) for operation in operations]
    table["aligned"] = [int(operation.aligned) if isinstance(operation, Concat) else 1 for operation in operations]
    _widen(table, [operation.channels if isinstance(operation, Concat) else 0 for operation in operations])
    is_constants = table["family"] == CONV_CONSTANTS
    table["dot_form"] = (dot_form(table) & is_constants).astype(int)
    table["wave_fill"] = table["work_group_size"] / (table["waves_per_group"] * gpu.wave_size(precision))
    table["unit_fill"] = table["work_groups"] / (table["work_groups_per_unit"] * gpu.compute_units)
    table["input_bytes"] = table["input_bytes"] * table["groups"]
    table["in_channels"] = table["in_channels"] * table["groups"]
    table["source_slices"] = -(-table["in_channels"] // SLICE)
    blocks = table["kernel"].str.extract(r"(_r\d+p\d+)$")[0]
    types = pd.Series(own, index=table.index, dtype=object)
    table["family"] = table["family"].where(types == "", types)
    table["kernel"] = table["kernel"].where(types == "", types + blocks)
    return table


def _widen(table: pd.DataFrame, channels: Sequence[int]) -> None:
    """Gives rows of one slice the sizes of these many channels; 0 leaves a row as it is."""
    wide = pd.Series(channels, index=table.index)
    rows = wide > 0
    slices = -(-wide // SLICE)
    for name in ("in_channels", "n"):
        table[name] = table[name].where(~rows, wide)
    for name in ("slices", "source_slices", "loop"):
        table[name] = table[name].where(~rows, slices)
    for name in ("flops", "input_bytes", "output_bytes"):
        table[name] = table[name].where(~rows, table[name] * wide // SLICE)
    for name in ("padded_flops", "input_reads_bytes", "launch_work"):
        table[name] = table[name].where(~rows, table[name] * slices)
