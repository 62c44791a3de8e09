"""What runs the agent for 64-bit Arm on this machine: a cross compiler, qemu-user, and Debian's PoCL for arm64."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from splitfleet.pipeline.agent_build import build_agent

BUILD = Path(__file__).parents[1] / "build"
OPENCL = BUILD / "arm64"  # made by infra/arm64/opencl.sh
COMPILER = "aarch64-linux-gnu-g++"
QEMU = "qemu-aarch64-static"

needs_compiler = pytest.mark.skipif(shutil.which(COMPILER) is None, reason="Debian's g++-aarch64-linux-gnu is absent")
needs_qemu = pytest.mark.skipif(shutil.which(QEMU) is None, reason="Debian's qemu-user-static is absent")
needs_opencl = pytest.mark.skipif(not OPENCL.is_dir(), reason="build/arm64 is absent: infra/arm64/opencl.sh makes it")


def build_arm_agent() -> Path:
    return build_agent(abi="aarch64-linux", compiler=COMPILER, build_root=BUILD / "agents")


def emulator(root: Path) -> tuple[str, ...]:
    """What goes before the program; `root` holds the C library of arm64."""
    return (QEMU, "-L", str(root))


def pocl_environment(cache: Path, tools: Path) -> dict[str, str]:
    """Variables with which the emulated agent finds PoCL. Both folders are made; `tools` gets a linker for Arm.

    PoCL looks for its files beside itself by a call that qemu does not lead into its -L folder: hence full paths. It
    runs `ld` to link a kernel, and qemu would run this host's, which knows nothing of Arm. Compiling a kernel takes an
    emulated compiler many seconds: a job may have them.
    """
    libraries = OPENCL / "usr/lib/aarch64-linux-gnu"
    for folder in (cache, tools):
        folder.mkdir(exist_ok=True)
    (tools / "ld").symlink_to(shutil.which("aarch64-linux-gnu-ld") or "")
    return {
        "SPLITFLEET_OPENCL": f"{libraries}/libOpenCL.so.1",
        "OCL_ICD_VENDORS": f"{libraries}/libpocl.so.2",
        "POCL_CACHE_DIR": str(cache),
        "POCL_MAX_PTHREAD_COUNT": "1",
        "POCL_AFFINITY": "1",
        "PATH": f"{tools}:/usr/bin:/bin",
        "SPLITFLEET_GRACE_S": "1000",
    }
