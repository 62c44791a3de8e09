"""Kernels on PoCL held to one core, against NumPy's matrix product on one thread, in the same run."""

from __future__ import annotations

import os

# Read when the libraries are loaded: one core for each side.
os.environ |= {"OPENBLAS_NUM_THREADS": "1", "POCL_MAX_PTHREAD_COUNT": "1"}

from statistics import median
from time import perf_counter

import numpy as np

from splitfleet.kernels import Operator, lower, parse_operator
from splitfleet.kernels.runner import Runner, random_tensors

LAYERS = [
    "linear:rows=197,in=768,out=3072",
    "linear:rows=197,in=768,out=768",
    "linear:rows=1,in=2048,out=1000",
    "conv2d:h=56,w=56,in=64,out=64,k=3,pad=1",
    "conv2d:h=14,w=14,in=256,out=1024,k=1",
    "conv2d:h=7,w=7,in=512,out=512,k=3,pad=1",
    "conv2d:h=224,w=224,in=3,out=64,k=7,stride=2,pad=3",
]
REPETITIONS = 9


def bench_kernels_against_numpy() -> None:
    import pyopencl as cl

    platform = next(p for p in cl.get_platforms() if p.name == "Portable Computing Language")
    runner = Runner(platform.get_devices()[0])
    print(f"\n{'layer':54} {'kernel':18} {'GFLOP/s':>8} {'NumPy':>8} {'ratio':>6}")
    for text in LAYERS:
        operator = parse_operator(text)
        ours_us, numpy_us = _times(runner, operator)
        rate, peer = operator.flops / ours_us / 1e3, operator.flops / numpy_us / 1e3
        print(f"{text:54} {lower(operator, runner.device).kernel:18} {rate:8.1f} {peer:8.1f} {rate / peer:6.2f}")


def _times(runner: Runner, operator: Operator) -> tuple[float, float]:
    """Median times in us of our kernel and of NumPy's product of the same size, interleaved."""
    m, n, k = operator.matmul
    inputs, weights = random_tensors(operator.input_shape, k, n, seed=0)
    matrix = np.ones((m, k), dtype=np.float32)
    plan = lower(operator, runner.device)
    ours, numpys = [], []
    for _ in range(REPETITIONS + 2):
        _, times = runner.run(plan, inputs, weights)
        ours.append((times["end_ns"] - times["start_ns"]) / 1e3)
        start = perf_counter()
        matrix @ weights
        numpys.append((perf_counter() - start) * 1e6)
    return median(ours[2:]), median(numpys[2:])
