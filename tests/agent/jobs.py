"""Jobs with kernels written here, so that the agent is tested without the project's own kernels and lowering."""

from __future__ import annotations

from typing import Any

from .driver import Line

PANEL = 4
LOCAL = (4, 4)
CPU = {"threads": 1, "core_mask": 2}

# Few repetitions and much patience: the machine that runs the tests may be busy.
QUICK = {"warmup": 1, "min_count": 2, "min_time_us": 0, "max_count": 3, "max_time_us": 20_000_000, "ci": 1.0}

_SIGNAL = """
    if (signal) {
        barrier(CLK_GLOBAL_MEM_FENCE);
        if (get_local_id(0) == 0 && get_local_id(1) == 0) atomic_add(signal, 1);
    }
"""

MATMUL = (
    """
__kernel void matmul(__global const float *input, __global const float *weights, __global float *output,
                     int rows, int columns, int depth, int panel, int stride, int offset,
                     __global volatile int *signal) {
    int o = get_global_id(0), row = get_global_id(1);
    if (o < columns && row < rows) {
        float sum = 0.0f;
        for (int k = 0; k < depth; ++k)
            sum += input[row * depth + k] * weights[(o / panel * depth + k) * panel + o % panel];
        output[row * stride + offset + o] = sum;
    }
"""
    + _SIGNAL
    + "}"
)

SYNC = (
    """
__kernel void sync(__global int *payload, int words, int sequence, __global volatile int *signal) {
    for (int i = get_global_id(0); i < words; i += get_global_size(0)) payload[i] = sequence;
"""
    + _SIGNAL
    + "}"
)

WORDS = 64


def program(name: str, source: str, options: str = "-cl-std=CL1.2") -> Line:
    return {"type": "program", "id": name, "source": source, "options": options}


PROGRAMS = [program("matmul", MATMUL), program("sync", SYNC)]


def linear(rows: int, depth: int, columns: int) -> Line:
    return {"type": "linear", "rows": rows, "in_features": depth, "out_features": columns}


def conv2d(size: int, in_channels: int, out_channels: int, kernel: tuple[int, int] = (3, 3), **more: int) -> Line:
    shape = {"height": size, "width": size, "in_channels": in_channels, "out_channels": out_channels}
    window = {"kernel_h": kernel[0], "kernel_w": kernel[1], "stride": 1, "pad_h": 1, "pad_w": 1}
    return {"type": "conv2d", **shape, **window, **more}


def matmul_plan(rows: int, depth: int, columns: int, *, stride: int = 0, offset: int = 0) -> Line:
    """Of a slice of `columns`, written into an output whose rows are `stride` floats apart (`columns` by default)."""
    stride = stride or columns
    groups = [-(-columns // LOCAL[0]), -(-rows // LOCAL[1])]
    packed = -(-columns // PANEL) * PANEL * depth
    numbers = [rows, columns, depth, PANEL, stride, offset]
    arguments: list[Line] = [{"buffer": name} for name in ("input", "weights", "output")]
    output = {"bytes": rows * stride * 4, "row_stride": stride, "column_offset": offset}
    return {
        "schema": 1,
        "kernel": "matmul",
        "program": "matmul",
        "buffers": [
            {"name": "input", "role": "input", "bytes": rows * depth * 4},
            {"name": "weights", "role": "weights", "bytes": packed * 4, "panel": PANEL},
            {"name": "output", "role": "output", **output},
        ],
        "launches": [
            {
                "kernel": "matmul",
                "global": [groups[0] * LOCAL[0], groups[1] * LOCAL[1]],
                "local": list(LOCAL),
                "args": [*arguments, *({"i32": number} for number in numbers), {"signal": True}],
            }
        ],
        "signals": groups[0] * groups[1],
        "quantities": {},
    }


def sync_plan() -> Line:
    arguments = [{"buffer": "payload"}, {"i32": WORDS}, {"sequence": True}, {"signal": True}]
    launch = {"kernel": "sync", "global": [WORDS], "local": [WORDS], "args": arguments}
    payload = {"name": "payload", "role": "payload", "bytes": WORDS * 4}
    plan: Line = {"schema": 1, "kernel": "sync", "program": "sync", "buffers": [payload], "launches": [launch]}
    return {**plan, "signals": 1, "quantities": {}}


def job(name: str, kind: str, **fields: Any) -> Line:
    return {"type": "job", "schema": 1, "id": name, "kind": kind, "verify": True, "repeat": QUICK, **fields}


def cpu(name: str, operator: Line, **fields: Any) -> Line:
    return job(name, "cpu", **{"operator": operator, **CPU, **fields})


def gpu(name: str, rows: int, depth: int, columns: int, **fields: Any) -> Line:
    plan = matmul_plan(rows, depth, columns)
    return job(name, "gpu", **{"operator": linear(rows, depth, columns), "plan": plan, "wait": "event_wait", **fields})


def coexec(name: str, rows: int, depth: int, columns: int, cut: int, **fields: Any) -> Line:
    plan = matmul_plan(rows, depth, columns - cut, stride=columns, offset=cut)
    half = {"operator": linear(rows, depth, columns), "cut": cut, "plan": plan, "join": "svm_poll"}
    return job(name, "coexec", **{**half, **CPU, **fields})


def sync(name: str, join: str = "svm_poll", **fields: Any) -> Line:
    return job(name, "sync", **{"plan": sync_plan(), "join": join, "checked_joins": 500, **CPU, **fields})
