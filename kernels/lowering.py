"""Lowering: which kernel, block and work-group an operator gets on a device, and the launch plan that follows.

The decisions are the rules' (`rules`, by vendor and generation) and the kernel families' (`families`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .device import Device
from .errors import DeviceError, UserError
from .families import FAMILIES, Assembly, Request, arguments
from .operators import CUT_MULTIPLE, FLOAT_BYTES, Operator, slice_output
from .plan import Buffer, Launch, LaunchPlan
from .precision import Precision, storage_bytes, with_clipping
from .programs import Variant
from .rules import Rules, rules_for
from .rules.base import power_of_two, round_up
from .tables import Columns, shapes_of_channels, shapes_of_many
from .tuning import TunedChoice, Tuning, apply_tuning, work_groups_for

if TYPE_CHECKING:
    import pandas as pd

PAYLOAD_WORDS = 64
_WORK_GROUP = 64
_NAMES = ("family", "kernel")
_TENSOR_BYTES = ("input_bytes", "weight_bytes", "output_bytes", "residual_bytes", "gathered_bytes")
_CONVERTED = 4  # numbers that a work-item of `convert_input` converts


def lower(
    operator: Operator,
    device: Device,
    *,
    precision: Precision = "fp32",
    tuned: Tuning | None = None,
    row_stride: int | None = None,
    column_offset: int = 0,
) -> LaunchPlan:
    """The plan of one operator. `row_stride` and `column_offset` (elements) place the output inside a larger one.

    `tuned` replaces the rules' work-group where it knows a better one.

    Raises DeviceError when a buffer would be larger than the device allows, or when it cannot compute with halves.
    """
    target = _Target(device, precision, tuned)
    stride = operator.channels if row_stride is None else row_stride
    return _plan(operator, target, (stride, column_offset), shared=False)


def lower_half(
    operator: Operator,
    cut: int,
    device: Device,
    *,
    precision: Precision = "fp32",
    tuned: Tuning | None = None,
) -> LaunchPlan:
    """The GPU's part of a split: channels from `cut` on, written into the whole operator's output.

    Input, residual and output are shared with the CPU and so are fp32 in every precision: the plan converts.
    """
    if cut % CUT_MULTIPLE:
        raise UserError(f"{operator.label}: cut {cut} is no multiple of {CUT_MULTIPLE}")
    half = slice_output(operator, cut, operator.channels)
    return _plan(half, _Target(device, precision, tuned), (operator.channels, cut), shared=True)


def lower_sync(device: Device) -> LaunchPlan:
    """The empty kernel whose joining is timed: it writes a payload and signals."""
    kernel = Variant("join_probe", in_kernel_signal=device.in_kernel_signal).name
    payload = Buffer("payload", "payload", PAYLOAD_WORDS * 4)
    args = ({"buffer": "payload"}, {"i32": PAYLOAD_WORDS}, {"sequence": True}, {"signal": True})
    local = min(_WORK_GROUP, device.max_work_group_size, device.max_work_item_sizes[0])
    local = int(power_of_two(np.array([local]))[0])
    launch = Launch(kernel, args, (round_up(PAYLOAD_WORDS, local),), (local,))
    launches, signals = _with_signal([launch], device)
    return LaunchPlan(kernel, (payload,), launches, signals, {})


def lower_many(
    operators: Sequence[Operator],
    device: Device,
    *,
    precision: Precision = "fp32",
    tuned: Tuning | None = None,
) -> pd.DataFrame:
    """One row a plan of `lower`: its kernel, block, grid, work-group and the quantities derived from them. Vectorised.

    Sizes in bytes are those of the tensors as the GPU stores them.
    """
    import pandas as pd  # not above: see kernels/tables.py

    return pd.DataFrame(_lower_many(operators, _Target(device, precision, tuned), shared=False))


def lower_channels(
    operator: Operator,
    channels: NDArray[np.int64],
    device: Device,
    *,
    precision: Precision = "fp32",
    tuned: Tuning | None = None,
) -> pd.DataFrame:
    """As `lower_many`, for the GPU's parts of one operator that have these numbers of output channels.

    Fewer channels than the operator has make a half (`lower_half`), all of them the whole operator (`lower`).
    """
    import pandas as pd

    channels = np.asarray(channels, dtype=np.int64)
    exact = tuned.exact_channels(operator, channels) if tuned else {}
    epilogues = [operator.epilogue_name] * len(channels)
    shapes = shapes_of_channels(operator, channels)
    target = _Target(device, precision, tuned)
    return pd.DataFrame(_lower(shapes, epilogues, target, channels < operator.channels, exact))


def work_group_candidates(
    operator: Operator, device: Device, *, precision: Precision = "fp32"
) -> list[tuple[int, ...]]:
    """Work-groups of the operator's main launch that are worth timing; the rules' own is the first.

    `lower(operator, device, tuned=Tuning.of_one(operator, kernel, local))` gives the plan with one of them.
    """
    columns = _lower_many([operator], _Target(device, precision, None), shared=False)
    return work_groups_for({name: values[0] for name, values in columns.items()}, device)


@dataclass(frozen=True)
class _Target:
    """What operators are lowered for."""

    device: Device
    precision: Precision
    tuned: Tuning | None

    def __post_init__(self) -> None:
        if self.precision == "fp16" and not self.device.has_fp16:
            raise DeviceError(
                f"{self.device.name} cannot compute with halves (it lacks cl_khr_fp16); use precision fp16_fp32"
            )


def _lower_many(operators: Sequence[Operator], target: _Target, shared: bool) -> Columns:
    exact = target.tuned.exact(operators) if target.tuned else {}
    epilogues = [operator.epilogue_name for operator in operators]
    return _lower(shapes_of_many(operators), epilogues, target, np.full(len(operators), shared), exact)


def _lower(
    shapes: Columns,
    epilogues: Sequence[str],
    target: _Target,
    shared: NDArray[np.bool_],
    exact: Mapping[int, TunedChoice],
) -> Columns:
    """The columns of shapes and those of their plans. `shared`: input and output are the CPU's, too."""
    device, precision = target.device, target.precision
    rules = rules_for(device, precision)
    family = rules.family(shapes)
    mixed = shared & (precision != "fp32")
    columns: Columns = {"family": family, "kernel": np.empty(len(family), dtype=object)}
    # Any family gives an empty table its columns.
    for name in dict.fromkeys(family) or list(FAMILIES)[:1]:
        at = np.flatnonzero(family == name)
        choice = FAMILIES[name].choose({key: values[at] for key, values in shapes.items()}, rules)
        for key, values in choice.columns().items():
            columns.setdefault(key, np.zeros(len(family), dtype=np.int64))[at] = values
        named = _kernel_namer(name, tuple(choice.block), precision, device.in_kernel_signal)
        sizes = zip(*(column.tolist() for column in choice.block.values()), strict=True)
        columns["kernel"][at] = [
            named(size, bool(mixed[index]), epilogues[index]) for size, index in zip(sizes, at.tolist(), strict=True)
        ]
    if target.tuned is not None:
        apply_tuning(columns, target.tuned, exact, device)
    stored = {key: shapes[key] * storage_bytes(precision) // 4 for key in _TENSOR_BYTES}
    return shapes | stored | columns | _derived(shapes, columns, mixed, rules)


def _kernel_namer(
    family: str, letters: tuple[str, ...], precision: Precision, in_kernel_signal: bool
) -> Callable[[tuple[int, ...], bool, str], str]:
    """Names kernels by the sizes of their block, float output and epilogue. Thousands of cuts have few names."""

    @cache
    def name(sizes: tuple[int, ...], float_output: bool, epilogue: str) -> str:
        block = dict(zip(letters, sizes, strict=True))
        return Variant(family, block, precision, float_output, epilogue, in_kernel_signal).name

    return name


def _derived(shapes: Columns, columns: Columns, mixed: NDArray[np.bool_], rules: Rules) -> Columns:
    """The quantities that follow from grid, work-group and block, whatever the family."""
    groups = [-(-columns[f"g{axis}"] // columns[f"l{axis}"]) for axis in "xyz"]
    work_groups = groups[0] * groups[1] * groups[2]
    size = columns["lx"] * columns["ly"] * columns["lz"]
    threads = work_groups * size
    outputs = threads * columns["block_rows"] * columns["panel"] // columns["sharing_items"]
    signal_launches = 0 if rules.device.in_kernel_signal else 1
    return {
        "work_groups": work_groups,
        "work_group_size": size,
        "threads": threads,
        "work_groups_per_unit": -(-work_groups // rules.device.compute_units),
        "launches": columns["launches"] + mixed + signal_launches,
        # Four bytes read and two written of each number of the input.
        "converted_bytes": np.where(mixed, shapes["input_bytes"] // 4 * 6, 0),
        "utilisation": shapes["m"] * shapes["n"] / outputs,
    }


def _plan(operator: Operator, target: _Target, place: tuple[int, int], shared: bool) -> LaunchPlan:
    """`place`: row stride and column offset of the output inside the whole operator's."""
    device, precision = target.device, target.precision
    columns = _lower_many([operator], target, shared)
    row = {name: _plain(values[0]) for name, values in columns.items()}
    mixed = shared and precision != "fp32"
    request = Request(operator, device, precision, row["kernel"], row, *place, mixed)
    family = FAMILIES[row["family"]]
    assembly = family.assemble(request)
    if mixed:
        assembly = _with_conversion(assembly, request)
    for buffer in assembly.buffers:
        _check_size(buffer, operator, device)
    launches, signals = _with_signal(assembly.launches, device)
    tolerance = family.tolerance(precision, row["k"])
    if precision != "fp32":
        tolerance = with_clipping(tolerance, row["k"], operator.epilogue_name)
    return LaunchPlan(
        row["kernel"],
        tuple(assembly.buffers),
        launches,
        signals,
        {name: value for name, value in row.items() if name not in _NAMES},
        precision,
        tolerance,
        tuple(assembly.setup),
    )


def _with_conversion(assembly: Assembly, request: Request) -> Assembly:
    """The assembly behind a launch that converts the shared fp32 input for it."""
    *sides, channels = request.operator.input_shape
    rows, stride = int(np.prod(sides)), request.input_stride
    given = next(buffer for buffer in assembly.buffers if buffer.role == "input")
    shared = Buffer("shared_input", "input", rows * stride * FLOAT_BYTES)
    buffers = [shared, *(replace(buffer, role="scratch") if buffer is given else buffer for buffer in assembly.buffers)]
    offset = request.column_offset if stride > channels else 0
    args = arguments([shared, given], rows, channels, stride, offset)
    rules = rules_for(request.device, request.precision)
    grid = np.array([[-(-channels // _CONVERTED)], [rows]])
    local = tuple(int(size[0]) for size in rules.work_group(*grid))
    global_size = tuple(round_up(int(size[0]), items) for size, items in zip(grid, local, strict=True))
    convert = Launch("convert_input", tuple(args), global_size, local)
    return replace(assembly, buffers=buffers, launches=[convert, *assembly.launches])


def _with_signal(launches: Sequence[Launch], device: Device) -> tuple[tuple[Launch, ...], int]:
    if not device.in_kernel_signal:
        return (*launches, Launch("raise_signal", ({"signal": True},), (1,), (1,))), 1
    last = launches[-1]
    return tuple(launches), int(np.prod(last.global_size) // np.prod(last.local_size))


def _check_size(buffer: Buffer, operator: Operator, device: Device) -> None:
    if buffer.bytes > device.max_alloc_bytes:
        raise DeviceError(
            f"{operator.label}: buffer {buffer.name!r} needs {buffer.bytes} bytes, "
            f"{device.name} allows {device.max_alloc_bytes}; leave this layer out or use a smaller one"
        )
    if buffer.image is not None and any(map(int.__gt__, buffer.image, device.image2d_max)):
        raise DeviceError(
            f"{operator.label}: buffer {buffer.name!r} needs an image of {buffer.image}, "
            f"{device.name} allows {device.image2d_max}; leave this layer out or use a smaller one"
        )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
