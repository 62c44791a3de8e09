"""Lowering: which kernel, block and work-group an operator gets on a device. The only place that decides it.

The rules, for our own kernels (a generic GPU; rules by vendor refine them):

* family: a linear layer and a pointwise convolution are `matmul`, any other convolution is `conv_direct`;
* panel (columns a work-item computes): the widest of 16, 8, 4 that is at most twice the device's preferred float
  vector and wastes at most a quarter of the columns, else 4;
* block rows: the tallest of 6, 4, 2, 1 that wastes at most a quarter of the rows and leaves at least
  32 work-items to every compute unit, else 1;
* work-group: powers of two within 64 work-items and the device's limits, up to 8 along panels, the rest along rows.

Block and work-group change with the number of output channels, so the times along channels have steps. The shape of
the rules (block by work-items per compute unit, work-group by grid) follows the LiteRT GPU delegate
(github.com/google-ai-edge/LiteRT, tflite/delegates/gpu/common); the figures were chosen on PoCL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .device import Device
from .errors import DeviceError, UserError
from .operators import CUT_MULTIPLE, FLOAT_BYTES, Conv2d, Operator, slice_output
from .plan import Buffer, Launch, LaunchPlan
from .programs import variant_name
from .tables import describe_channels, describe_many

_BLOCK_ROWS = (6, 4, 2, 1)
_PANELS = (16, 8, 4)
_MAX_WASTE = 0.25
_ITEMS_PER_COMPUTE_UNIT = 32
_WORK_GROUP = 64
_WORK_GROUP_PANELS = 8
PAYLOAD_WORDS = 64


def lower(operator: Operator, device: Device, *, row_stride: int | None = None, column_offset: int = 0) -> LaunchPlan:
    """The plan of one operator. `row_stride` and `column_offset` (in floats) place the output inside a larger one.

    Raises DeviceError when a buffer would be larger than the device allows.
    """
    row = lower_many([operator], device).iloc[0]
    quantities = {str(name): _plain(value) for name, value in row.items() if name not in ("family", "kernel")}
    columns = operator.channels
    stride = columns if row_stride is None else row_stride
    panel = int(row["panel"])
    packed = -(-columns // panel) * panel * operator.matmul[2] * FLOAT_BYTES
    rows = operator.matmul[0]
    buffers = [
        Buffer("input", "input", operator.input_bytes),
        Buffer("weights", "weights", packed, panel=panel),
        Buffer("output", "output", rows * stride * FLOAT_BYTES, row_stride=stride, column_offset=column_offset),
    ]
    if row["family"] == "conv_direct":
        assert isinstance(operator, Conv2d)
        buffers.insert(2, Buffer("zeros", "zeros", operator.in_channels * FLOAT_BYTES))
        numbers = _conv_arguments(operator, rows, columns)
    else:
        numbers = [rows, columns, operator.matmul[2]]
    args: list[dict[str, Any]] = [{"buffer": buffer.name} for buffer in buffers]
    args += [{"i32": number} for number in (*numbers, stride, column_offset)]
    args.append({"signal": True})
    for buffer in buffers:
        if buffer.bytes > device.max_alloc_bytes:
            raise DeviceError(
                f"{operator.label}: buffer {buffer.name!r} needs {buffer.bytes} bytes, "
                f"{device.name} allows {device.max_alloc_bytes}; leave this layer out or use a smaller one"
            )
    sizes = [int(row[name]) for name in ("gx", "gy", "lx", "ly")]
    global_size = (_round_up(sizes[0], sizes[2]), _round_up(sizes[1], sizes[3]))
    launch = Launch(row["kernel"], tuple(args), global_size, (sizes[2], sizes[3]))
    launches, signals = _with_signal(launch, int(row["work_groups"]), device)
    return LaunchPlan(row["kernel"], tuple(buffers), launches, signals, quantities)


def lower_half(operator: Operator, cut: int, device: Device) -> LaunchPlan:
    """The GPU's part of a split: channels from `cut` on, written into the whole operator's output."""
    if cut % CUT_MULTIPLE:
        raise UserError(f"{operator.label}: cut {cut} is no multiple of {CUT_MULTIPLE}")
    half = slice_output(operator, cut, operator.channels)
    return lower(half, device, row_stride=operator.channels, column_offset=cut)


def lower_sync(device: Device) -> LaunchPlan:
    """The empty kernel whose joining is timed: it writes a payload and signals."""
    kernel = variant_name("join_probe", 0, 0, device.in_kernel_signal)
    payload = Buffer("payload", "payload", PAYLOAD_WORDS * 4)
    args = ({"buffer": "payload"}, {"i32": PAYLOAD_WORDS}, {"sequence": True}, {"signal": True})
    local = min(_WORK_GROUP, device.max_work_group_size, device.max_work_item_sizes[0])
    local = int(_power_of_two(np.array([local]))[0])
    launch = Launch(kernel, args, (_round_up(PAYLOAD_WORDS, local),), (local,))
    launches, signals = _with_signal(launch, _round_up(PAYLOAD_WORDS, local) // local, device)
    return LaunchPlan(kernel, (payload,), launches, signals, {})


def lower_many(operators: Sequence[Operator], device: Device) -> pd.DataFrame:
    """One row a plan: its kernel, block, grid, work-group and the quantities derived from them. Vectorised."""
    return _lower_table(describe_many(operators), device)


def lower_channels(operator: Operator, channels: NDArray[np.int64], device: Device) -> pd.DataFrame:
    """As `lower_many` for slices of one operator that have these numbers of output channels."""
    return _lower_table(describe_channels(operator, channels), device)


def _lower_table(table: pd.DataFrame, device: Device) -> pd.DataFrame:
    m, n, k = (table[name].to_numpy() for name in "mnk")
    panel = _choose_panel(n, device)
    gx = -(-n // panel)
    block_rows = _choose_rows(m, gx, device)
    gy = -(-m // block_rows)
    lx, ly = _choose_work_group(gx, gy, device)
    groups_x, groups_y = -(-gx // lx), -(-gy // ly)
    family = np.where(table["pointwise"].to_numpy() == 1, "matmul", "conv_direct")
    names = [
        variant_name(f, int(r), int(p), device.in_kernel_signal)
        for f, r, p in zip(family, block_rows, panel, strict=True)
    ]
    work_groups = groups_x * groups_y
    return table.assign(
        family=family,
        kernel=names,
        block_rows=block_rows,
        panel=panel,
        gx=gx,
        gy=gy,
        lx=lx,
        ly=ly,
        work_groups=work_groups,
        work_group_size=lx * ly,
        threads=work_groups * lx * ly,
        work_groups_per_unit=-(-work_groups // device.compute_units),
        loop=k,
        padded_flops=2 * gy * block_rows * gx * panel * k,
        packed_bytes=gx * panel * k * FLOAT_BYTES,
        input_reads_bytes=gx * gy * block_rows * k * FLOAT_BYTES,
        weight_reads_bytes=gx * gy * panel * k * FLOAT_BYTES,
        utilisation=(m * n) / (work_groups * lx * ly * block_rows * panel),
    )


def _choose_panel(n: NDArray[np.int64], device: Device) -> NDArray[np.int64]:
    widest = max(2 * device.preferred_vector_float, min(_PANELS))
    fits = [(panel <= widest) & (_round_up(n, panel) - n <= _MAX_WASTE * n) for panel in _PANELS]
    return np.select(fits, list(_PANELS), default=min(_PANELS))


def _choose_rows(m: NDArray[np.int64], gx: NDArray[np.int64], device: Device) -> NDArray[np.int64]:
    least = _ITEMS_PER_COMPUTE_UNIT * device.compute_units
    fits = [(_round_up(m, rows) - m <= _MAX_WASTE * m) & (-(-m // rows) * gx >= least) for rows in _BLOCK_ROWS]
    return np.select(fits, list(_BLOCK_ROWS), default=1)


def _choose_work_group(
    gx: NDArray[np.int64], gy: NDArray[np.int64], device: Device
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    budget = min(_WORK_GROUP, device.max_work_group_size)
    lx = _power_of_two(np.minimum(gx, min(_WORK_GROUP_PANELS, budget, device.max_work_item_sizes[0])))
    ly = _power_of_two(np.minimum(np.minimum(gy, budget // lx), device.max_work_item_sizes[1]))
    return lx, ly


def _with_signal(launch: Launch, work_groups: int, device: Device) -> tuple[tuple[Launch, ...], int]:
    if device.in_kernel_signal:
        return (launch,), work_groups
    return (launch, Launch("raise_signal", ({"signal": True},), (1,), (1,))), 1


def _conv_arguments(op: Conv2d, pixels: int, columns: int) -> list[int]:
    image = [op.height, op.width, op.in_channels, op.output_width, pixels, columns]
    return [*image, op.kernel_h, op.kernel_w, op.stride, op.pad_h, op.pad_w]


def _round_up(value: Any, multiple: Any) -> Any:
    return -(-value // multiple) * multiple


def _power_of_two(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The largest power of two that is at most each value."""
    return 2 ** np.floor(np.log2(values)).astype(np.int64)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
