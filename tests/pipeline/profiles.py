"""Device profiles for tests that need no phone."""

from __future__ import annotations

from typing import Any

from splitfleet.pipeline.profile import DeviceProfile


def profile(model: str = "Test Phone", *, cores: int = 2, svm: bool = True, **opencl: Any) -> DeviceProfile:
    """A phone with a plausible answer of `splitfleet-agent info`."""
    capabilities = {
        "schema": 1,
        "agent": {
            "version": "0.1.0",
            "build": "b1",
            "compiler": "gcc",
            "isa": "avx2",
            "architecture": "x86_64",
            "backends": {"eigen": "eigen-3.4.0"},
        },
        "cpu": {"cores": [{"id": i, "max_khz": 2_000_000} for i in range(cores)]},
        "memory_bytes": 1 << 32,
        "opencl": {
            "platform": "P",
            "platform_version": "1",
            "device": "D",
            "vendor": "V",
            "device_version": "OpenCL 3.0",
            "driver_version": "1",
            "c_version": "OpenCL C 1.2",
            "compute_units": 1,
            "max_work_group_size": 256,
            "max_work_item_sizes": [256, 256, 256],
            "preferred_vector_float": 8,
            "global_bytes": 1 << 32,
            "local_bytes": 1 << 15,
            "max_alloc_bytes": 1 << 30,
            "timer_resolution_ns": 1,
            "image2d_max": [1024, 1024],
            "svm": {"coarse": svm, "fine_buffer": svm, "fine_system": svm, "atomics": svm},
            "extensions": [],
            **opencl,
        },
        "opencl_error": None,
    }
    return DeviceProfile(model, "SoC", "x86_64", {"sdk": "34"}, capabilities, (1 << cores) - 1)
