"""What surrounds the programs that run on the phone."""

from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path

from splitfleet.pipeline.pocl import pocl_environment

from .clock import Clock
from .description import Description
from .state_files import STATE_FOLDER

_SYSTEM_PATH = "/usr/bin:/bin"


def program_environment(description: Description, root: Path, clock: Clock | None) -> dict[str, str]:
    """Environment variables of every program, nothing of this process's own among them.

    SPLITFLEET_SYSROOT is the folder below which the phone's /sys lies. SPLITFLEET_CORE_LOCK is a folder that all
    virtual phones of a user share: the agent holds a lock in it while it measures, so that two phones never do at once.
    The kernels that PoCL has compiled are kept with the phone, or where this process's SPLITFLEET_POCL_CACHE says.
    SPLITFLEET_OPENCL names the OpenCL library; for a phone without OpenCL, a file that does not exist. What the
    description's `environment` says comes on top. Programs read the phone's own clock where it has one.
    Raises HarnessError when PoCL is not installed.
    """
    environment = {"PATH": _SYSTEM_PATH, "SPLITFLEET_OPENCL": str(root / "system/lib64/libOpenCL.so")}
    if description.gpu.opencl:
        environment = pocl_environment(
            Path(os.environ.get("SPLITFLEET_POCL_CACHE", root / STATE_FOLDER / "pocl-cache")),
            core=description.gpu.core,
            max_work_group_size=description.gpu.max_work_group_size,
            path=_SYSTEM_PATH,
        )
    return {
        **environment,
        "PATH": f"{root}/system/bin:{environment['PATH']}",
        "HOME": str(root),
        "TMPDIR": str(root / "data/local/tmp"),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "USER": "shell",
        "SPLITFLEET_SYSROOT": str(root),
        "SPLITFLEET_CORE_LOCK": str(_core_lock_folder()),
        **(clock.environment() if clock else {}),
        **description.environment,
    }


def _core_lock_folder() -> Path:
    """Taken from this process's environment when it is set there, else one for each user of the machine."""
    named = os.environ.get("SPLITFLEET_CORE_LOCK")
    folder = Path(named) if named else Path(tempfile.gettempdir()) / f"splitfleet-cores-{getpass.getuser()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
