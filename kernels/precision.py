"""Precisions of a GPU plan: how tensors are stored, how sums are kept, and how exact the results can be."""

from __future__ import annotations

import math
from typing import Literal, get_args

from .errors import UserError

Precision = Literal["fp32", "fp16", "fp16_fp32"]
"""fp16: half storage and arithmetic (cl_khr_fp16). fp16_fp32: half storage, fp32 sums, on any device."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

HALF_ROUNDING = 2.0**-11
"""The largest relative error of rounding a number to half precision."""

FP32_TOLERANCE = 1e-4
MOST_TOLERANCE = 0.1
"""The agent accepts no larger one."""


def as_precision(name: str) -> Precision:
    """The precision of this name. Raises UserError for an unknown one."""
    for precision in PRECISIONS:
        if precision == name:
            return precision
    raise UserError(f"unknown precision {name!r}; known: {', '.join(PRECISIONS)}")


def storage_bytes(precision: Precision) -> int:
    """Bytes of one stored number."""
    return 4 if precision == "fp32" else 2


def storage_type(precision: Precision) -> str:
    """The buffer type of a plan's tensors."""
    return "f32" if precision == "fp32" else "f16"


def tolerance(precision: Precision, depth: int) -> float:
    """The largest acceptable max |output - reference| / max |reference| of sums of `depth` products.

    Tensors hold values that the precision can store, so only computing makes errors.

    * fp32: 1e-4, far above the 1e-6 seen for sums of some thousand products, far below any indexing error.
    * fp16_fp32: the sum is rounded to half once, 2^-11 of itself at most, so of the largest: 1e-3 is twice that.
    * fp16: each addition rounds, too; as a random walk over `depth` additions that adds sqrt(depth) x 2^-11. The
      largest tolerance is that of a sum of 41,000 products.
    """
    if precision == "fp32":
        return FP32_TOLERANCE
    stored = 1e-3
    return stored if precision == "fp16_fp32" else min(MOST_TOLERANCE, stored + math.sqrt(depth) * HALF_ROUNDING)


def with_clipping(limit: float, depth: int, epilogue: str) -> float:
    """A tolerance of halves behind an epilogue: relu6 leaves no output above 6, so errors weigh more against them.

    The largest of many sums of `depth` products of numbers uniform in [-1, 1] is about four of their standard
    deviations, 4 sqrt(depth) / 3.
    """
    if epilogue != "relu6":
        return limit
    return min(MOST_TOLERANCE, limit * max(1.0, 4 / 3 * math.sqrt(depth) / 6))
