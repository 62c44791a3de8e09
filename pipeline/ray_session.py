"""Ray on this host alone: started quietly, on loopback only, and always shut down."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from splitfleet.kernels.errors import HarnessError

_OBJECT_STORE_BYTES = 80 * 1024 * 1024  # the least that Ray accepts is 75 MB; messages here are small

# Read by Ray when it is imported or started.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # A node that is its own cluster has the address 127.0.0.1, and then all of Ray's servers listen there only;
    # Ray does so by itself on macOS and Windows, and on Linux when told that clusters are not wanted.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray would run the broker, and an agent on this host with it, at a lower priority than everything else.
    "RAY_worker_niceness": "0",
}


_FOLDER_PREFIX = "splitfleet-ray-"


@contextmanager
def ray_session() -> Iterator[None]:
    """Ray is running inside the block; one that runs already is used as it is."""
    os.environ.update({key: os.environ.get(key, value) for key, value in _ENVIRONMENT.items()})
    import ray

    if ray.is_initialized():
        yield
        return
    _remove_leftovers()
    # Ray puts sockets below this folder, and their paths must stay short.
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-"))
    before = set(_children())
    try:
        try:
            ray.init(
                address="local",
                num_cpus=1,
                num_gpus=0,
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=str(folder),
            )
        except Exception as error:
            raise HarnessError(
                f"Ray did not start on this host ({error}); its logs were in {folder}. Is /tmp or /dev/shm full?"
            ) from error
        with _end_after_us([pid for pid in _children() if pid not in before]):
            yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _end_after_us(pids: list[int]) -> Iterator[None]:
    """Ends these processes soon after this one was killed. Most of Ray's do so by themselves, two stay for a minute."""
    # The shell waits for the end of a pipe whose other end is this process's alone.
    script = "cat >/dev/null; sleep 3; kill -9 " + " ".join(map(str, pids)) + " 2>/dev/null"
    watcher = subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        watcher.kill()
        watcher.communicate()


def _children() -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process().children(recursive=True)]


def _remove_leftovers() -> None:
    """Removes the folders of processes that were killed and so could not do it themselves."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*-*"):
        pid = folder.name.removeprefix(_FOLDER_PREFIX).partition("-")[0]
        if pid.isdecimal() and folder.stat().st_uid == os.getuid() and not _is_alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
