"""Operators as numbers: the order of a split table, its binary records, and how far two shapes lie apart.

An operator's *words* are ten integers: pool mode, kernel_h, kernel_w, stride, pad_h, pad_w (the *window*, all 0 for a
linear layer), then the sizes: input channels (0 where each output channel has its own), output channels, height, and
width, or for a linear layer 0 and its rows. The binary form (docs/split-table.md) has the same ten words.
"""

from __future__ import annotations

from typing import Any

from splitfleet.kernels import EPILOGUES, Operator, operator_from_json
from splitfleet.kernels.operators import POOL_MODES

OPERATOR_TYPES = ("linear", "conv2d", "depthwise_conv2d", "pool2d")
WINDOW_WORDS = 6
WORDS = 10
ROWS_WORD = 9
OCTAVE = 256
"""Distances are in 256ths of a doubling."""
EPILOGUE_DISTANCE = OCTAVE // 4

_WINDOW = ("mode", "kernel_h", "kernel_w", "stride", "pad_h", "pad_w")
_SIZES = {
    "linear": ("in_features", "out_features", "", "rows"),
    "conv2d": ("in_channels", "out_channels", "height", "width"),
    "depthwise_conv2d": ("", "channels", "height", "width"),
    "pool2d": ("", "channels", "height", "width"),
}


def words_of(operator: Operator) -> tuple[int, ...]:
    """The operator's ten words, without its type and epilogue."""
    data = operator.to_json()
    if "mode" in data:
        data["mode"] = POOL_MODES.index(data["mode"])
    return tuple(data.get(name, 0) for name in (*_WINDOW, *_SIZES[operator.type]))


def operator_of(type_index: int, words: tuple[int, ...], epilogue_index: int) -> Operator:
    """The operator of these numbers.

    Raises IndexError, ValueError or UserError for numbers that are no operator's.
    """
    kind = OPERATOR_TYPES[type_index]
    data: dict[str, Any] = {"type": kind}
    for name, word in zip((*_WINDOW, *_SIZES[kind]), words, strict=True):
        belongs = name and (kind != "linear" or name not in _WINDOW) and (name != "mode" or kind == "pool2d")
        if belongs:
            data[name] = POOL_MODES[word] if name == "mode" else word
        elif word:
            raise ValueError(f"{kind} with a {name or 'size'} of {word}")
    if epilogue_index:
        data["epilogue"] = EPILOGUES[epilogue_index]
    return operator_from_json(data)


def type_index(operator: Operator) -> int:
    return OPERATOR_TYPES.index(operator.type)


def epilogue_index(operator: Operator) -> int:
    return EPILOGUES.index(operator.epilogue_name)


def operator_key(operator: Operator, rows_low: int = 0) -> tuple[int, ...]:
    """The order of a table: by type, words but the last, and epilogue; then exact shapes before ranges of rows, which
    begin at `rows_low`; then by the last word. So all ranges of one layer stand side by side."""
    words = words_of(operator)
    last = rows_low or words[-1]
    return type_index(operator), *words[:-1], epilogue_index(operator), int(rows_low > 0), last


def shape_hash(operator: Operator, any_rows: bool = False) -> int:
    """A 32-bit hash of type, window, epilogue and sizes; with `any_rows`, of a linear layer whatever its rows.

    The upper half of a sum of products with odd numbers of 64 bits: multilinear hashing (Lemire and Kaser, "Strongly
    universal string hashing is fast", 2014), with powers of 2^64 over the golden ratio instead of random numbers. No
    product waits for another, and the window's sum is a part of the shape's.
    """
    words = words_of(operator)
    last = () if any_rows else words[ROWS_WORD:]
    sizes = (*words[WINDOW_WORDS:ROWS_WORD], *last)
    return _upper_sum((type_index(operator), *words[:WINDOW_WORDS], epilogue_index(operator), *sizes))


def window_hash(type_index: int, window: tuple[int, ...]) -> int:
    """A 32-bit hash of a type and its window, in the same way."""
    return _upper_sum((type_index, *window))


_FACTORS = tuple(pow(0x9E3779B97F4A7C15, power, 1 << 64) for power in range(1, WORDS + 3))


def _upper_sum(numbers: tuple[int, ...]) -> int:
    return sum(factor * number for factor, number in zip(_FACTORS, numbers, strict=False)) >> 32 & 0xFFFFFFFF


def octaves(size: int) -> int:
    """log2(size) in 256ths, a straight line between powers of two, so that integers alone decide; 0 for 0."""
    if size == 0:
        return 0
    power = size.bit_length() - 1
    return power * OCTAVE + ((size * OCTAVE) >> power) - OCTAVE
