"""OpenCL programs: one source text for each kernel variant, made from sources/*.cl.

A variant fixes the family, the block that one work-item computes, the precision and the epilogue; shapes stay kernel
arguments, since each new build costs a compile on the phone. The variant's name says all:
`matmul_r6p16`, `conv_direct_r4p8_fp16_fp32_add_relu_signal`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib.resources import files

from .errors import UserError
from .operators import EPILOGUES
from .precision import Precision, as_precision

OPTIONS = "-cl-std=CL1.2 -w"
"""OpenCL C 1.2 is what every phone has, and with 2.0 and 3.0 PoCL rejects atomics on shared virtual memory.
-w: every vstore16 draws an ABI warning from clang on x86, which would bury a real build log."""

_BLOCK_MACROS = {"r": "ROWS", "p": "PANEL"}
"""What the letters of a block mean: `r6p16` defines BLOCK_ROWS 6 and BLOCK_PANEL 16. A family may add a letter."""

_COMMON = "common"
_SHARED_SOURCES = {"maxpool": "pool", "avgpool": "pool"}
"""Families whose source has another name; there, FAMILY_<NAME> tells which of them is meant."""

_VARIANT = re.compile(
    r"(?P<family>[a-z][a-z0-9_]*?)"
    r"(?:_(?P<block>(?:[a-z]\d+)+))?"
    r"(?:_(?P<precision>fp16_fp32|fp16))?"
    r"(?P<float_output>_out32)?"
    r"(?:_(?P<epilogue>relu6|relu|add_relu|add))?"
    r"(?P<signal>_signal)?"
)
_BLOCK_PART = re.compile(r"([a-z])(\d+)")


@dataclass(frozen=True)
class Program:
    """Source and build options of one OpenCL program; `id` is a hash of both."""

    source: str
    options: str

    @property
    def id(self) -> str:
        return sha256(f"{self.options}\0{self.source}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Variant:
    """What a kernel's name says.

    `block`: sizes by letter. `float_output`: output and residual are fp32 although the precision is another, as in a
    half that shares its output with the CPU. `in_kernel_signal`: its work-groups raise the signal counter themselves.
    """

    family: str
    block: Mapping[str, int] = field(default_factory=dict)
    precision: Precision = "fp32"
    float_output: bool = False
    epilogue: str = "none"
    in_kernel_signal: bool = False

    @property
    def name(self) -> str:
        parts = [self.family, "".join(f"{letter}{size}" for letter, size in self.block.items())]
        parts += ["" if self.precision == "fp32" else self.precision, "out32" if self.float_output else ""]
        parts += ["" if self.epilogue == "none" else self.epilogue, "signal" if self.in_kernel_signal else ""]
        return "_".join(part for part in parts if part)

    @classmethod
    def parse(cls, name: str) -> Variant:
        """The variant of this name. Raises UserError for a name that no variant has."""
        match = _VARIANT.fullmatch(name)
        if match is None:
            raise UserError(f"unknown kernel {name!r}: was the plan made by another version of Splitfleet?")
        return cls(
            match["family"],
            {letter: int(size) for letter, size in _BLOCK_PART.findall(match["block"] or "")},
            as_precision(match["precision"] or "fp32"),
            match["float_output"] is not None,
            match["epilogue"] or "none",
            match["signal"] is not None,
        )


@cache
def program_for(kernel: str) -> Program:
    """The program that holds this kernel: sources/common.cl and the family's own source.

    Raises UserError for a name that this version does not know.
    """
    variant = Variant.parse(kernel)
    sources = files(__package__).joinpath("sources")
    own = sources.joinpath(f"{_SHARED_SOURCES.get(variant.family, variant.family)}.cl")
    if variant.family == _COMMON or not own.is_file():
        raise UserError(f"unknown kernel {kernel!r}: was the plan made by another version of Splitfleet?")
    texts = [source.read_text("utf-8") for source in (sources.joinpath(f"{_COMMON}.cl"), own)]
    return Program("\n".join([*_defines(kernel, variant), *texts]), OPTIONS)


def _defines(kernel: str, variant: Variant) -> list[str]:
    flags = {
        "KERNEL": kernel,
        f"FAMILY_{variant.family.upper()}": 1,
        "SIGNAL_IN_KERNEL": int(variant.in_kernel_signal),
        "HALF_STORAGE": int(variant.precision != "fp32"),
        "HALF_ARITHMETIC": int(variant.precision == "fp16"),
        "FLOAT_OUTPUT": int(variant.float_output),
        "EPILOGUE": EPILOGUES.index(variant.epilogue),
    }
    lines = [f"#define {name} {value}" for name, value in flags.items()]
    for letter, size in variant.block.items():
        name = _BLOCK_MACROS.get(letter, letter.upper())
        lines.append(f"#define BLOCK_{name} {size}")
        # Blocks are unrolled by hand: PoCL's compiler keeps an array of sums in memory, four times slower.
        lines.append(f"#define FOR_{name}(M) " + " ".join(f"M({i})" for i in range(size)))
    return lines
