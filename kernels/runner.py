"""Executes launch plans through pyopencl on this host: the same plans that the agent executes on a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .device import Device
from .errors import DeviceError
from .plan import LaunchPlan
from .reference import Floats, pack_weights

if TYPE_CHECKING:
    import pyopencl


class Runner:
    """An OpenCL context on one device of this host, with its built programs. Not thread-safe."""

    def __init__(self, opencl_device: pyopencl.Device) -> None:
        import pyopencl as cl

        self._cl = cl
        self._context = cl.Context([opencl_device])
        profiling = cl.command_queue_properties.PROFILING_ENABLE
        self._queue = cl.CommandQueue(self._context, properties=profiling)
        self._programs: dict[str, Any] = {}
        self.device = device_of(opencl_device)

    def run(self, plan: LaunchPlan, inputs: Floats, weights: Floats) -> tuple[Floats, dict[str, int]]:
        """Executes once. Returns the output buffer as [M, row_stride] and the device's times in ns.

        Elements that the plan does not write are NaN. Times: queued, submit, start (first launch), end (last one).
        Raises DeviceError when the program does not build or a launch is refused.
        """
        cl = self._cl
        flags = cl.mem_flags
        memory: dict[str, Any] = {}
        output: Floats = np.empty((0, 0), dtype=np.float32)
        for buffer in plan.buffers:
            if buffer.role == "output":
                assert buffer.row_stride is not None
                output = np.full(buffer.bytes // 4, np.nan, dtype=np.float32).reshape(-1, buffer.row_stride)
                content: NDArray[Any] = output
            elif buffer.role == "input":
                content = np.ascontiguousarray(inputs, dtype=np.float32)
            elif buffer.role == "weights":
                content = pack_weights(weights, buffer.panel or 1)
            else:
                content = np.zeros(buffer.bytes // 4, dtype=np.int32)
            memory[buffer.name] = cl.Buffer(self._context, flags.READ_WRITE | flags.COPY_HOST_PTR, hostbuf=content)
        try:
            events = self._launch(plan, memory)
        except cl.Error as error:
            raise DeviceError(f"{plan.kernel} on {self.device.name}: {error}") from error
        cl.enqueue_copy(self._queue, output, memory["output"])
        first, last = events[0].profile, events[-1].profile
        return output, {
            "queued_ns": first.queued,
            "submit_ns": first.submit,
            "start_ns": first.start,
            "end_ns": last.end,
        }

    def _launch(self, plan: LaunchPlan, memory: dict[str, Any]) -> list[Any]:
        program = self._programs.get(plan.program.id)
        if program is None:
            program = self._cl.Program(self._context, plan.program.source).build(plan.program.options.split())
            self._programs[plan.program.id] = program
        events = []
        for launch in plan.launches:
            kernel = self._cl.Kernel(program, launch.kernel)
            for index, arg in enumerate(launch.args):
                kernel.set_arg(index, _argument(arg, memory))
            events.append(self._cl.enqueue_nd_range_kernel(self._queue, kernel, launch.global_size, launch.local_size))
        events[-1].wait()
        return events


def device_of(opencl_device: pyopencl.Device) -> Device:
    """The same view of a local OpenCL device that the agent gives of a phone's."""
    return Device(
        name=opencl_device.name,
        vendor=opencl_device.vendor,
        compute_units=opencl_device.max_compute_units,
        max_work_group_size=opencl_device.max_work_group_size,
        max_work_item_sizes=tuple(opencl_device.max_work_item_sizes),
        preferred_vector_float=opencl_device.preferred_vector_width_float,
        max_alloc_bytes=opencl_device.max_mem_alloc_size,
        svm_polling=False,
        in_kernel_signal=False,
    )


def random_tensors(shape: tuple[int, ...], k: int, n: int, seed: int) -> tuple[Floats, Floats]:
    """Inputs of this shape and [k, n] weights, uniform in [-1, 1]."""
    generator = np.random.default_rng(seed)

    def draw(size: tuple[int, ...]) -> NDArray[np.float32]:
        return generator.uniform(-1.0, 1.0, size).astype(np.float32)

    return draw(shape), draw((k, n))


def _argument(arg: dict[str, Any], memory: dict[str, Any]) -> Any:
    if "buffer" in arg:
        return memory[arg["buffer"]]
    if "i32" in arg:
        return np.int32(arg["i32"])
    if "sequence" in arg:
        return np.int32(1)
    return None  # the signal counter: nobody polls here
