"""Who may write to a campaign: a lease in its folder, with a fencing epoch that only grows.

    lease/000003.json       the driver of epoch 3: host, process, since when, when last renewed

The file of an epoch is made by a hard link, which fails where the name exists, on NFS as on a local disk: of two
drivers one gets the epoch. The newest file is the lease; whoever finds a newer one than its own has lost it. A driver
renews its file every `RENEW_S`. Another may take over

* at once, where the lease was given back, or its process is gone on this same machine;
* where its renewal is `OVERDUE_S` late by the clock (hosts of a cluster keep time by NTP) and, against clocks that
  differ all the same, it is not renewed while we watch for two renewals either;
* when a person says so (`--take-over`), knowing that the first is dead or cut off.

A driver that was only asleep or cut off finds out before it writes on: it looks for a newer epoch before and after each
transaction that it journals, and what it wrote in between is overruled (journal.py).
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from splitfleet.kernels.errors import UserError

LEASE = "lease"
RENEW_S = 10.0
OVERDUE_S = 60.0
_CLOCK_STEP_S = 5.0


class LeaseLost(UserError):
    """Another driver has taken the campaign over."""


@dataclass(frozen=True)
class Holder:
    """The driver of an epoch. `machine` tells apart machines and boots that share a name, and process id spaces."""

    epoch: int
    host: str
    machine: str
    pid: int
    started_unix_s: float
    since_unix_s: float
    renewed_unix_s: float
    released: bool = False

    @property
    def is_here(self) -> bool:
        """Whether the driver is, or was, a process of this machine."""
        return self.machine == _machine()

    @property
    def is_gone(self) -> bool:
        """Whether it is known that the driver works no more: it said so, or was a process of this machine."""
        return self.released or (self.is_here and not self._is_running())

    @property
    def is_late(self) -> bool:
        """Whether its renewal is overdue."""
        return time.time() - self.renewed_unix_s > OVERDUE_S

    @property
    def is_live(self) -> bool:
        return not self.is_gone and (self.is_here or not self.is_late)

    def _is_running(self) -> bool:
        try:
            return abs(psutil.Process(self.pid).create_time() - self.started_unix_s) < _CLOCK_STEP_S
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True


def holder_of(folder: Path) -> Holder | None:
    """The newest driver of a campaign folder, whether it still works or not."""
    try:
        epochs = _epochs(folder)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be looked into ({error.strerror}); ask its owner to let you read it"
        ) from error
    for epoch in sorted(epochs, reverse=True):
        with suppress(OSError, ValueError, TypeError):
            return Holder(**json.loads(_path(folder, epoch).read_text("utf-8")))
    return None


class Lease:
    """A lease that is held, and renewed by a thread of its own until it is given back or lost."""

    def __init__(self, folder: Path, epoch: int, renew_s: float) -> None:
        self._folder = folder
        self._renew_s = renew_s
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.holder = _ourselves(epoch)
        self._renewed_s = time.monotonic()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    @property
    def epoch(self) -> int:
        return self.holder.epoch

    def check(self) -> None:
        """Raises LeaseLost where there is a newer epoch."""
        # A process that was asleep must not trust what its file system remembers: writing asks the server.
        if time.monotonic() - self._renewed_s > OVERDUE_S / 2:
            self._renew()
        newest = max(_epochs(self._folder), default=0)
        if newest > self.epoch:
            raise self._lost()

    def release(self) -> None:
        """Gives the lease back. The file stays, so that the next epoch is a greater one."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        with suppress(OSError, LeaseLost):
            try:
                self._renew(released=True)
            except OSError:
                # A full disk, mostly: there is no room for a second file, but there is in the one that is there. Who
                # reads it half-written finds no driver, which is true.
                with _path(self._folder, self.epoch).open("r+", encoding="utf-8") as file:
                    file.write(_text(self.holder))
                    file.truncate()

    def _begin(self) -> Lease:
        self._thread.start()
        return self

    def _keep(self) -> None:
        while not self._ended.wait(self._renew_s):
            with suppress(OSError):  # a folder that is away for a moment; `check` tells when it matters
                try:
                    self._renew()
                except LeaseLost:
                    return

    def _renew(self, *, released: bool = False) -> None:
        with self._lock:
            if max(_epochs(self._folder), default=0) > self.epoch:
                raise self._lost()
            self.holder = replace(self.holder, renewed_unix_s=time.time(), released=released)
            _write(_path(self._folder, self.epoch), self.holder)
            self._renewed_s = time.monotonic()

    def _lost(self) -> LeaseLost:
        other = holder_of(self._folder)
        who = f"process {other.pid} on host {other.host}" if other else "another driver"
        return LeaseLost(
            f"{self._folder}: {who} has taken this campaign over (epoch {other.epoch if other else '?'}, ours was "
            f"{self.epoch}); this driver stops. What it had committed is kept, and the other goes on with it: "
            f"splitfleet campaign status {self._folder}"
        )


