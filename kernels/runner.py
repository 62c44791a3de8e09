"""Executes launch plans through pyopencl on this host: the same plans that the agent executes on a phone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .device import Device
from .errors import DeviceError
from .operators import Operator
from .plan import Buffer, Launch, LaunchPlan
from .precision import Precision
from .reference import Floats, pack_weights

if TYPE_CHECKING:
    import pyopencl

_DTYPES: dict[str, type[np.float32] | type[np.float16]] = {"f32": np.float32, "f16": np.float16}


class Runner:
    """An OpenCL context on one device of this host, with its built programs. Not thread-safe."""

    def __init__(self, opencl_device: pyopencl.Device) -> None:
        import pyopencl as cl

        self._cl = cl
        self.opencl_device = opencl_device
        self._context = cl.Context([opencl_device])
        profiling = cl.command_queue_properties.PROFILING_ENABLE
        self._queue = cl.CommandQueue(self._context, properties=profiling)
        self._programs: dict[str, Any] = {}
        self.device = device_of(opencl_device)

    def run(
        self, plan: LaunchPlan, inputs: Floats, weights: Floats, residual: Floats | None = None
    ) -> tuple[Floats, dict[str, int]]:
        """Executes once. Returns the output buffer as [M, row_stride] fp32 and the device's times in ns.

        `inputs` is laid out as the plan's input, `residual` as its output, [M, row_stride]. Elements that the plan
        does not write are NaN. Times: queued, submit, start (first launch), end (last one).
        Raises DeviceError when the program does not build or a launch is refused.
        """
        cl = self._cl
        memory: dict[str, Any] = {}
        output: NDArray[Any] = np.empty((0, 0), dtype=np.float32)
        try:
            for buffer in plan.buffers:
                if buffer.image is not None:
                    memory[buffer.name] = self._image(buffer)
                    continue
                content = _content(buffer, inputs, weights, residual)
                if buffer.role == "output":
                    output = content
                flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
                memory[buffer.name] = cl.Buffer(self._context, flags, hostbuf=content)
            self._launch(plan, plan.setup, memory)
            events = self._launch(plan, plan.launches, memory)
        except cl.Error as error:
            raise DeviceError(f"{plan.kernel} on {self.device.name}: {error}") from error
        cl.enqueue_copy(self._queue, output, memory["output"])
        first, last = events[0].profile, events[-1].profile
        return output.astype(np.float32, copy=False), {
            "queued_ns": first.queued,
            "submit_ns": first.submit,
            "start_ns": first.start,
            "end_ns": last.end,
        }

    def _image(self, buffer: Buffer) -> Any:
        cl = self._cl
        kind = {"f32": cl.channel_type.FLOAT, "f16": cl.channel_type.HALF_FLOAT}[buffer.type]
        texel = cl.ImageFormat(cl.channel_order.RGBA, kind)
        return cl.create_image(self._context, cl.mem_flags.READ_WRITE, texel, shape=buffer.image)

    def _launch(self, plan: LaunchPlan, launches: Sequence[Launch], memory: dict[str, Any]) -> list[Any]:
        program = self._programs.get(plan.program.id)
        if program is None:
            program = self._cl.Program(self._context, plan.program.source).build(plan.program.options.split())
            self._programs[plan.program.id] = program
        events = []
        for launch in launches:
            kernel = self._cl.Kernel(program, launch.kernel)
            for index, arg in enumerate(launch.args):
                kernel.set_arg(index, _argument(arg, memory))
            events.append(self._cl.enqueue_nd_range_kernel(self._queue, kernel, launch.global_size, launch.local_size))
        if events:
            events[-1].wait()
        return events


def device_of(opencl_device: pyopencl.Device) -> Device:
    """The same view of a local OpenCL device that the agent gives of a phone's, but that nobody polls here."""
    image = (opencl_device.image2d_max_width, opencl_device.image2d_max_height)
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
        platform=opencl_device.platform.name,
        version=opencl_device.version,
        extensions=frozenset(opencl_device.extensions.split()),
        image2d_max=image if opencl_device.image_support else (0, 0),
        local_bytes=opencl_device.local_mem_size,
        constant_bytes=opencl_device.max_constant_buffer_size,
    )


def random_tensors(shape: tuple[int, ...], k: int, n: int, seed: int) -> tuple[Floats, Floats]:
    """Inputs of this shape and [k, n] weights, uniform in [-1, 1]."""
    generator = np.random.default_rng(seed)

    def draw(size: tuple[int, ...]) -> NDArray[np.float32]:
        return generator.uniform(-1.0, 1.0, size).astype(np.float32)

    return draw(shape), draw((k, n))


def operator_tensors(
    operator: Operator, seed: int, precision: Precision = "fp32"
) -> tuple[Floats, Floats, Floats | None]:
    """Inputs, weights [K, N] and, where the epilogue adds one, a residual [M, N] of an operator, uniform in [-1, 1].

    All values are ones that the precision can store, so that only computing makes errors.
    """
    inputs, weights = random_tensors(operator.input_shape, *operator.weight_shape, seed)
    residual = random_tensors(operator.matmul[:2], 0, 0, seed + 1)[0] if operator.has_residual else None
    if precision == "fp32":
        return inputs, weights, residual
    return _as_halves(inputs), _as_halves(weights), None if residual is None else _as_halves(residual)


def _as_halves(tensor: Floats) -> Floats:
    return tensor.astype(np.float16).astype(np.float32)


def _content(buffer: Buffer, inputs: Floats, weights: Floats, residual: Floats | None) -> NDArray[Any]:
    """What a buffer holds before the first launch, as it lies in memory."""
    kind = _DTYPES[buffer.type]
    size = buffer.bytes // np.dtype(kind).itemsize
    if buffer.role == "output":
        assert buffer.row_stride is not None
        rows = size // buffer.row_stride
        return np.full(rows * buffer.row_stride, np.nan, dtype=kind).reshape(-1, buffer.row_stride)
    content: NDArray[Any] = np.zeros(size, dtype=kind)
    given = {"input": inputs, "residual": residual}.get(buffer.role)
    if buffer.role == "weights":
        given = pack_weights(weights, buffer.panel or 1)
    if given is not None:
        content[: given.size] = given.astype(kind).ravel()
    return content


def _argument(arg: dict[str, Any], memory: dict[str, Any]) -> Any:
    if "buffer" in arg:
        return memory[arg["buffer"]]
    if "i32" in arg:
        return np.int32(arg["i32"])
    if "sequence" in arg:
        return np.int32(1)
    return None  # the signal counter: nobody polls here
