"""What a kernel family offers to lowering."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..device import Device
from ..operators import DepthwiseConv2d, Operator, Pool2d
from ..plan import Buffer, Launch
from ..precision import Precision, storage_bytes, storage_type, tolerance
from ..rules import Rules, rules_for
from ..rules.base import Ints, round_up
from ..tables import Columns

FAMILY_QUANTITIES = (
    "block_rows",
    "panel",
    "loop",
    "padded_flops",
    "packed_bytes",
    "input_reads_bytes",
    "weight_reads_bytes",
    "launches",
    "scratch_bytes",
    "sharing_items",
)
"""What a family states of each shape beside grid and work-group:

block_rows, panel: rows (pixels) and columns (channels) of the output block of one work-item; loop: steps of its
innermost loops together; padded_flops: FLOPs actually done, the padding of blocks included; packed_bytes: of the
weights as stored; input_reads_bytes, weight_reads_bytes: loads issued by all work-items; launches: timed ones, setup
and signal not counted (default 1); scratch_bytes: written and read again between launches (default 0);
sharing_items: work-items that share one output block (default 1)."""

_OF_BLOCK = {"r": "block_rows", "p": "panel"}
_DEFAULTS = {"launches": 1, "scratch_bytes": 0, "sharing_items": 1}


@dataclass(frozen=True)
class Choice:
    """Decisions for a table of shapes, as columns [shapes].

    `block`: the sizes in the kernel's name, by letter (`r` rows, `p` panel). `grid`: work-items in x, y, z of the main
    launch, the one that does most of the work. `local`: its work-group. `quantities`: FAMILY_QUANTITIES; `block_rows`
    and `panel` are taken from the block where absent.
    """

    block: Mapping[str, Ints]
    grid: tuple[Ints, Ints, Ints]
    local: tuple[Ints, Ints, Ints]
    quantities: Mapping[str, Any]

    def columns(self) -> Columns:
        """The fixed columns that every family has: the grid, the work-group and FAMILY_QUANTITIES."""
        of_block = {name: self.block[letter] for letter, name in _OF_BLOCK.items() if letter in self.block}
        given = {**_DEFAULTS, **of_block, **self.quantities}
        columns = {name: np.broadcast_to(given[name], self.grid[0].shape) for name in FAMILY_QUANTITIES}
        columns |= dict(zip(("gx", "gy", "gz"), self.grid, strict=True))
        return columns | dict(zip(("lx", "ly", "lz"), self.local, strict=True))


@dataclass(frozen=True)
class Request:
    """One operator for which a plan is assembled.

    `row`: its row of the table that `choose` led to, as plain numbers. `kernel`: the main kernel's name. `row_stride`
    and `column_offset` (elements) place the output, and the residual and a channel-wise input alike, inside the whole
    operator's. `float_output`: output and residual are fp32 whatever the precision.
    """

    operator: Operator
    device: Device
    precision: Precision
    kernel: str
    row: Mapping[str, Any]
    row_stride: int
    column_offset: int
    float_output: bool

    @property
    def input_stride(self) -> int:
        """Elements from one pixel (or row) of the input to the next; a channel-wise input lies as the output does."""
        channel_wise = isinstance(self.operator, DepthwiseConv2d | Pool2d)
        return self.row_stride if channel_wise else self.operator.input_shape[-1]

    def input(self) -> Buffer:
        return self.buffer("input", "input", int(np.prod(self.operator.input_shape[:-1])) * self.input_stride)

    def weights(self, panel: int) -> Buffer:
        k, n = self.operator.weight_shape
        return self.buffer("weights", "weights", round_up(n, panel) * k, panel=panel)

    def outputs(self) -> list[Buffer]:
        """The output, and the residual where the epilogue has one: what OUTPUT_PARAMETERS takes."""
        roles = ["output", "residual"] if self.operator.has_residual else ["output"]
        precision = "fp32" if self.float_output else self.precision
        size, kind = storage_bytes(precision), storage_type(precision)
        elements = self.operator.matmul[0] * self.row_stride
        place = self.row_stride, self.column_offset
        return [Buffer(role, role, elements * size, None, *place, kind) for role in roles]

    def buffer(self, name: str, role: str, elements: int, **more: Any) -> Buffer:
        """A buffer of this many numbers as the precision stores them."""
        return Buffer(name, role, elements * storage_bytes(self.precision), type=storage_type(self.precision), **more)

    def launch(self, kernel: str, args: list[dict[str, Any]]) -> Launch:
        """A launch over the row's grid and work-group."""
        axes = "xyz" if self.row["gz"] > 1 else "xy"
        local = tuple(int(self.row[f"l{axis}"]) for axis in axes)
        grid = (int(self.row[f"g{axis}"]) for axis in axes)
        return Launch(kernel, tuple(args), tuple(map(round_up, grid, local)), local)

    def side_launch(self, kernel: str, args: list[dict[str, Any]], gx: int, gy: int) -> Launch:
        """A launch over gx x gy work-items beside the main one, in work-groups by the rules."""
        lx, ly = rules_for(self.device, self.precision).work_group(np.array([gx]), np.array([gy]))
        local = (int(lx[0]), int(ly[0]))
        return Launch(kernel, tuple(args), (round_up(gx, local[0]), round_up(gy, local[1])), local)


