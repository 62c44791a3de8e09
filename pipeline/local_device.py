"""This host as a phone-less device: the agent runs in a folder here, on PoCL where the OpenCL extra is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from .local_transport import LocalTransport
from .pocl import pocl_environment


def local_transport(folder: Path) -> LocalTransport:
    """The transport to this host. Without pyopencl the agent looks for the host's own OpenCL."""
    if find_spec("pyopencl") is None:
        return LocalTransport(folder)
    return LocalTransport(folder, {**pocl_environment(folder / "pocl-cache"), "HOME": str(folder)})
