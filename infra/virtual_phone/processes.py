"""The programs that run on the phone: started, reaped, and ended with it.

Whatever a shell leaves behind becomes a child of the phone's process (PR_SET_CHILD_SUBREAPER), so all of them can be
found and ended by process id. Where the phone itself is killed, a guard does it: a small shell that waits for the end
of a pipe, then ends every process that carries the phone's mark in its environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from splitfleet.kernels.errors import HarnessError

_PR_SET_CHILD_SUBREAPER = 36
_MARK = "SPLITFLEET_PHONE_PID"
# Three rounds: a process may have been starting another one while the first round went by.
_GUARD = """
trap '' HUP INT TERM
while read -r _; do :; done
for round in 1 2 3; do
    for process in /proc/[0-9]*; do
        if tr '\\0' '\\n' <"$process/environ" 2>/dev/null | grep -qx "$1"; then
            kill -KILL "${process#/proc/}"
        fi
    done
done 2>/dev/null
"""


@dataclass
class Child:
    """A program that the phone started; `exit` is done when it has ended (its exit code, or minus the signal)."""

    process: subprocess.Popen[bytes]
    exit: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def pid(self) -> int:
        """Also the id of its session: each program gets one of its own."""
        return self.process.pid


class Processes:
    """All programs of one phone. Lives in the main thread of a process that starts no others."""

    def __init__(self) -> None:
        """Makes this process the one that inherits orphans. Raises HarnessError where the system cannot (not Linux)."""
        if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
            raise HarnessError("the virtual phone needs Linux with /proc/PID/task/TID/children (CONFIG_PROC_CHILDREN)")
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise HarnessError(f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(ctypes.get_errno())}")
        # A Python handler, unlike "ignore", is not inherited: programs get SIGPIPE's default, and the phone survives.
        signal.signal(signal.SIGPIPE, lambda *_: None)
        # Inherited on purpose: on a full disk, writing shall fail with an error instead of ending the program.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        self._children: dict[int, Child] = {}
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "splitfleet-phone-guard", self.mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def mark(self) -> str:
        """`NAME=VALUE`, in the environment of each of the phone's programs."""
        return f"{_MARK}={os.getpid()}"

    def start(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        stdin: int,
        stdout: int,
        stderr: int,
        prepare: Callable[[], object] | None = None,
    ) -> Child:
        """Starts a program in a session of its own. `prepare` runs in the child before the program does."""
        process = subprocess.Popen(
            command,
            env={**environment, _MARK: str(os.getpid())},
            cwd=folder,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            restore_signals=False,
            preexec_fn=prepare,
        )
        child = Child(process)
        self._children[child.pid] = child
        return child

    def end_session(self, child: Child, channels: Set[str]) -> None:
        """Ends what is left of a shell, as adbd does, unless it is detached.

        Detached is a process that is in a session of its own and has none of the shell's `channels` (what
        /proc/PID/fd/N links to) as standard input, output or error.
        """
        killed: set[int] = set()
        while True:  # until a round finds nothing new: a process may have started another just before its end
            attached = [pid for pid in descendants() if pid not in killed and _attached(pid, child.pid, channels)]
            if not attached:
                return
            for pid in attached:
                _kill(pid)
                killed.add(pid)

    def allow_writing(self, allowed: bool) -> None:
        """Lets the running programs write to files again, or makes their writing fail."""
        limit = resource.RLIM_INFINITY if allowed else 0
        for pid in descendants():
            with contextlib.suppress(OSError):
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, hard))

    def end_programs(self) -> None:
        """Ends every program, as a loss of power does. Programs that are born meanwhile are ended too."""
        while pids := [pid for pid in descendants() if pid != self._guard.pid]:
            for pid in pids:
                _kill(pid)
            self._reap()
            time.sleep(0.002)

    def end_all(self) -> None:
        """Ends every program, and the guard last."""
        self.end_programs()
        asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)
        self._guard.kill()
        self._guard.wait()

    def _reap(self) -> None:
        """Collects ended children, the adopted ones too. The guard is not waited for here: it lives to the end."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is not None:
                child.process.returncode = os.waitstatus_to_exitcode(status)
                if not child.exit.done():
                    child.exit.set_result(child.process.returncode)


def descendants() -> list[int]:
    """Ids of all processes below this one, zombies left out."""
    found: list[int] = []
    pending = [os.getpid()]
    while pending:
        below = _children_of(pending.pop())
        pending += below
        found += [pid for pid in below if _state(pid) not in "ZX"]
    return found


def parent(pid: int) -> int:
    """The process that this one is a child of; 0 when it is gone."""
    fields = _status_fields(pid)
    return int(fields[1]) if fields else 0


def wait_until_gone(pid: int) -> None:
    """After SIGKILL: returns when the process does nothing more."""
    while _state(pid) not in "ZX":
        time.sleep(0.001)


def _children_of(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += [int(word) for word in (task / "children").read_text().split()]
    return found


def _status_fields(pid: int) -> list[str]:
    """/proc/PID/stat behind the program's name: state, parent, group, session... Empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _state(pid: int) -> str:
    fields = _status_fields(pid)
    return fields[0] if fields else "X"


def _session(pid: int) -> int:
    fields = _status_fields(pid)
    return int(fields[3]) if fields else 0


def _attached(pid: int, session: int, channels: Set[str]) -> bool:
    return _session(pid) == session or any(_link(f"/proc/{pid}/fd/{fd}") in channels for fd in (0, 1, 2))


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
