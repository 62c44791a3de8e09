"""Programs on the phone end with their shell, or with the phone, as they do on a real one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest
from adb_shell.auth.sign_cryptography import CryptographySigner

from ..conftest import StartPhone
from .hosts import host
from .phones import RunningPhone, wait_until

DETACHED = "setsid nohup sleep 600 >/data/local/tmp/log 2>&1 </dev/null & echo $!; sleep 1"
# All of these die with adb's shell on a real phone, too.
ATTACHED = {
    "background": "sleep 600 & echo $!",
    "nohup": "nohup sleep 600 & echo $!",
    "own session, but the shell's output": "setsid sleep 600 & echo $!; sleep 1",
}


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def below(phone: RunningPhone) -> list[psutil.Process]:
    return psutil.Process(phone.process.pid).children(recursive=True)


@pytest.mark.parametrize("command", ATTACHED.values(), ids=ATTACHED.keys())
def test_what_is_not_detached_dies_with_its_shell(phone: RunningPhone, key: CryptographySigner, command: str) -> None:
    with host(phone, key) as device:
        pid = int(device.shell(command))
        assert wait_until(lambda: not alive(pid))


def test_a_detached_program_survives_its_shell_and_the_connection(phone: RunningPhone, key: CryptographySigner) -> None:
    with host(phone, key) as device:
        pid = int(device.shell(DETACHED))
    with host(phone, key) as device:
        assert device.shell(f"kill -0 {pid} && echo alive") == "alive\n"
        device.shell(f"kill {pid}")
        assert wait_until(lambda: not psutil.pid_exists(pid)), "ended orphans are reaped"


def test_a_program_in_the_foreground_dies_with_the_connection(phone: RunningPhone, key: CryptographySigner) -> None:
    with host(phone, key) as device:
        output = device.streaming_shell("echo $$; sh -c 'echo $$; sleep 600'; true", decode=True)
        lines = ""
        while lines.count("\n") < 2:
            lines += next(output)
        pids = [int(line) for line in lines.split()]
        assert all(alive(pid) for pid in pids)
    assert wait_until(lambda: not any(alive(pid) for pid in pids))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_everything_ends_with_the_phone(
    start_phone: StartPhone, key: CryptographySigner, number: signal.Signals
) -> None:
    phone = start_phone()
    with host(phone, key) as device:
        device.shell(DETACHED)
        device.shell("setsid nohup sh -c 'while :; do sleep 0.01; done' >/dev/null 2>&1 </dev/null & sleep 1")
        programs = below(phone)
        assert len(programs) >= 3
        os.kill(phone.process.pid, number)
        code = phone.process.wait(timeout=60)
    assert code == (-number if number == signal.SIGKILL else 0)
    assert wait_until(lambda: not any(alive(program.pid) for program in programs))
    mark = f"SPLITFLEET_PHONE_PID={phone.process.pid}"
    assert wait_until(lambda: not marked(mark))


def marked(mark: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_a_folder_is_one_phone_at_a_time(start_phone: StartPhone) -> None:
    phone = start_phone()
    with pytest.raises(AssertionError, match=f"already running in .* \\(process {phone.process.pid}\\)"):
        start_phone()


def test_ten_shells_leave_nothing_behind(phone: RunningPhone, key: CryptographySigner) -> None:
    process = psutil.Process(phone.process.pid)
    with host(phone, key) as device:
        device.shell("true")
        before, files = len(below(phone)), process.num_fds()
        for _ in range(10):
            device.shell("echo x | cat")
        assert wait_until(lambda: (len(below(phone)), process.num_fds()) == (before, files))
