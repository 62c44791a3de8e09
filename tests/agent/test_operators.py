"""Epilogues, depthwise convolutions and pooling, on the CPU, on PoCL and in joint executions."""

from __future__ import annotations

from typing import Any

import pytest

from .driver import Agent, Line
from .jobs import CPU, PROGRAMS, coexec, conv2d, cpu, gpu, job, linear, program

EPILOGUES = ("none", "relu", "relu6", "add", "add_relu")


def window(size: int, channels: int, kernel: tuple[int, int] = (3, 3), **more: int) -> Line:
    shape = {"height": size, "width": size + 1, "channels": channels, "kernel_h": kernel[0], "kernel_w": kernel[1]}
    return {**shape, "stride": 1, "pad_h": 1, "pad_w": 1, **more}


def depthwise(*arguments: Any, epilogue: str = "none", **more: int) -> Line:
    return {"type": "depthwise_conv2d", **window(*arguments, **more), "epilogue": epilogue}


def pool(mode: str, *arguments: Any, **more: int) -> Line:
    return {"type": "pool2d", "mode": mode, **window(*arguments, **more)}


OPERATORS: dict[str, Line] = {
    **{f"linear {epilogue}": linear(70, 33, 41) | {"epilogue": epilogue} for epilogue in EPILOGUES},
    **{f"conv2d {epilogue}": conv2d(11, 5, 12) | {"epilogue": epilogue} for epilogue in EPILOGUES},
    **{f"depthwise {epilogue}": depthwise(9, 70, epilogue=epilogue) for epilogue in EPILOGUES},
    "depthwise strided": depthwise(15, 64, stride=2),
    "depthwise 5x1": depthwise(8, 6, (5, 1), pad_h=2, pad_w=0),
    "depthwise padded past the kernel": depthwise(4, 3, (2, 2), pad_h=3, pad_w=2),
    "depthwise 1x1": depthwise(3, 130, (1, 1), pad_h=0, pad_w=0),
    "max": pool("max", 9, 67),
    "max 2x2": pool("max", 8, 12, (2, 2), stride=2, pad_h=0, pad_w=0),
    "max one channel": pool("max", 5, 1),
    "avg": pool("avg", 9, 67),
    "avg of all": pool("avg", 7, 130, (7, 8), pad_h=0, pad_w=0),
    "avg large padding": pool("avg", 5, 9, (4, 4), pad_h=3, pad_w=3, stride=2),
}


def cpu_jobs(threads: int, **fields: Any) -> list[Line]:
    cores = {"threads": threads, "core_mask": (2, 3)[threads - 1]}
    return [cpu(f"job-{i}", operator, **cores, **fields) for i, operator in enumerate(OPERATORS.values())]


def check(results: dict[str, Line], count: int) -> None:
    assert len(results) == count
    for result in results.values():
        assert (result["status"], result["error"]) == ("ok", None), result["id"]
        assert result["max_relative_error"] < 1e-5, result["id"]


@pytest.mark.parametrize("threads", [1, 2])
def test_on_the_cpu(agent_without_opencl: Agent, threads: int) -> None:
    results = agent_without_opencl.run(cpu_jobs(threads))
    check(results, len(OPERATORS))
    assert {result["backend"] for result in results.values()} == {
        agent_without_opencl.info()["agent"]["backends"]["eigen"]
    }


