"""What doctor looks at on the host."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from splitfleet.kernels.errors import SplitfleetError
from splitfleet.predictors.tracking_store import tracking_uri

from .findings import Finding, Grade, NamedCheck
from .home import splitfleet_home

_GIB = 1 << 30
_ADB_SERVER_PORT = 5037
_RAY = """
import sys
from splitfleet.kernels.errors import SplitfleetError
from splitfleet.pipeline.ray_session import ray_session
try:
    with ray_session():
        pass
except SplitfleetError as error:
    sys.exit(str(error))
"""
_OPENCL = (  # behind the check of Ray, which gives its own processes 30 s to start
    "import os; os.nice(10); from splitfleet.pipeline.local_device import local_opencl_device as find; d = find(); "
    "print(d.platform.name.strip(), '-', d.name.strip())"
)


def host_checks() -> list[NamedCheck]:
    """All of them; those that start a program of their own may take a minute on a busy host."""
    return [
        NamedCheck("host", "python", _python, 10),
        NamedCheck("host", "ray", _ray, 120),
        NamedCheck("host", "usb", _usb, 20),
        NamedCheck("host", "adb server", _adb_server, 10),
        NamedCheck("host", "adb key", _adb_key, 10),
        NamedCheck("host", "disk", _disk, 10),
        NamedCheck("host", "mlflow", _mlflow, 20),
        NamedCheck("host", "compiler", _compiler, 30),
        NamedCheck("host", "opencl", _opencl, 120),
    ]


def _found(subject: str, grade: Grade, text: str) -> Finding:
    return Finding("host", subject, grade, text)


def _python() -> Iterator[Finding]:
    missing = [name for name in ("adb_shell", "pydantic", "filelock", "psutil") if find_spec(name) is None]
    if missing:
        text = f"{', '.join(missing)} missing; pip install 'splitfleet[fleet]'"
        yield _found("python", Grade.PROBLEM, text)
    else:
        yield _found("python", Grade.OK, f"Python {platform.python_version()} with the fleet's packages")


def _ray() -> Iterator[Finding]:
    if find_spec("ray") is None:
        yield _found("ray", Grade.PROBLEM, "not installed; pip install 'splitfleet[fleet]'")
        return
    code, said = _program(_RAY, 110)
    if code == 0:
        yield _found("ray", Grade.OK, "starts here")
    else:
        yield _found("ray", Grade.PROBLEM, f"does not start: {said}; free memory and /dev/shm, or install it again")


def _usb() -> Iterator[Finding]:
    from .adb_usb import NO_PERMISSION, unreadable_usb_phones, usb_serials

    try:
        serials, closed = usb_serials(), unreadable_usb_phones()
    except SplitfleetError as error:
        yield _found("usb", Grade.WARNING, str(error))
        return
    if closed:
        yield _found("usb", Grade.PROBLEM, f"{closed} phones cannot be read: {NO_PERMISSION}")
    yield _found("usb", Grade.OK, f"{len(serials)} phones with debugging on")


def _adb_server() -> Iterator[Finding]:
    port = int(os.environ.get("ANDROID_ADB_SERVER_PORT") or _ADB_SERVER_PORT)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as server:
            server.settimeout(2)
            server.sendall(b"000chost:version")
            answer = server.recv(4)
    except OSError:
        answer = b""
    if answer == b"OKAY":
        text = f"one runs on port {port} and holds the phones on USB: adb -P {port} kill-server"
        yield _found("adb server", Grade.WARNING, text)
    else:
        yield _found("adb server", Grade.OK, "none runs, so phones on USB are free")


def _adb_key() -> Iterator[Finding]:
    key = splitfleet_home() / "adbkey"
    try:
        mode = stat.S_IMODE(key.stat().st_mode)
    except FileNotFoundError:
        yield _found("adb key", Grade.OK, f"none yet; {key} is made when the first phone is met")
        return
    if mode & 0o077:
        text = f"{key} can be read by others (mode {mode:o}), who can then control the phones: chmod 600 {key}"
        yield _found("adb key", Grade.PROBLEM, text)
    elif not os.access(key, os.R_OK):
        yield _found("adb key", Grade.PROBLEM, f"{key} cannot be read by this user; run as its owner")
    else:
        yield _found("adb key", Grade.OK, f"{key}, for its owner only")


def _disk() -> Iterator[Finding]:
    places = {splitfleet_home(): (1, 5), Path("/tmp"): (1, 5), Path("/dev/shm"): (0.25, 1)}
    for place, (least_gib, good_gib) in places.items():
        there = next(folder for folder in (place, *place.parents) if folder.exists())
        free_gib = shutil.disk_usage(there).free / _GIB
        grade = Grade.PROBLEM if free_gib < least_gib else Grade.WARNING if free_gib < good_gib else Grade.OK
        advice = "" if grade is Grade.OK else f"; free some, {good_gib} GiB are enough"
        yield _found("disk", grade, f"{place}: {free_gib:.1f} GiB free{advice}")


def _mlflow() -> Iterator[Finding]:
    uri = tracking_uri()
    if find_spec("mlflow") is None:
        text = "not installed, so nothing can be trained; pip install 'splitfleet[mlflow]'"
        yield _found("mlflow", Grade.WARNING, text)
    elif uri.startswith(("http://", "https://")):
        try:
            with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=10) as answer:
                answer.read(100)
            yield _found("mlflow", Grade.OK, f"{uri} answers")
        except (OSError, ValueError) as error:
            yield _found("mlflow", Grade.PROBLEM, f"{uri} does not answer ({error}); start it or check the address")
    elif uri.startswith("sqlite:///"):
        file = Path(uri.removeprefix("sqlite:///"))
        there = next(place for place in (file, *file.absolute().parents) if place.exists())
        if os.access(there, os.W_OK):
            yield _found("mlflow", Grade.OK, f"{file}")
        else:
            text = f"{there} cannot be written; set MLFLOW_TRACKING_URI, or run where you may write"
            yield _found("mlflow", Grade.PROBLEM, text)
    else:
        yield _found("mlflow", Grade.OK, f"{uri.partition(':')[0]} store; it is asked when training begins")


def _compiler() -> Iterator[Finding]:
    from .agent_build import agents_folder
    from .agent_targets import choose_toolchain, host_target

    try:
        toolchain = choose_toolchain(host_target(), None, None, agents_folder())
        yield _found("compiler", Grade.OK, " ".join(toolchain.version))
    except SplitfleetError as error:
        yield _found("compiler", Grade.WARNING, f"agents cannot be built here: {error}")


def _opencl() -> Iterator[Finding]:
    if find_spec("pyopencl") is None:
        text = "pyopencl is not installed: no local device and no kernel checks; pip install 'splitfleet[opencl]'"
        yield _found("opencl", Grade.WARNING, text)
        return
    code, said = _program(_OPENCL, 110)
    if code == 0:
        yield _found("opencl", Grade.OK, said)
    else:
        yield _found("opencl", Grade.WARNING, f"cannot be used here, only phones can be measured: {said}")
    if shutil.which("ld") is None and find_spec("ziglang") is None:
        text = "no linker, which PoCL needs for each kernel: install binutils, or pip install 'splitfleet[toolchain]'"
        yield _found("opencl", Grade.WARNING, text)


def _program(code: str, limit_s: float) -> tuple[int, str]:
    """Exit code and last line of a Python program in a process group of its own, which is ended with it."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
        errors="replace",
    )
    try:
        output, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return -1, f"no answer within {limit_s:.0f} s"
    lines = [line for line in output.splitlines() if line.strip()]
    return process.returncode, lines[-1].strip()[:300] if lines else "it said nothing"
