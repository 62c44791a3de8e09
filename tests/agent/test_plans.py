"""Launch plans of schema 2: halves, setup launches, images, tolerances."""

from __future__ import annotations

from typing import Any

import pytest

from .driver import Agent, Line
from .jobs import PROGRAMS, coexec, gpu, matmul_plan, program

ROWS, DEPTH, COLUMNS = 9, 21, 14

HALF_MATMUL = """
__kernel void matmul(__global const half *input, __global const half *weights, __global half *output,
                     int rows, int columns, int depth, int panel, int stride, int offset,
                     __global volatile int *signal) {
    int o = get_global_id(0), row = get_global_id(1);
    if (o < columns && row < rows) {
        float sum = 0.0f;
        for (int k = 0; k < depth; ++k)
            sum += vload_half(row * depth + k, input)
                 * vload_half((o / panel * depth + k) * panel + o % panel, weights);
        vstore_half(sum, row * stride + offset + o, output);
    }
}
"""

# A setup launch copies the weights into an image, a texel for each, from which the timed launch reads them.
IMAGE_MATMUL = """
__constant sampler_t nearest = CLK_NORMALIZED_COORDS_FALSE | CLK_ADDRESS_NONE | CLK_FILTER_NEAREST;
__kernel void to_image(__global const float *weights, __write_only image2d_t texels, int width) {
    int x = get_global_id(0), y = get_global_id(1);
    write_imagef(texels, (int2)(x, y), (float4)(weights[y * width + x], 0.0f, 0.0f, 0.0f));
}
__kernel void matmul(__global const float *input, __read_only image2d_t texels, __global float *output,
                     int rows, int columns, int depth, int panel, int stride) {
    int o = get_global_id(0), row = get_global_id(1);
    if (o < columns && row < rows) {
        float sum = 0.0f;
        for (int k = 0; k < depth; ++k)
            sum += input[row * depth + k] * read_imagef(texels, nearest, (int2)(o % panel, o / panel * depth + k)).x;
        output[row * stride + o] = sum;
    }
}
"""


def half_plan(tolerance: float = 1e-3) -> Line:
    plan = matmul_plan(ROWS, DEPTH, COLUMNS) | {"schema": 2, "precision": "fp16_fp32", "tolerance": tolerance}
    for buffer in plan["buffers"]:
        buffer |= {"type": "f16", "bytes": buffer["bytes"] // 2}
    return plan


def image_plan(kind: str = "f32", **image: Any) -> Line:
    plan = matmul_plan(ROWS, DEPTH, COLUMNS) | {"schema": 2}
    panels = -(-COLUMNS // 4) * DEPTH
    plan["buffers"].append({"name": "texels", "role": "scratch", "type": kind, "image": [4, panels], **image})
    arguments = [{"buffer": "weights"}, {"buffer": "texels"}, {"i32": 4}]
    plan["setup"] = [{"kernel": "to_image", "global": [4, panels], "local": [4, 1], "args": arguments}]
    launch = plan["launches"][0]
    launch["args"] = [{"buffer": name} for name in ("input", "texels", "output")] + launch["args"][3:8]
    return plan | {"signals": 0}


def test_halves_are_filled_and_compared(agent: Agent) -> None:
    result = agent.run([program("matmul", HALF_MATMUL), gpu("job", ROWS, DEPTH, COLUMNS, plan=half_plan())])["job"]
    assert (result["status"], result["error"]) == ("ok", None)
    # The operands are halves already, so only the result is rounded: to 11 bits, by at most a part in 2048.
    assert 0 < result["max_relative_error"] <= 2**-11


def test_the_plan_states_the_tolerance(agent: Agent) -> None:
    source = HALF_MATMUL.replace("vstore_half(sum", "vstore_half(sum * 1.02f")
    jobs = [
        {**gpu("", ROWS, DEPTH, COLUMNS, plan=half_plan(tolerance)), "id": name}
        for name, tolerance in (("strict", 1e-3), ("lenient", 0.05))
    ]
    results = agent.run([program("matmul", source), *jobs])
    assert [results[name]["status"] for name in ("strict", "lenient")] == ["wrong_result", "ok"]


def test_a_half_that_was_not_written_is_found(agent: Agent) -> None:
    source = HALF_MATMUL.replace("o < columns", "o < columns - 1")
    result = agent.run([program("matmul", source), gpu("job", ROWS, DEPTH, COLUMNS, plan=half_plan())])["job"]
    assert result["status"] == "wrong_result"
    assert "was not written" in result["error"]


def test_setup_launches_fill_an_image(agent: Agent) -> None:
    jobs = [
        gpu("float", ROWS, DEPTH, COLUMNS, plan=image_plan()),
        gpu("half", ROWS, DEPTH, COLUMNS, plan=image_plan("f16") | {"tolerance": 1e-2}),
    ]
    results = agent.run([program("matmul", IMAGE_MATMUL), *jobs])
    assert [results[name]["error"] for name in ("float", "half")] == [None, None]
    assert results["float"]["max_relative_error"] < 1e-5 < results["half"]["max_relative_error"]


def test_an_image_too_large_for_the_device_is_unsupported(agent: Agent) -> None:
    width = agent.info()["opencl"]["image2d_max"][0] + 1
    job = gpu("job", ROWS, DEPTH, COLUMNS, plan=image_plan(image=[width, 1]))
    result = agent.run([program("matmul", IMAGE_MATMUL), job])["job"]
    assert result["status"] == "unsupported"
    assert "no images of" in result["error"]


def test_arithmetic_in_halves_needs_the_extension(agent: Agent) -> None:
    assert "cl_khr_fp16" not in agent.info()["opencl"]["extensions"], "PoCL has learnt it: choose another device"
    job = gpu("job", ROWS, DEPTH, COLUMNS, plan=half_plan() | {"precision": "fp16"})
    result = agent.run([program("matmul", HALF_MATMUL), job])["job"]
    assert result["status"] == "unsupported"
    assert "cl_khr_fp16" in result["error"]


def _joint(**buffer: Any) -> Line:
    job = coexec("job", 4, 4, 8, 4)
    job["plan"]["buffers"][0] |= buffer
    return job


INVALID: dict[str, tuple[Line, str]] = {
    "newer plan": (gpu("job", 4, 4, 4, plan=half_plan() | {"schema": 3}), "plan.schema"),
    "tolerance": (gpu("job", 4, 4, 4, plan=half_plan(0.2)), "plan.tolerance"),
    "precision": (gpu("job", 4, 4, 4, plan=half_plan() | {"precision": "int8"}), "plan.precision"),
    "type": (_joint(type="f64"), "buffers[0].type"),
    "halves shared with the CPU": (_joint(type="f16"), "f32"),
    "image of another role": (_joint(image=[4, 4]), "buffers[0].image"),
    "image without a height": (gpu("job", 4, 4, 4, plan=image_plan(image=[4])), "buffers[3].image"),
    "half of the buffer": (gpu("job", 9, 21, 14, plan=half_plan() | matmul_plan(4, 21, 14)), "input buffer"),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_plans_name_the_field(agent_without_opencl: Agent, case: str) -> None:
    job, message = INVALID[case]
    result = agent_without_opencl.run([*PROGRAMS, job])["job"]
    assert result["status"] == "invalid_job"
    assert message in result["error"]