# One work-item an output element; weights are in panels of as many columns as the slice has.
CHANNELWISE = """
__kernel void channelwise(__global const float *input, __global const float *weights, __global const float *residual,
                          __global float *output, int mode, int height, int width, int out_width, int channels,
                          int kernel_h, int kernel_w, int stride, int pad_h, int pad_w, int row_stride, int offset) {
    int c = get_global_id(0), row = get_global_id(1);
    int top = row / out_width * stride - pad_h, left = row % out_width * stride - pad_w, taps = 0;
    float sum = 0.0f, largest = -INFINITY;
    for (int k = 0; k < kernel_h * kernel_w; ++k) {
        int y = top + k / kernel_w, x = left + k % kernel_w;
        if (y < 0 || y >= height || x < 0 || x >= width) continue;
        float value = input[(y * width + x) * row_stride + offset + c];
        sum += mode == 0 ? value * weights[k * channels + c] : value;
        largest = fmax(largest, value);
        ++taps;
    }
    float result = mode == 1 ? largest : mode == 2 ? sum / taps : sum;
    if (residual) result = fmax(result + residual[row * row_stride + offset + c], 0.0f);
    output[row * row_stride + offset + c] = result;
}
"""


def channelwise_plan(operator: Line, channels: int, row_stride: int, offset: int) -> Line:
    """Of `channels` from `offset` on; the only epilogue that the kernel knows is add_relu."""
    mode = {"max": 1, "avg": 2}.get(operator.get("mode", ""), 0)
    adds = operator.get("epilogue") == "add_relu"
    out = [
        (operator[side] + 2 * operator[f"pad_{letter}"] - operator[f"kernel_{letter}"]) // operator["stride"] + 1
        for side, letter in (("height", "h"), ("width", "w"))
    ]
    taps = operator["kernel_h"] * operator["kernel_w"]
    rows = out[0] * out[1]
    tensor = {"row_stride": row_stride, "column_offset": offset}
    buffers = [
        {"name": "input", "role": "input", "bytes": operator["height"] * operator["width"] * row_stride * 4},
        {"name": "weights", "role": "weights", "bytes": taps * channels * 4, "panel": channels},
        {"name": "residual", "role": "residual", "bytes": rows * row_stride * 4},
        {"name": "output", "role": "output", "bytes": rows * row_stride * 4, **tensor},
    ]
    if mode:
        buffers[1] = {"name": "weights", "role": "scratch", "bytes": 4}
    if not adds:
        del buffers[2]
    numbers = [mode, operator["height"], operator["width"], out[1], channels]
    numbers += [operator[name] for name in ("kernel_h", "kernel_w", "stride", "pad_h", "pad_w")]
    arguments: list[Line] = [{"buffer": "input"}, {"buffer": "weights"}]
    arguments.append({"buffer": "residual"} if adds else {"signal": True})  # NULL, since nobody polls
    arguments += [{"buffer": "output"}, *({"i32": number} for number in [*numbers, row_stride, offset])]
    launch = {"kernel": "channelwise", "global": [channels, rows], "local": [1, 1], "args": arguments}
    plan: Line = {"schema": 2, "kernel": "channelwise", "program": "channelwise", "buffers": buffers}
    return {**plan, "launches": [launch], "signals": 0, "quantities": {}}


SPLIT: dict[str, tuple[Line, int]] = {
    "depthwise": (depthwise(9, 24), 8),
    "depthwise add_relu": (depthwise(9, 22, epilogue="add_relu", stride=2), 5),
    "max": (pool("max", 9, 24), 4),
    "avg": (pool("avg", 9, 24, (3, 2), stride=2), 20),
}


def split_jobs(join: str, **fields: Any) -> list[Line]:
    jobs = []
    for i, (operator, cut) in enumerate(SPLIT.values()):
        channels = operator["channels"]
        plan = channelwise_plan(operator, channels - cut, channels, cut)
        jobs.append(job(f"split-{i}", "coexec", operator=operator, plan=plan, cut=cut, join=join, **CPU, **fields))
        # A slice by itself, in the place that it has within a larger tensor.
        alone = operator | {"channels": channels - cut}
        jobs.append(job(f"alone-{i}", "gpu", operator=alone, plan=plan, wait=join))
    return jobs


@pytest.mark.parametrize("svm", [True, False])
def test_channelwise_slices_on_the_gpu_and_in_joint_executions(agent: Agent, svm: bool) -> None:
    if not svm:
        agent = agent.with_environment(SPLITFLEET_DISABLE_SVM="1")
    jobs = split_jobs("event_wait")
    check(agent.run([program("channelwise", CHANNELWISE), *jobs]), len(jobs))


