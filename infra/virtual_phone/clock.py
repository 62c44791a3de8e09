"""The phone's wall clock, where its description says that it can be set: a small library in each of its programs."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
from hashlib import sha256
from importlib import resources
from pathlib import Path

from splitfleet.kernels.errors import HarnessError
from splitfleet.pipeline.agent_targets import choose_toolchain, host_target
from splitfleet.pipeline.home import splitfleet_home

from .state_files import STATE_FOLDER

_OFFSET = struct.Struct("=q")


class Clock:
    """The clock of one phone, `seconds` ahead of this machine's."""

    def __init__(self, root: Path) -> None:
        self._file = root / STATE_FOLDER / "clock-offset-ns"
        if not self._file.exists():
            self._file.write_bytes(_OFFSET.pack(0))

    def jump(self, seconds: float) -> None:
        """Moves it, for the programs that run too. The file keeps its place: they have it mapped."""
        with self._file.open("r+b", buffering=0) as file:
            (offset,) = _OFFSET.unpack(file.read())
            file.seek(0)
            file.write(_OFFSET.pack(offset + int(seconds * 1e9)))

    def environment(self) -> dict[str, str]:
        """What makes a program read this clock. Raises HarnessError where the library cannot be built."""
        return {"SPLITFLEET_CLOCK": str(self._file), "LD_PRELOAD": str(_library())}


def _library() -> Path:
    """Built once for this user, with the compiler that builds agents."""
    source = resources.files(__package__).joinpath("clock.cpp").read_bytes()
    folder = splitfleet_home() / "virtual-phone"
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"clock-{sha256(source).hexdigest()[:16]}.so"
    if library.exists():
        return library
    toolchain = choose_toolchain(host_target(), None, None, folder)
    compiler = toolchain.version[:-1]
    with tempfile.TemporaryDirectory(dir=folder) as made:
        file, built = Path(made, "clock.cpp"), Path(made, "clock.so")
        file.write_bytes(source)
        command = [*compiler, "-std=c++17", "-O2", "-shared", "-fPIC", "-o", str(built), str(file), "-ldl"]
        environment = {**os.environ, **toolchain.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise HarnessError(f"the library that sets a phone's clock does not build: {done.stderr.strip()[-500:]}")
        shutil.move(built, library)
    return library
