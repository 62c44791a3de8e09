"""Every linear layer of ViT-B/16 and ResNet-50: our kernels against CLBlast's, on the same queue of PoCL, interleaved.

Wall time from enqueuing until the queue has finished, on one core; CLBlast packs its operands in each call.
"""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from splitfleet.kernels import Operator, lower, pack_weights, reference
from splitfleet.kernels.runner import Runner, operator_tensors

from . import clblast
from .side_by_side import layers

REPETITIONS = 21


def bench_linear_layers_against_clblast(runner: Runner) -> None:
    library = clblast.load()
    if library is None:
        pytest.skip("needs Debian's libclblast1")
    table = Table("layer", "kernel", title="GFLOP/s on one core, wall time")
    for name in ("ours", "CLBlast", "ratio"):
        table.add_column(name, justify="right")
    ratios = []
    for name, operator in layers("vit_b16", "resnet50"):
        if operator.type != "linear":
            continue
        ours, theirs = _rates(runner, operator, library)
        ratios.append(ours / theirs)
        table.add_row(name, lower(operator, runner.device).kernel, f"{ours:.1f}", f"{theirs:.1f}", f"{ratios[-1]:.1f}")
    console = Console(width=120)
    console.print(table)
    console.print(f"ours / CLBlast: median {median(ratios):.1f}, least {min(ratios):.1f}, {len(ratios)} layers")


def _rates(runner: Runner, operator: Operator, library: Any) -> tuple[float, float]:
    """Median GFLOP/s of our kernel and of CLBlast's."""
    import pyopencl as cl

    context = cl.Context([next(p for p in cl.get_platforms() if "Portable" in p.name).get_devices()[0]])
    queue = cl.CommandQueue(context)
    plan = lower(operator, runner.device)
    inputs, weights, _ = operator_tensors(operator, seed=0)
    expected = reference(operator, inputs, weights)

    def buffer(content: Any) -> Any:
        return cl.Buffer(context, cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR, hostbuf=content)

    panel = next(given.panel for given in plan.buffers if given.role == "weights")
    memory = {"input": buffer(inputs), "weights": buffer(pack_weights(weights, panel or 1))}
    memory["output"] = buffer(np.zeros_like(expected))
    program = cl.Program(context, plan.program.source).build(plan.program.options.split())
    launches = []
    for launch in plan.launches:
        kernel = cl.Kernel(program, launch.kernel)
        kernel.set_args(*(memory[arg["buffer"]] if "buffer" in arg else _number(arg) for arg in launch.args))
        launches.append((kernel, launch.global_size, launch.local_size))
    plain = (memory["input"], buffer(weights), buffer(np.zeros_like(expected)))

    def ours() -> None:
        for kernel, global_size, local_size in launches:
            cl.enqueue_nd_range_kernel(queue, kernel, global_size, local_size)

    def theirs() -> None:
        clblast.multiply(library, queue, operator.matmul, plain)

    times: dict[Any, list[float]] = {ours: [], theirs: []}
    for _ in range(REPETITIONS + 2):
        for work, taken in times.items():
            start = perf_counter()
            work()
            queue.finish()
            taken.append(perf_counter() - start)
    for output in (memory["output"], plain[2]):
        result = np.empty_like(expected)
        cl.enqueue_copy(queue, result, output)
        assert np.abs(result - expected).max() < 1e-4 * np.abs(expected).max()
    mine, peers = (operator.flops / median(taken[2:]) / 1e9 for taken in times.values())
    return mine, peers


def _number(arg: dict[str, Any]) -> Any:
    return np.int32(arg["i32"]) if "i32" in arg else None
