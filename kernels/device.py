"""What lowering needs to know of a GPU, as the agent's `info` reports it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .errors import DeviceError


@dataclass(frozen=True)
class Device:
    """The OpenCL capabilities that decide kernel, block and work-group.

    `in_kernel_signal`: whether a work-group may raise the signal counter by a plain OpenCL 1.2 atomic behind a
    barrier. The host is promised to see the results before the counter only where stores are not reordered, which
    holds on x86; elsewhere a one-item kernel behind the half raises it.
    """

    name: str
    vendor: str
    compute_units: int
    max_work_group_size: int
    max_work_item_sizes: tuple[int, ...]
    preferred_vector_float: int
    max_alloc_bytes: int
    svm_polling: bool
    in_kernel_signal: bool

    @classmethod
    def from_capabilities(cls, info: dict[str, Any]) -> Device:
        """From the JSON of `splitfleet-agent info`. Raises DeviceError when the phone has no OpenCL."""
        opencl = info.get("opencl")
        if opencl is None:
            why = info.get("opencl_error") or "no reason given"
            raise DeviceError(f"the phone has no usable OpenCL: {why}")
        svm = opencl["svm"]
        return cls(
            name=opencl["device"],
            vendor=opencl["vendor"],
            compute_units=opencl["compute_units"],
            max_work_group_size=opencl["max_work_group_size"],
            max_work_item_sizes=tuple(opencl["max_work_item_sizes"]),
            preferred_vector_float=opencl["preferred_vector_float"],
            max_alloc_bytes=opencl["max_alloc_bytes"],
            svm_polling=svm["fine_buffer"] and svm["atomics"],
            in_kernel_signal=info["agent"]["architecture"] == "x86_64",
        )
