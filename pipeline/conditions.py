"""The conditions that a campaign measures under: what its file chooses of the operating point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from splitfleet.kernels import Precision
from splitfleet.kernels.errors import DeviceError
from splitfleet.kernels.tuning import Tuning

Backend = Literal["eigen", "xnnpack"]
_HALF_ARITHMETIC = "cl_khr_fp16"


@dataclass(frozen=True)
class Conditions:
    """CPU backend, precision of the GPU, and whether work-groups are tuned: parts of the operating point, and so of the
    device class. `tunings` are those at hand, by the device class of the untuned phone; None: untuned."""

    backend: Backend = "eigen"
    precision: Precision = "fp32"
    tunings: Mapping[str, Tuning] | None = None

    def tuning_of(self, device_class: str, who: str) -> Tuning | None:
        """The tuning of a phone of this (untuned) class. Raises DeviceError, naming `who`, where it is missing."""
        if self.tunings is None:
            return None
        if device_class not in self.tunings:
            others = f"; there are tunings of {', '.join(sorted(self.tunings))}" if self.tunings else ""
            raise DeviceError(
                f"{who}: measure.tuned asks for tuned work-groups, and there is no tuning of {device_class}{others}; "
                "run: splitfleet tune CAMPAIGN.toml"
            )
        return self.tunings[device_class]

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