@dataclass(frozen=True)
class Assembly:
    """A plan's parts. The last launch's kernel ends with SIGNAL; its last argument is {"signal": True}."""

    buffers: list[Buffer]
    launches: list[Launch]
    setup: list[Launch] = field(default_factory=list)


class Family(ABC):
    """One kernel family. Stateless: one object serves all devices."""

    name: str
    """Also the name of its source, and the first part of its kernels' names."""

    most_items: int | None = None
    """The largest work-group that the kernel's source allows, where that is less than the device's."""

    fixed_axes: str = ""
    """Axes of the work-group whose size the kernel depends on, so that tuning must leave them alone."""

    @abstractmethod
    def choose(self, shapes: Columns, rules: Rules) -> Choice:
        """Block, grid and work-group of each shape, within the limits of `rules.device`."""

    @abstractmethod
    def assemble(self, request: Request) -> Assembly:
        """Buffers and launches of one operator, by the choice in `request.row`."""

    def tolerance(self, precision: Precision, depth: int) -> float:
        """The largest acceptable relative error of results made from sums of `depth` products."""
        return tolerance(precision, depth)


def arguments(buffers: list[Buffer], *numbers: int, signal: bool = False) -> list[dict[str, Any]]:
    """Kernel arguments: the buffers, whole numbers, and the signal where the kernel ends with SIGNAL."""
    given: list[dict[str, Any]] = [{"buffer": buffer.name} for buffer in buffers]
    return [*given, *({"i32": number} for number in numbers), *([{"signal": True}] if signal else [])]


def block_product(shapes: Columns, rules: Rules) -> Choice:
    """The choice of kernels whose work-item computes `r` rows x `p` columns of a matrix product over all of K."""
    m, n, k = (shapes[name] for name in "mnk")
    block = rules.block(shapes)
    rows, panel = block.rows, block.panel
    gx, gy = -(-n // panel), -(-m // rows)
    lx, ly = rules.work_group(gx, gy)
    one = np.ones_like(gx)
    size = storage_bytes(rules.precision)
    quantities = {
        "loop": k,
        "padded_flops": 2 * gy * rows * gx * panel * k,
        "packed_bytes": gx * panel * k * size,
        "input_reads_bytes": gx * gy * rows * k * size,
        "weight_reads_bytes": gx * gy * panel * k * size,
    }
    return Choice({"r": rows, "p": panel}, (gx, gy, one), (lx, ly, one), quantities)
