"""Checks that every kernel which lowering chooses computes what NumPy computes, on a local OpenCL device.

Lowering is asked as several described GPUs would ask it (`described_devices`), so that one device runs the kernels,
blocks and work-groups of all vendors. Operators are drawn by kind, sizes among them that fit no block: 1, primes, one
more and one less than a multiple of a block.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle, islice, product
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from .device import Device
from .errors import DeviceError
from .lowering import lower, lower_half
from .operators import EPILOGUES, POOL_MODES, Conv2d, DepthwiseConv2d, Linear, Operator, Pool2d, cuts
from .plan import LaunchPlan
from .precision import PRECISIONS, Precision
from .programs import Variant
from .reference import reference
from .runner import Runner, operator_tensors

if TYPE_CHECKING:
    import pyopencl

_GPUS = (
    # vendor, name, version, compute units, largest work-group, preferred vector of floats
    ("QUALCOMM", "QUALCOMM Adreno(TM)", "OpenCL 2.0 Adreno(TM) 640", 2, 1024, 1),
    ("QUALCOMM", "QUALCOMM Adreno(TM)", "OpenCL 2.0 Adreno(TM) 540", 4, 1024, 1),
    ("ARM", "Mali-G76 r0p0", "OpenCL 2.0 v1.r19p0", 12, 384, 4),
    ("Imagination Technologies", "PowerVR Rogue GE8320", "OpenCL 1.2", 1, 512, 1),
    ("NVIDIA Corporation", "NVIDIA GPU", "OpenCL 3.0 CUDA", 4, 1024, 1),
    ("a vendor", "a GPU", "OpenCL 1.2", 4, 256, 4),
)
_SIZES = (1, 2, 3, 4, 5, 7, 8, 12, 13, 15, 16, 17, 20, 31, 32, 33, 36, 53, 64)


@dataclass(frozen=True)
class Case:
    """One operator to be computed as the GPU `device` would be asked to; `cut` is 0 for the whole operator."""

    operator: Operator
    device: Device
    precision: Precision
    cut: int = 0

    @property
    def label(self) -> str:
        half = f" from channel {self.cut} on" if self.cut else ""
        return f"{self.operator.label}{half}, {self.precision}, as for {self.device.version or self.device.name}"

    def plan(self) -> LaunchPlan:
        if self.cut:
            return lower_half(self.operator, self.cut, self.device, precision=self.precision)
        return lower(self.operator, self.device, precision=self.precision)


@dataclass(frozen=True)
class Outcome:
    """What a case gave: the kernel, its relative error and tolerance, and what else was wrong ("" where nothing)."""

    kernel: str
    error: float
    tolerance: float
    fault: str = ""

    @property
    def is_right(self) -> bool:
        return not self.fault and self.error <= self.tolerance


@dataclass(frozen=True)
class CheckRow:
    """The cases of one kernel family in one precision. `worst`: the case nearest to its tolerance, or beyond it."""

    kernel: str
    cases: int
    worst_error: float
    tolerance: float
    status: str
    worst: str


def check_device(
    opencl_device: pyopencl.Device,
    *,
    cases: int = 300,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> list[CheckRow]:
    """Runs `cases` cases on a local device; rows by kernel family and precision. `status` is ok, wrong or failed.

    Every kind of operator meets every precision and described GPU as evenly as the number of cases allows. A
    precision that the device lacks is left out. `progress` is called with the number of cases done.
    """
    runner = Runner(opencl_device)
    found: dict[str, list[tuple[Case, Outcome]]] = defaultdict(list)
    for done, case in enumerate(islice(draw_cases(runner.device, seed), cases), start=1):
        outcome = run_case(runner, case)
        variant = Variant.parse(outcome.kernel)
        found[Variant(variant.family, precision=variant.precision).name].append((case, outcome))
        progress(done)
    return [_row(kernel, outcomes) for kernel, outcomes in sorted(found.items())]


def run_case(runner: Runner, case: Case) -> Outcome:
    """Executes a case and compares it with NumPy.

    The error is max |output - reference|, relative to the largest reference or to the size that such a sum typically
    has, whichever is larger: a single output may come out near zero by cancellation.
    """
    operator, cut = case.operator, case.cut
    plan = case.plan()
    inputs, weights, residual = operator_tensors(operator, seed=operator.channels, precision=case.precision)
    expected = reference(operator, inputs, weights, residual)
    try:
        output, _ = runner.run(LaunchPlan.from_json(plan.to_json()), inputs, weights[:, cut:], residual)
    except DeviceError as error:
        return Outcome(plan.kernel, float("nan"), plan.tolerance, str(error))
    own = output[:, cut:]
    fault = ""
    if not np.isnan(output[:, :cut]).all():
        fault = "wrote into the CPU's channels"
    elif not np.isfinite(own).all():
        fault = "left outputs unwritten, or not finite"
    difference = np.abs(own - expected[:, cut:]).max()
    scale = max(np.abs(expected).max(), _typical_output(operator))
    return Outcome(plan.kernel, float(difference / scale), plan.tolerance, fault)


def described_devices(local: Device) -> list[Device]:
    """The local device itself, and GPUs whose rules shall be followed, with limits that the local device keeps."""
    described = [
        replace(
            local,
            vendor=vendor,
            name=name,
            version=version,
            platform="",
            compute_units=units,
            max_work_group_size=min(work_group, local.max_work_group_size),
            preferred_vector_float=vector,
        )
        for vendor, name, version, units, work_group, vector in _GPUS
    ]
    return [local, *described]


def draw_cases(local: Device, seed: int) -> Iterator[Case]:
    """Endless cases, each kind of operator in each precision and for each described GPU in turn.

    Where the turn comes round again, operators, epilogues and cuts are other ones; half of the cases are cut.
    """
    random = Random(seed)
    precisions = [precision for precision in PRECISIONS if precision != "fp16" or local.has_fp16]
    turns = list(product(described_devices(local), precisions, KINDS))
    random.shuffle(turns)
    for device, precision, kind in cycle(turns):
        operator = draw_operator(kind, random)
        inside = cuts(operator).tolist()
        cut = random.choice(inside) if inside and random.random() < 0.5 else 0
        yield Case(operator, replace(device, in_kernel_signal=random.random() < 0.5), precision, cut)


def draw_operator(kind: str, random: Random) -> Operator:
    """A random operator of one of KINDS."""
    return KINDS[kind](random)


def _size(random: Random) -> int:
    return random.choice(_SIZES)


def _wide(random: Random) -> int:
    """A number of output channels, now and then as large as true layers have."""
    return random.choice([_size(random), _size(random), 136, 260])


def _epilogue(random: Random) -> str:
    return random.choice(EPILOGUES)


def _vector(random: Random) -> Linear:
    return Linear(random.randint(1, 9), _size(random), random.choice([_size(random), 1000]), _epilogue(random))


def _linear(random: Random) -> Linear:
    rows, inputs = random.choice([10, 31, 50, 197]), random.choice([_size(random), 64, 100])
    return Linear(rows, inputs, _wide(random), _epilogue(random))


def _pointwise(random: Random) -> Conv2d:
    sizes = random.randint(1, 15), random.randint(1, 15), _size(random), _size(random)
    return Conv2d(*sizes, 1, 1, 1, 0, 0, _epilogue(random))


def _small_conv(random: Random) -> Conv2d:
    return Conv2d(*_image(random), random.randint(1, 4), random.randint(1, 16), *_window(random), _epilogue(random))


def _conv(random: Random) -> Conv2d:
    return Conv2d(*_image(random), _size(random), _size(random), *_window(random), _epilogue(random))


def _winograd_conv(random: Random) -> Conv2d:
    """3x3 with stride 1, and most often large enough for Winograd's thresholds."""
    height, width = (random.choice([13, 25, 45, 47]) for _ in "hw")
    inputs, outputs = (random.choice([64, 65, 128, 132]) for _ in "io")
    pad_h, pad_w = (random.randint(0, 1) for _ in "hw")
    return Conv2d(height, width, inputs, outputs, 3, 3, 1, pad_h, pad_w, _epilogue(random))


