"""Orders to a running phone: a file in its folder, and a signal that says so (so that nothing polls)."""

from __future__ import annotations

import fcntl
import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from splitfleet.kernels.errors import DeviceError, UserError

from .faults import Fault
from .state_files import STATE_FOLDER


class Clear(BaseModel):
    """Ends all faults, except that what is lost stays lost and what battery, screen, load and zones show stays."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["clear"]


class Answer(BaseModel):
    """Answers the prompts that are open on the phone's screen."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["answer"]
    allow: bool


Order = Annotated[Fault | Clear | Answer, Field(discriminator="kind")]
ORDERS: TypeAdapter[Order] = TypeAdapter(Order)
_ANSWER_SECONDS = 60.0


class Mailbox:
    """The phone's side: holds the folder for one phone at a time, and hands out the orders that have come in."""

    def __init__(self, root: Path) -> None:
        """Raises UserError when another phone runs in this folder."""
        self._orders = root / STATE_FOLDER / "orders"
        self._orders.mkdir(parents=True, exist_ok=True)
        self._lock = (root / STATE_FOLDER / "pid").open("a+")
        if not _try_lock(self._lock):
            raise UserError(f"a phone is already running in {root} (process {_pid(self._lock)}): choose another --root")
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        for left_over in self._orders.iterdir():
            left_over.unlink()

    def take(self) -> Iterator[tuple[Order, Path]]:
        """Orders, oldest first; the caller writes its answer with `reply`."""
        for file in sorted(self._orders.glob("*.order"), key=lambda file: file.stat().st_mtime_ns):
            order = ORDERS.validate_json(file.read_bytes())
            file.unlink()
            yield order, file.with_suffix(".reply")

    def close(self) -> None:
        """Lets the next phone have the folder."""
        self._lock.close()


def reply(file: Path, text: str) -> None:
    """Tells whoever gave the order what has become of it."""
    unfinished = file.with_suffix(".new")
    unfinished.write_text(text)
    unfinished.replace(file)


def give_order(root: Path, order: Order) -> str:
    """Hands an order to the phone that runs in `root`; returns its reply. For tests and the command line.

    Raises UserError when no phone runs there, DeviceError when it does not answer.
    """
    folder = root / STATE_FOLDER
    try:
        lock = (folder / "pid").open("r+")
    except OSError:
        raise UserError(f"{root} is no virtual phone's folder") from None
    with lock:
        if _try_lock(lock):
            raise UserError(f"no virtual phone is running in {root}")
        pid = int(_pid(lock))
    file = folder / "orders" / f"{uuid.uuid4().hex}.order"
    unfinished = file.with_suffix(".new")
    unfinished.write_text(order.model_dump_json())
    unfinished.replace(file)
    os.kill(pid, signal.SIGUSR1)
    answer = file.with_suffix(".reply")
    deadline = time.monotonic() + _ANSWER_SECONDS
    while not answer.exists():
        if time.monotonic() > deadline:
            raise DeviceError(f"the virtual phone in {root} (process {pid}) did not answer")
        time.sleep(0.01)
    text = answer.read_text()
    answer.unlink()
    return text


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pid(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip()
