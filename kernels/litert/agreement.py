"""Whether the rules choose the kernels that the delegate was seen to choose.

Recorded names tell five choices apart: Winograd, fully connected, any other convolution (conv_constants and
conv_generic are both named `convolution_2d`), depthwise, and a pair of layers that was fused into one kernel. A fusion
is decided by the network's graph, which one operator does not show: it is counted and not compared.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from splitfleet.kernels.errors import UserError

from .choice import (
    CONV_CONSTANTS,
    CONV_GENERIC,
    DEPTHWISE,
    DEPTHWISE_3X3,
    DEPTHWISE_STRIDE_2,
    FULLY_CONNECTED,
    WINOGRAD,
    choose_kernels,
)
from .gpu import LitertGpu
from .shapes import describe
from .usc import Recorded

CHOICES = {
    WINOGRAD: "winograd",
    FULLY_CONNECTED: "fully connected",
    **dict.fromkeys((CONV_CONSTANTS, CONV_GENERIC), "other convolution"),
    **dict.fromkeys((DEPTHWISE, DEPTHWISE_3X3, DEPTHWISE_STRIDE_2), "depthwise"),
}
"""What a recorded name can tell of each kernel family."""

_FUSED = "fused"
_NAMES = (
    (re.compile(r"convolution_winograd_"), "winograd"),
    (re.compile(r"fully_connected_"), "fully connected"),
    (re.compile(r"convolution_2d_"), "other convolution"),
    (re.compile(r"depthwise_convolution_"), "depthwise"),
    (re.compile(r"depthwise_conv_plus_1x1_conv_"), _FUSED),
)


@dataclass(frozen=True)
class Agreement:
    """One phone: rows compared, rows fused with a neighbour, and by choice how often it was recorded and predicted.

    `disagreements` are the rows whose recorded choice is another than the predicted one, with the latter.
    """

    phone: str
    gpu: str
    rows: int
    fused: int
    recorded: Mapping[str, int]
    predicted: Mapping[str, int]
    disagreements: tuple[tuple[Recorded, str], ...]

    def disagreements_about(self, choice: str) -> int:
        """Rows of which only one side, recorded or predicted, is this choice."""
        return sum(choice in (_choice_of(row), predicted) for row, predicted in self.disagreements)


def compare(recorded: Sequence[Recorded], gpus: Mapping[str, str]) -> list[Agreement]:
    """One Agreement for each phone that `recorded` has, in the order of their first rows.

    `gpus` gives the name of each phone's GPU. Raises UserError for a phone without one, an unknown GPU, and a
    recorded name that says nothing.
    """
    phones = dict.fromkeys(row.phone for row in recorded)
    if unnamed := [phone for phone in phones if phone not in gpus]:
        raise UserError(f"the GPU of {', '.join(unnamed)} is not known; name it with --gpu {unnamed[0]}=GPU")
    return [_agreement(phone, gpus[phone], [row for row in recorded if row.phone == phone]) for phone in phones]


def _agreement(phone: str, gpu: str, rows: list[Recorded]) -> Agreement:
    compared = [row for row in rows if _choice_of(row) != _FUSED]
    chosen = choose_kernels(describe([row.operator for row in compared]), LitertGpu.from_name(gpu), "fp16")
    predicted = [CHOICES[str(family)] for family in chosen]
    pairs = list(zip(compared, predicted, strict=True))
    return Agreement(
        phone=phone,
        gpu=gpu,
        rows=len(compared),
        fused=len(rows) - len(compared),
        recorded=Counter(_choice_of(row) for row in compared),
        predicted=Counter(predicted),
        disagreements=tuple((row, choice) for row, choice in pairs if choice != _choice_of(row)),
    )


def _choice_of(row: Recorded) -> str:
    for pattern, choice in _NAMES:
        if pattern.match(row.kernel):
            return choice
    raise UserError(f"line {row.line}, {row.phone}: kernel {row.kernel!r} is no name of LiteRT's that is known here")
