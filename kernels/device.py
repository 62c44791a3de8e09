"""What lowering needs to know of a GPU, as the agent's `info` reports it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .errors import DeviceError

_LEAST_LOCAL_BYTES = 32 << 10  # what OpenCL 1.2 demands of a full-profile device
_LEAST_CONSTANT_BYTES = 64 << 10

# Words in "platform vendor name version", in this order: PoCL reports the CPU's vendor, and a driver's name may
# mention another vendor's hardware.
_VENDORS = (
    ("pocl", "pocl|portable computing language"),
    ("adreno", "adreno"),
    ("mali", "mali|immortalis"),
    ("powervr", "powervr|imagination"),
    ("nvidia", "nvidia"),
    ("amd", "advanced micro devices|xclipse|radeon"),
    ("intel", "intel"),
)
_GENERATIONS = {
    "adreno": r"adreno\D*?(\d{3})",
    "mali": r"(?:mali|immortalis)[- ]*([gt]\d+)",
    "powervr": r"\b([a-z]{1,3}-?\d[a-z0-9+-]*)",
}


@dataclass(frozen=True)
class Device:
    """The OpenCL capabilities that decide kernel, block and work-group.

    `in_kernel_signal`: whether a work-group may raise the signal counter by a plain OpenCL 1.2 atomic behind a
    barrier. The host is promised to see the results before the counter only where stores are not reordered, which
    holds on x86; elsewhere a one-item kernel behind the half raises it. `version` is CL_DEVICE_VERSION, where Adreno
    tells its number. `image2d_max` is (0, 0) where there are no images.
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
    platform: str = ""
    version: str = ""
    extensions: frozenset[str] = frozenset()
    image2d_max: tuple[int, int] = (0, 0)
    local_bytes: int = _LEAST_LOCAL_BYTES
    constant_bytes: int = _LEAST_CONSTANT_BYTES

    @cached_property
    def vendor_family(self) -> str:
        """adreno, mali, powervr, nvidia, intel, amd, pocl, or generic where none of these is named."""
        text = f"{self.platform} {self.vendor} {self.name} {self.version}".lower()
        return next((family for family, words in _VENDORS if re.search(words, text)), "generic")

    @cached_property
    def generation(self) -> str:
        """The vendor's number of the GPU: `640` (Adreno), `g76` (Mali), `ge8320` (PowerVR); empty where unknown."""
        pattern = _GENERATIONS.get(self.vendor_family)
        # "PowerVR Rogue GE8320": the words before the number would match as one.
        texts = (re.sub(r"powervr|rogue", "", text.lower()) for text in (self.name, self.version))
        found = [re.search(pattern, text) for text in texts] if pattern else []
        return next((match[1] for match in found if match), "")

    @property
    def has_fp16(self) -> bool:
        """Whether kernels may compute with halves; halves can be stored on any device."""
        return "cl_khr_fp16" in self.extensions

    @property
    def has_images(self) -> bool:
        return min(self.image2d_max) > 0

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
            platform=opencl.get("platform", ""),
            version=opencl.get("device_version", ""),
            extensions=frozenset(opencl.get("extensions", ())),
            image2d_max=_pair(opencl.get("image2d_max", (0, 0))),
            local_bytes=opencl.get("local_bytes", _LEAST_LOCAL_BYTES),
            constant_bytes=opencl.get("constant_bytes", _LEAST_CONSTANT_BYTES),
        )


def _pair(sizes: Any) -> tuple[int, int]:
    width, height = sizes
    return width, height
