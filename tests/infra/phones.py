"""Virtual phones for tests: each in a process of its own, ended with everything it started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from splitfleet.infra.virtual_phone.control import ORDERS, give_order

PHONE = """
serial = "test-phone"
model = "Test Phone"
authorize = "always"
"""
_READY_SECONDS = 120
# All phones and agents of the tests find what PoCL has compiled for one of them: that is much of what they do here.
POCL_CACHE = Path(__file__).parents[2] / "build" / "pocl-cache"


@dataclass(frozen=True)
class RunningPhone:
    """A virtual phone: where it listens, its folder, its process and what it has said so far (a file)."""

    address: str
    root: Path
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def order(self, kind: str, **details: object) -> str:
        """A fault, `clear`, or an answer to the prompt: see the phone's control module. Returns its reply."""
        return give_order(self.root, ORDERS.validate_python({"kind": kind, **details}))


@contextmanager
def running_phone(
    folder: Path, description: str = PHONE, *, pocl_cache: Path | None = POCL_CACHE
) -> Iterator[RunningPhone]:
    """Starts a phone with its files in `folder` (kept, so the same folder is the same phone); ends it by SIGTERM.

    Without `pocl_cache` it compiles all its kernels itself, as a new phone does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, ready, log = folder / "phone.toml", folder / "ready", folder / "log"
    file.write_text(description)
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "splitfleet.infra.virtual_phone", str(file)]
    command += ["--root", str(folder / "root"), "--ready-file", str(ready)]
    home = os.environ.get("SPLITFLEET_HOME", str(folder.parent / "home"))
    environment = {**os.environ, "SPLITFLEET_CORE_LOCK": str(folder.parent / "core-lock"), "SPLITFLEET_HOME": home}
    if pocl_cache:
        environment["SPLITFLEET_POCL_CACHE"] = str(pocl_cache)
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
    try:
        wait_until(lambda: ready.exists() or process.poll() is not None, _READY_SECONDS)
        if not ready.exists():
            raise AssertionError(f"the phone did not start: {log.read_text()}")
        yield RunningPhone(ready.read_text().strip(), folder / "root", process, log)
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_until(condition: Callable[[], object], seconds: float = 240.0) -> bool:
    """Polls until the condition (a callable) holds; False when it did not within so many seconds: by default more than
    anything takes that does not hang, on the slowest machine."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
