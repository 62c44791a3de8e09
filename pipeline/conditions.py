"""The conditions that a campaign measures under: what its file chooses of the operating point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from splitfleet.kernels import Precision
from splitfleet.kernels.errors import DeviceError

Backend = Literal["eigen", "xnnpack"]
_HALF_ARITHMETIC = "cl_khr_fp16"


@dataclass(frozen=True)
class Conditions:
    """The CPU backend and the GPU's precision. Both belong to the operating point, and so to the device class."""

    backend: Backend = "eigen"
    precision: Precision = "fp32"

    def check(self, capabilities: dict[str, Any], who: str) -> None:
        """Raises DeviceError, naming `who`, where the phone's agent lacks the backend or its GPU the precision."""
        backends = capabilities["agent"]["backends"]
        if self.backend not in backends:
            raise DeviceError(
                f"{who}: its agent has no backend {self.backend!r} (it has {', '.join(sorted(backends))}); build the "
                f"agent where the library of {self.backend} is found, or choose another measure.backend"
            )
        opencl = capabilities["opencl"] or {}
        if self.precision == "fp16" and _HALF_ARITHMETIC not in opencl.get("extensions", []):
            raise DeviceError(
                f"{who}: its GPU {opencl.get('device')} cannot compute in fp16 (it lacks {_HALF_ARITHMETIC}); take "
                'measure.precision = "fp16_fp32", which every GPU can do, or leave the phone out'
            )
