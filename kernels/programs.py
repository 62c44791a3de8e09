"""OpenCL programs: one source text for each kernel variant, made from sources/*.cl.

A variant fixes the block that one work-item computes (rows x panel of columns); shapes stay kernel arguments, since
each new build costs a compile on the phone. The variant's name says all: `matmul_r6p16`, `conv_direct_r4p8`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

from .errors import UserError

OPTIONS = "-cl-std=CL1.2 -w"
"""OpenCL C 1.2 is what every phone has, and with 2.0 and 3.0 PoCL rejects atomics on shared virtual memory.
-w: every vstore16 draws an ABI warning from clang on x86, which would bury a real build log."""

_VARIANT = re.compile(r"(matmul|conv_direct|join_probe)(?:_r(\d+)p(\d+))?(_signal)?")


@dataclass(frozen=True)
class Program:
    """Source and build options of one OpenCL program; `id` is a hash of both."""

    source: str
    options: str

    @property
    def id(self) -> str:
        return sha256(f"{self.options}\0{self.source}".encode()).hexdigest()[:16]


def variant_name(family: str, block_rows: int, panel: int, in_kernel_signal: bool) -> str:
    """The kernel's name; `_signal` marks kernels whose work-groups raise the signal counter themselves."""
    block = f"_r{block_rows}p{panel}" if panel else ""
    return f"{family}{block}{'_signal' if in_kernel_signal else ''}"


@cache
def program_for(kernel: str) -> Program:
    """The program that holds this kernel. Raises UserError for a name that this version does not know."""
    match = _VARIANT.fullmatch(kernel)
    if match is None:
        raise UserError(f"unknown kernel {kernel!r}: was the plan made by another version of Splitfleet?")
    family, rows, panel, signal = match.groups()
    lines = [f"#define KERNEL {kernel}", f"#define SIGNAL_IN_KERNEL {1 if signal else 0}"]
    if panel is not None:
        lines += [
            f"#define BLOCK_ROWS {rows}",
            f"#define PANEL {panel}",
            f"#define VEC float{panel}",
            f"#define VSTORE vstore{panel}",
            # Rows are unrolled by hand: PoCL's compiler keeps an array of sums in memory, four times slower.
            "#define FOR_ROWS(M) " + " ".join(f"M({i})" for i in range(int(rows))),
        ]
    sources = files(__package__).joinpath("sources")
    texts = [sources.joinpath(name).read_text("utf-8") for name in ("common.cl", f"{family}.cl")]
    return Program("\n".join([*lines, *texts]), OPTIONS)