RESIDUAL = "residual[row * row_stride + offset + c]"
# What is replaced, by what, and which of SPLIT must notice.
WRONG: dict[str, tuple[str, str, set[int]]] = {
    "a tap too few": ("k < kernel_h * kernel_w", "k < kernel_h * kernel_w - 1", {0, 1, 2, 3}),
    "padding counts": ("sum / taps", "sum / (kernel_h * kernel_w)", {3}),
    "no residual": (RESIDUAL, "0.0f", {1}),
    "no activation": (f"fmax(result + {RESIDUAL}, 0.0f)", f"result + {RESIDUAL}", {1}),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_slices_are_found(agent: Agent, case: str) -> None:
    right, wrong, noticed = WRONG[case]
    assert right in CHANNELWISE
    source = CHANNELWISE.replace(right, wrong)
    results = agent.run([program("channelwise", source), *split_jobs("finish")])
    found = {name for name, result in results.items() if result["status"] == "wrong_result"}
    assert found == {f"{way}-{i}" for way in ("split", "alone") for i in noticed}
    assert {result["status"] for result in results.values()} <= {"ok", "wrong_result"}


def epilogue_job(kind: str, epilogue: str, buffer: Line | None) -> Line:
    """Of a plan that computes no epilogue."""
    line = gpu("job", 6, 8, 10) if kind == "gpu" else coexec("job", 6, 8, 10, 5)
    line["operator"]["epilogue"] = epilogue
    line["plan"]["buffers"] += [buffer] if buffer else []
    return line


def test_an_epilogue_that_the_gpu_leaves_out_is_found(agent: Agent) -> None:
    residual = {"name": "residual", "role": "residual", "bytes": 6 * 10 * 4}
    jobs = [
        {**epilogue_job(kind, epilogue, residual if "add" in epilogue else None), "id": f"{kind}-{epilogue}"}
        for kind in ("gpu", "coexec")
        for epilogue in ("relu", "add")
    ]
    results = agent.run([*PROGRAMS, *jobs])
    assert {result["status"] for result in results.values()} == {"wrong_result"}


INVALID: dict[str, tuple[Line, str]] = {
    "unknown type": (cpu("job", linear(2, 2, 2) | {"type": "lstm"}), "operator.type"),
    "unknown mode": (cpu("job", pool("median", 4, 4)), "operator.mode"),
    "unknown epilogue": (cpu("job", linear(2, 2, 2) | {"epilogue": "gelu"}), "operator.epilogue"),
    "huge": (cpu("job", depthwise(2**20, 2**20)), "too large"),
    "window in the padding": (cpu("job", pool("max", 4, 4, pad_h=3)), "padding"),
    "no residual": (epilogue_job("gpu", "add", None), "role residual"),
    "small residual": (
        epilogue_job("gpu", "add", {"name": "residual", "role": "residual", "bytes": 6 * 10 * 4 - 4}),
        "residual buffer is smaller",
    ),
    "halves shared": (
        epilogue_job("coexec", "add", {"name": "residual", "role": "residual", "bytes": 6 * 10 * 4, "type": "f16"}),
        "residual is shared",
    ),
    "small input": (
        job("job", "gpu", operator=depthwise(9, 8), plan=channelwise_plan(depthwise(8, 8), 8, 8, 0), wait="finish"),
        "input buffer is smaller",
    ),
    "unknown backend": (cpu("job", linear(2, 2, 2), backend="mkl"), "backend"),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_operators_name_the_field(agent_without_opencl: Agent, case: str) -> None:
    line, message = INVALID[case]
    result = agent_without_opencl.run([*PROGRAMS, program("channelwise", CHANNELWISE), line])["job"]
    assert result["status"] == "invalid_job"
    assert message in result["error"]
