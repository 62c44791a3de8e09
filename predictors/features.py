"""Features: from the tables of `splitfleet.kernels` to the fixed, named float64 columns that predictors read.

GPU features come from the launch plan (`lower_many`, `lower_channels`, or the quantities stored with a trace), CPU
features from the shape (`describe_many`, `describe_channels`). Products of quantities that a time can be proportional
to are columns too: the cost model is a sum over them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from splitfleet.kernels import Operator, describe_many
from splitfleet.kernels.errors import UserError

UNKNOWN = -1.0
"""Code of a kernel or family that was not seen in training; LightGBM takes it for a missing value."""

SHAPE_FEATURES = (
    "is_conv", "is_depthwise", "is_maxpool", "is_avgpool", "in_height", "in_width", "in_channels", "kernel_h",
    "kernel_w", "stride", "pad_h", "pad_w", "m", "n", "k", "pointwise", "activation", "flops", "input_bytes",
    "weight_bytes", "output_bytes", "residual_bytes", "gathered_bytes",
)  # fmt: skip
_LAUNCH = (
    "block_rows", "panel", "gx", "gy", "gz", "lx", "ly", "lz", "work_groups", "work_group_size", "threads",
    "work_groups_per_unit", "loop", "padded_flops", "packed_bytes", "input_reads_bytes", "weight_reads_bytes",
    "sharing_items", "launches", "scratch_bytes", "converted_bytes", "utilisation",
)  # fmt: skip
_CODES = ("kernel", "family")
_GPU_DERIVED = ("unit_work", "iterations", "thread_work", "padding", "intensity")
_CPU_DERIVED = ("one", "line_flops", "row_block_flops", "moved_bytes", "intensity")
GPU_FEATURES = (*_CODES, *SHAPE_FEATURES, *_LAUNCH, "one", *_GPU_DERIVED)
CPU_FEATURES = (*_CODES, *SHAPE_FEATURES, *_CPU_DERIVED)
CATEGORICAL = _CODES

_LINE_CHANNELS = 16  # fp32 values in a 64-byte line
_ROW_BLOCK = 4  # rows that a CPU matrix product keeps in registers, roughly
_BLOCK = re.compile(r"_(?:[a-z]\d+)+(?=_fp16|$)")
_ENDING = re.compile(r"(_out32)?(_relu6|_relu|_add_relu|_add)?(_signal)?$")


@dataclass(frozen=True)
class Vocabulary:
    """The kernel variants and families seen in training; a categorical feature's code is the index in here."""

    kernels: tuple[str, ...]
    families: tuple[str, ...]

    @classmethod
    def of(cls, kernels: Sequence[str]) -> Vocabulary:
        variants = {variant_of(kernel) for kernel in kernels}
        return cls(tuple(sorted(variants)), tuple(sorted({family_of(variant) for variant in variants})))


def variant_of(kernel: str) -> str:
    """The kernel but for its epilogue, the type of its output and its signal, which are columns of their own or cost
    next to nothing: `matmul_r6p16_fp16_relu_signal` is the variant `matmul_r6p16_fp16`."""
    return _ENDING.sub("", kernel, count=1)


def family_of(kernel: str) -> str:
    """The variant without its block: `matmul_r6p16_fp16_relu_signal` is of the family `matmul_fp16`."""
    return _BLOCK.sub("", variant_of(kernel))


def gpu_features(table: pd.DataFrame, vocabulary: Vocabulary) -> pd.DataFrame:
    """GPU_FEATURES of a table of launch plans: one row a plan, columns `kernel` and the plan's quantities.

    Raises UserError when the plans lack a quantity, as those of another version may.
    """
    frame = take(table, (*SHAPE_FEATURES, *_LAUNCH))
    frame["one"] = 1.0
    block = frame["block_rows"] * frame["panel"]
    frame["unit_work"] = frame["work_groups_per_unit"] * frame["work_group_size"] * block * frame["loop"]
    frame["iterations"] = frame["gx"] * frame["gy"] * frame["loop"]
    frame["thread_work"] = block * frame["loop"]
    frame["padding"] = frame["padded_flops"] / frame["flops"]
    frame["intensity"] = frame["flops"] / _moved_bytes(frame)
    return with_codes(frame, table["kernel"].to_numpy(), vocabulary)[list(GPU_FEATURES)]


def cpu_features(table: pd.DataFrame, vocabulary: Vocabulary) -> pd.DataFrame:
    """CPU_FEATURES of a table of shapes, as `describe_many` gives it."""
    frame = take(table, SHAPE_FEATURES)
    frame["one"] = 1.0
    m, n, k = frame["m"], frame["n"], frame["k"]
    frame["line_flops"] = 2 * m * k * np.ceil(n / _LINE_CHANNELS) * _LINE_CHANNELS
    frame["row_block_flops"] = 2 * n * k * np.ceil(m / _ROW_BLOCK) * _ROW_BLOCK
    frame["moved_bytes"] = _moved_bytes(frame)
    frame["intensity"] = frame["flops"] / frame["moved_bytes"]
    return with_codes(frame, cpu_kernels(table), vocabulary)[list(CPU_FEATURES)]


def cpu_kernels(table: pd.DataFrame) -> NDArray[np.object_]:
    """What the CPU does per row: `product`, `im2col` before it when the convolution is not pointwise, or `depthwise`,
    `maxpool`, `avgpool`."""
    kernels = np.where(table["pointwise"].to_numpy() == 1, "product", "im2col").astype(object)
    for kind in ("depthwise", "maxpool", "avgpool"):
        kernels[table[f"is_{kind}"].to_numpy() == 1] = kind
    return kernels


def plan_table(kernels: Sequence[str], quantities: Sequence[str]) -> pd.DataFrame:
    """The table of launch plans that traces carry: kernel names and quantities as JSON text."""
    return pd.DataFrame([json.loads(text) for text in quantities]).assign(kernel=list(kernels))


def shape_table(operators: Sequence[Operator]) -> pd.DataFrame:
    """The table of shapes that `cpu_features` reads."""
    return describe_many(operators)


def take(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """These columns of a table as float64. Raises UserError where one is missing."""
    if missing := [name for name in names if name not in table.columns]:
        raise UserError(
            f"launch plans lack {', '.join(missing)}: they come from another version of Splitfleet; measure again with "
            "this one, or use the version that wrote them"
        )
    return table[list(names)].astype(np.float64).reset_index(drop=True)


def _moved_bytes(frame: pd.DataFrame) -> pd.Series[float]:
    return frame["input_bytes"] + frame["weight_bytes"] + frame["output_bytes"] + frame["residual_bytes"]


def with_codes(frame: pd.DataFrame, kernels: NDArray[np.object_], vocabulary: Vocabulary) -> pd.DataFrame:
    """The frame with the columns `kernel` and `family`: codes of the vocabulary."""
    kernel_codes = {name: float(code) for code, name in enumerate(vocabulary.kernels)}
    family_codes = {name: float(code) for code, name in enumerate(vocabulary.families)}
    # Names are few and rows are many.
    codes, names = pd.factorize(kernels)
    frame["kernel"] = np.array([kernel_codes.get(variant_of(name), UNKNOWN) for name in names])[codes]
    frame["family"] = np.array([family_codes.get(family_of(name), UNKNOWN) for name in names])[codes]
    return frame
