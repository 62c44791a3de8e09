"""This host as a phone-less device: the agent in a folder here, or kernels in this process, on any OpenCL device."""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from splitfleet.kernels.errors import DeviceError, HarnessError

from .local_transport import LocalTransport
from .pocl import pocl_environment

if TYPE_CHECKING:
    import pyopencl


def local_transport(folder: Path) -> LocalTransport:
    """The transport to this host. Without pyopencl the agent looks for the host's own OpenCL."""
    if find_spec("pyopencl") is None:
        return LocalTransport(folder)
    return LocalTransport(folder, {**pocl_environment(folder / "pocl-cache"), "HOME": str(folder)})


def local_opencl_device(platform: str = "", device: str = "") -> pyopencl.Device:
    """The OpenCL device of this process whose platform's and own name contain these texts (in any case).

    A GPU is preferred to other devices. Raises DeviceError naming what there is where none matches.
    """
    _offer_linker()
    import pyopencl as cl

    try:
        found = [(each.name, one) for each in cl.get_platforms() for one in each.get_devices()]
    except cl.Error as error:
        raise HarnessError(f"OpenCL cannot be used in this process: {error}") from error
    matching = [one for name, one in found if platform.lower() in name.lower() and device.lower() in one.name.lower()]
    if not matching:
        there = "; ".join(f"{name}: {one.name}" for name, one in found) or "none"
        raise DeviceError(
            f"no OpenCL device has {platform!r} in its platform's name and {device!r} in its own; there are: {there}"
        )
    return min(matching, key=lambda one: one.type & cl.device_type.GPU == 0)


def _offer_linker() -> None:
    """PoCL links each kernel by calling `ld`; where PATH has none, that of the toolchain extra is put there."""
    if shutil.which("ld") is None and find_spec("pyopencl") and find_spec("ziglang"):
        folder = Path(tempfile.gettempdir()) / f"splitfleet-linker-{os.getuid()}"
        os.environ["PATH"] = pocl_environment(folder)["PATH"]
