"""A program that opens OpenCL by dlopen, as the agent does; prints what it found as JSON.

Arguments: a source file, a local size. It runs kernel `twice` over 64 floats, which has to double them.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from pathlib import Path
from typing import Any

CL = ctypes.CDLL(os.environ["SPLITFLEET_OPENCL"])
ITEMS = 64
PLATFORM_VERSION, DEVICE_MAX_COMPUTE_UNITS, DEVICE_MAX_WORK_GROUP_SIZE = 0x0901, 0x1002, 0x1004
USE_HOST_POINTER = 1 << 3


def check(code: int) -> None:
    if code:
        sys.exit(f"OpenCL error {code}")


def made(function: str, *arguments: Any) -> c_void_p:
    getattr(CL, function).restype = c_void_p
    code = c_int()
    handle = getattr(CL, function)(*arguments, byref(code))
    check(code.value)
    return c_void_p(handle)


def number(device: c_void_p, name: int) -> int:
    value = c_size_t()
    check(CL.clGetDeviceInfo(device, c_uint(name), c_size_t(8), byref(value), None))
    return value.value


def run(source: str, local_size: int) -> dict[str, object]:
    count = c_uint()
    check(CL.clGetPlatformIDs(c_uint(0), None, byref(count)))
    platform, device = c_void_p(), c_void_p()
    check(CL.clGetPlatformIDs(c_uint(1), byref(platform), None))
    check(CL.clGetDeviceIDs(platform, c_ulonglong(0xFFFFFFFF), c_uint(1), byref(device), None))
    version = ctypes.create_string_buffer(200)
    check(CL.clGetPlatformInfo(platform, c_uint(PLATFORM_VERSION), c_size_t(200), version, None))
    context = made("clCreateContext", None, c_uint(1), byref(device), None, None)
    queue = made("clCreateCommandQueue", context, device, c_ulonglong(0))
    program = made("clCreateProgramWithSource", context, c_uint(1), byref(c_char_p(source.encode())), None)
    check(CL.clBuildProgram(program, c_uint(1), byref(device), b"-cl-std=CL1.2", None, None))
    kernel = made("clCreateKernel", program, b"twice")
    values = (ctypes.c_float * ITEMS)(*range(ITEMS))
    buffer = made("clCreateBuffer", context, c_ulonglong(USE_HOST_POINTER), c_size_t(4 * ITEMS), values)
    check(CL.clSetKernelArg(kernel, c_uint(0), c_size_t(8), byref(buffer)))
    sizes = byref(c_size_t(ITEMS)), byref(c_size_t(local_size))
    check(CL.clEnqueueNDRangeKernel(queue, kernel, c_uint(1), None, *sizes, c_uint(0), None, None))
    check(CL.clFinish(queue))
    library = next(line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libpocl" in line)
    return {
        "platforms": count.value,
        "version": version.value.decode(),
        "library": library,
        "compute_units": number(device, DEVICE_MAX_COMPUTE_UNITS),
        "max_work_group_size": number(device, DEVICE_MAX_WORK_GROUP_SIZE),
        "threads": [sorted(os.sched_getaffinity(int(task.name))) for task in Path("/proc/self/task").iterdir()],
        "right": list(values) == [2.0 * value for value in range(ITEMS)],
    }


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]).read_text(), int(sys.argv[2]))), flush=True)
    os._exit(0)
