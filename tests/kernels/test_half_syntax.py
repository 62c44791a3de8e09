"""Kernels that compute in halves, which PoCL cannot: at least they are OpenCL C 1.2 with cl_khr_fp16."""

from __future__ import annotations

import shutil
import subprocess
from itertools import islice

import pytest

from splitfleet.kernels import Device
from splitfleet.kernels.check import KINDS, described_devices, draw_cases
from splitfleet.kernels.programs import program_for

CLANG = next(filter(None, map(shutil.which, ("clang-14", "clang"))), None)
GPU = Device(
    "a GPU", "a vendor", 4, 1024, (1024, 1024, 64), 8, 2**30, False, False,
    extensions=frozenset({"cl_khr_fp16"}), image2d_max=(16384, 16384),
)  # fmt: skip


def _kernels() -> dict[str, str]:
    """A kernel of each family, of halves and with each kind of output, by its source without block and epilogue."""
    found = {}
    cases = islice(draw_cases(GPU, seed=0), 6 * len(KINDS) * 3 * len(described_devices(GPU)))
    for plan in (case.plan() for case in cases if case.precision == "fp16"):
        found.setdefault((plan.kernel.split("_fp16")[0].rsplit("_", 1)[0], "out32" in plan.kernel), plan.kernel)
    return {f"{family}{' out32' * out32}": kernel for (family, out32), kernel in found.items()}


@pytest.mark.peer
@pytest.mark.skipif(CLANG is None, reason="clang is not installed")
@pytest.mark.parametrize(("variant", "kernel"), sorted(_kernels().items()))
def test_half_arithmetic_is_valid_opencl(variant: str, kernel: str) -> None:
    assert CLANG is not None
    language = ["-x", "cl", "-cl-std=CL1.2", "-Xclang", "-finclude-default-header", "-target", "spir64"]
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-unused-function"]
    command = [CLANG, *language, "-fsyntax-only", *warnings, "-"]
    done = subprocess.run(command, input=program_for(kernel).source, text=True, capture_output=True, timeout=180)
    assert done.returncode == 0, done.stderr
