"""Ray for a driver: started here, quietly, on loopback only and always shut down; or a cluster that runs already."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from splitfleet.kernels.errors import HarnessError, UserError

from .ray_environment import OBJECT_STORE_BYTES, ensure_token, ray_environment, require_token, token_path

_CONNECT_S = 5.0
_FOLDER_PREFIX = "splitfleet-ray-"
_TURN_S = 45.0
_TOO_LATE = "timed out during startup"  # in what Ray says then

Started = TypeVar("Started")


@contextmanager
def ray_session(cluster: str = "", *, cpus: int = 1) -> Iterator[None]:
    """Ray is running inside the block: that of the cluster at HOST:PORT, else one of its own on this host.

    Its own runs tasks on `cpus` cores; brokers need none.

    One that this process uses already is used as it is. Raises HarnessError where Ray does not start, UserError where
    the cluster cannot be used from here.
    """
    token = require_token(cluster) if cluster else ensure_token()
    os.environ.update(ray_environment(cluster, token))
    import ray

    if ray.is_initialized():
        yield
    elif cluster:
        _connect(cluster)
        try:
            yield
        finally:
            ray.shutdown()
    else:
        with _own_ray(cpus):
            yield


def _connect(cluster: str) -> None:
    """Joins the cluster as a driver. Ray waits long for what does not answer, so that is tried first."""
    import ray

    check_answers(cluster)
    try:
        ray.init(address=cluster, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise UserError(
            f"the cluster at {cluster} does not let this host in ({last_line(error)}): is {token_path()} the head's "
            f"token, is Ray the same release on both, and has this host joined (splitfleet host join {cluster})?"
        ) from error


def check_answers(address: str) -> None:
    """Raises UserError where nothing listens at HOST:PORT."""
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
        raise UserError(f"{address!r} is no cluster's address; write HOST:PORT, as splitfleet host start prints it")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        raise UserError(
            f"nothing answers at {address} ({error.strerror or error}): is the head up there? On it: splitfleet host "
            "list; to start it: splitfleet host start --listen ADDRESS"
        ) from None


def last_line(error: object) -> str:
    """What a long message of Ray's ends with."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


def again_if_late(start: Callable[[], Started]) -> Started:
    """What `start` gives, called once more where it fails since Ray's node came too late.

    Ray's raylet gives the Python processes of its node 30 s, which cannot be set, and ends itself then; on a host that
    is busy for a moment that is too short. Two that start side by side make each other late, so they take turns.
    """
    with _turn():
        try:
            return start()
        except Exception as error:
            if _TOO_LATE not in str(error):
                raise
        return start()


@contextmanager
def _turn() -> Iterator[None]:
    """Inside the block no other Ray is started by this user on this host, or only one that has waited for long."""
    lock = FileLock(Path(tempfile.gettempdir()) / f"splitfleet-{os.getuid()}-ray-start.lock")
    with suppress(Timeout, OSError):  # a courtesy: no reason not to start
        lock.acquire(timeout=_TURN_S)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _own_ray(cpus: int) -> Iterator[None]:
    import ray

    _remove_leftovers()
    # Ray puts sockets below this folder, and their paths must stay short.
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-"))
    try:
        pids = again_if_late(lambda: _start(folder, cpus))
    except Exception as error:
        cause = "Is the host overloaded (uptime)?" if _TOO_LATE in str(error) else "Is /tmp or /dev/shm full?"
        raise HarnessError(
            f"Ray did not start on this host ({last_line(error)}); its logs are in {folder} until it is started again. "
            f"{cause}"
        ) from error
    try:
        with _end_after_us(pids):
            yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, cpus: int) -> list[int]:
    """Starts Ray with its files in the folder; its processes."""
    import ray

    before = set(_children())
    try:
        ray.init(
            address="local",
            num_cpus=cpus,
            num_gpus=0,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=str(folder),
        )
    except BaseException:
        ray.shutdown()  # which does not know of all that had been started by then
        for pid in set(_children()) - before:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        raise
    return [pid for pid in _children() if pid not in before]


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
        with suppress(FileNotFoundError):  # another command may remove it, too
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