def _depthwise(random: Random) -> DepthwiseConv2d:
    return DepthwiseConv2d(*_image(random), _size(random), *_window(random), _epilogue(random))


def _pool(random: Random) -> Pool2d:
    kernel_h, kernel_w, stride, pad_h, pad_w = _window(random)
    pads = min(pad_h, kernel_h - 1), min(pad_w, kernel_w - 1)
    return Pool2d(random.choice(POOL_MODES), *_image(random), _size(random), kernel_h, kernel_w, stride, *pads)


def _image(random: Random) -> tuple[int, int]:
    """At least as large as the largest window."""
    return random.randint(5, 17), random.randint(5, 17)


def _window(random: Random) -> tuple[int, int, int, int, int]:
    kernel = random.choice([(1, 1), (2, 2), (3, 3), (3, 3), (5, 5), (1, 3), (4, 2)])
    return (*kernel, random.randint(1, 3), random.randint(0, 2), random.randint(0, 2))


KINDS: dict[str, Callable[[Random], Operator]] = {
    "few rows": _vector,
    "linear": _linear,
    "pointwise": _pointwise,
    "small convolution": _small_conv,
    "convolution": _conv,
    "3x3 convolution": _winograd_conv,
    "depthwise": _depthwise,
    "pool": _pool,
}


def _typical_output(operator: Operator) -> float:
    """The standard deviation of an output before its epilogue, for tensors uniform in [-1, 1]."""
    depth = operator.matmul[2]
    if not isinstance(operator, Pool2d):
        return float(np.sqrt(depth) / 3)
    return float(np.sqrt(1 / (3 * depth)))


def _row(kernel: str, outcomes: list[tuple[Case, Outcome]]) -> CheckRow:
    def nearness(item: tuple[Case, Outcome]) -> float:
        return float("inf") if item[1].fault else item[1].error / item[1].tolerance

    case, worst = max(outcomes, key=nearness)
    status = "ok" if worst.is_right else "failed" if worst.fault else "wrong"
    words = f"{worst.kernel}: {case.label}" + (f": {worst.fault}" if worst.fault else "")
    return CheckRow(kernel, len(outcomes), worst.error, worst.tolerance, status, words)
