"""The environment variables with which a native program finds the PoCL that came with pyopencl.

What each of them does was tried with PoCL 3.0 (wheels of pyopencl 2026.1 and pocl-binary-distribution 3.0):

* `PYOPENCL_HOME`: the wheels' loader crashes without it.
* `OCL_ICD_VENDORS`: with `PYOPENCL_HOME` alone the loader also reads /etc/OpenCL, and a PoCL named there is loaded
  *instead* of the wheels' own, because both carry the same soname. Set to the library itself, there is exactly
  one platform, whatever /etc/OpenCL holds. Set to the folder, the same platform is listed twice.
* `POCL_MAX_PTHREAD_COUNT`, `POCL_AFFINITY`: one compute unit; its thread is pinned to CPU 0, even in a process that
  is itself confined to other CPUs. PoCL pins its n-th thread to the n-th CPU, so one thread means CPU 0.
* `POCL_MAX_WORK_GROUP_SIZE`: is reported by the device, and as the limit of each dimension.
* `POCL_CACHE_DIR`: made when missing.
* `PATH`: PoCL links each kernel by calling `ld`, found on PATH only.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from splitfleet.kernels.errors import HarnessError, UserError

_INSTALL = "install the OpenCL extra: pip install 'splitfleet[opencl]'"


def pocl_environment(
    cache_dir: Path, *, core: int = 0, max_work_group_size: int | None = None, path: str | None = None
) -> dict[str, str]:
    """Environment variables for a program that opens OpenCL by dlopen and shall get PoCL from the wheels.

    `cache_dir` keeps compiled kernels (one folder for each device) and is created. `core` is the CPU that computes;
    PoCL can be held to CPU 0 only. `max_work_group_size` (work-items) lowers the device's limit. `path` is the
    PATH that the program shall have (this process's own by default); a folder with a linker is put in front where
    it holds none. The caller gives a writable HOME.

    Raises UserError for another core or an impossible limit, HarnessError when a needed package is not installed.
    """
    if core != 0:
        raise UserError(f"PoCL can be held to CPU 0 only, not to CPU {core}: leave the GPU's core at 0")
    if max_work_group_size is not None and max_work_group_size < 1:
        raise UserError(f"a work-group limit of {max_work_group_size} work-items is impossible: give 1 or more")
    package = _package_folder("pyopencl")
    libraries = package / ".libs"
    cache_dir = cache_dir.absolute()
    cache_dir.mkdir(parents=True, exist_ok=True)
    environment = {
        "PYOPENCL_HOME": str(package),
        "LD_LIBRARY_PATH": str(libraries),
        "SPLITFLEET_OPENCL": str(_only(libraries, "libOpenCL*.so*")),
        "OCL_ICD_VENDORS": str(_only(libraries, "libpocl*.so*")),
        "POCL_CACHE_DIR": str(cache_dir),
        # PoCL keeps by itself what it compiled. Asked for a binary, it compiles each kernel once more, for seconds.
        "SPLITFLEET_CACHE_DIR": "",
        "POCL_MAX_PTHREAD_COUNT": "1",
        "POCL_AFFINITY": "1",
        "PATH": _path_with_linker(cache_dir, path or os.environ.get("PATH", os.defpath)),
    }
    if max_work_group_size is not None:
        environment["POCL_MAX_WORK_GROUP_SIZE"] = str(max_work_group_size)
    return environment


def _package_folder(name: str) -> Path:
    """Where a package lies, found without importing it: importing pyopencl would load OpenCL into this process."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise HarnessError(f"the Python package {name} is not installed: {_INSTALL}")
    return Path(spec.origin).parent


def _only(folder: Path, pattern: str) -> Path:
    """The one file of the folder that matches; wheels add a hash to a library's name, so it cannot be spelled out."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise HarnessError(
            f"{folder} holds {len(found)} files like {pattern}, expected one: this pyopencl was not installed from "
            f"a wheel that bundles PoCL; {_INSTALL}"
        )
    return found[0]


def _path_with_linker(cache_dir: Path, path: str) -> str:
    """PATH on which `ld` is found: where the machine has none, a script that runs the linker inside ziglang."""
    if shutil.which("ld", path=path):
        return path
    zig = _package_folder("ziglang") / "zig"
    folder = cache_dir / "bin"
    folder.mkdir(exist_ok=True)
    script = folder / "ld"
    unfinished = folder / f"ld.{os.getpid()}"
    unfinished.write_text(f'#!/bin/sh\nexec "{zig}" ld.lld "$@"\n')
    unfinished.chmod(0o755)
    unfinished.replace(script)
    return os.pathsep.join([str(folder), path])