def take_lease(folder: Path, *, above: int = 0, take_over: bool = False, renew_s: float = RENEW_S) -> Lease:
    """Takes the lease of a campaign folder, with an epoch greater than `above` and than any before.

    Raises UserError, with the holder's host and process, where another driver works or may still work.
    """
    (folder / LEASE).mkdir(parents=True, exist_ok=True)
    holder = holder_of(folder)
    if holder and not holder.is_gone and not take_over and not _is_overdue(folder, holder, renew_s):
        raise _refused(folder, holder)
    epoch = max(above, max(_epochs(folder), default=0)) + 1
    lease = Lease(folder, epoch, renew_s)
    path = _path(folder, epoch)
    unfinished = path.with_name(f".{path.name}.{lease.holder.host}.{os.getpid()}.{threading.get_ident()}")
    try:
        unfinished.write_text(_text(lease.holder), "utf-8")
        os.link(unfinished, path)
    except FileExistsError:
        raise _refused(folder, holder_of(folder)) from None
    except OSError as error:
        raise UserError(
            f"{folder}: this file system makes no hard links ({error.strerror}), by which drivers agree on who "
            "works on a campaign; use a folder on another file system, as a local disk or NFS"
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)
    # A driver that was slow to look may have made an epoch that others have left behind and tidied away.
    if max(_epochs(folder)) > epoch:
        path.unlink(missing_ok=True)
        raise _refused(folder, holder_of(folder))
    for older in _epochs(folder):
        if older < epoch:
            _path(folder, older).unlink(missing_ok=True)
    return lease._begin()


def _is_overdue(folder: Path, holder: Holder, renew_s: float) -> bool:
    if holder.is_here or not holder.is_late:
        return False
    time.sleep(2 * renew_s)
    return holder_of(folder) == holder


def _refused(folder: Path, holder: Holder | None) -> UserError:
    if holder is None:
        return UserError(f"{folder}: this campaign is being worked on by another process; wait, or end it there")
    text = (
        f"{folder}: this campaign is being worked on by process {holder.pid} on host {holder.host}; wait, or end it "
        f"there: splitfleet campaign stop {folder}"
    )
    if not holder.is_here:
        age_s = max(time.time() - holder.renewed_unix_s, 0)
        text += (
            f". It said so {age_s:.0f} s ago; {OVERDUE_S:.0f} s after its last word it counts as dead. If you know "
            "that it is dead or cut off: --take-over"
        )
    return UserError(text)


def _ourselves(epoch: int) -> Holder:
    now = time.time()
    started = psutil.Process().create_time()
    return Holder(epoch, socket.gethostname(), _machine(), os.getpid(), started, now, now)


def _machine() -> str:
    """This boot of this machine, and the space that its process ids are in."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts = [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), str(Path("/proc/self/ns/pid").readlink())]
    return " ".join(parts)


def _epochs(folder: Path) -> list[int]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return [int(path.stem) for path in (folder / LEASE).iterdir() if re.fullmatch(r"\d{6}\.json", path.name)]
    return []


def _path(folder: Path, epoch: int) -> Path:
    return folder / LEASE / f"{epoch:06d}.json"


def _write(path: Path, holder: Holder) -> None:
    unfinished = path.with_name(f".{path.name}.new")
    try:
        unfinished.write_text(_text(holder), "utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _text(holder: Holder) -> str:
    return json.dumps(asdict(holder)) + "\n"
