"""What a running driver says of itself: status.json in the campaign folder, for a second terminal or another host.

It is written anew as a whole every few seconds, and a last time when the run ends. No run reads it to go on.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from splitfleet.kernels.errors import UserError

from .host_files import write_json
from .progress import PhoneLine

STATUS_FILE = "status.json"
_STOP_FILE = "stop.json"
_SCHEMA = 1
_EVERY_S = 2.0


@dataclass(frozen=True)
class ClassTally:
    """One device class: jobs, and how many have their trace, by status (`ok`, or why there is no time)."""

    device_class: str
    purpose: str
    jobs: int
    settled: dict[str, int]


class StatusFile:
    """Written by the driver of `epoch`; `show` writes at most every two seconds. `others` are the campaign's jobs that
    this run does not touch."""

    def __init__(self, folder: Path, campaign: str, epoch: int, others: Iterable[ClassTally]) -> None:
        self._folder = folder
        self._others = [asdict(row) for row in others]
        self._head: dict[str, Any] = {"schema": _SCHEMA, "campaign": campaign, "epoch": epoch}
        self._head |= {"host": socket.gethostname(), "pid": os.getpid(), "began_unix_s": time.time()}
        self._written_s = 0.0

    def show(self, state: str, classes: Iterable[ClassTally], lines: Iterable[PhoneLine], *, now: bool = False) -> None:
        """Writes how the run stands, where there is room. `state` is running, stopping or ended."""
        if not now and time.monotonic() - self._written_s < _EVERY_S:
            return
        content = {
            **self._head,
            "state": state,
            "updated_unix_s": time.time(),
            "classes": [*(asdict(row) for row in classes), *self._others],
            "phones": [phone_json(line) for line in lines],
        }
        self._written_s = time.monotonic()
        # Without room for it the run goes on: whether it can is for the ledger to say.
        with suppress(OSError):
            write_json(self._folder / STATUS_FILE, content)

    def is_asked_to_stop(self) -> bool:
        """Whether a person has asked this driver, and no earlier one, to stop (`splitfleet campaign stop`)."""
        try:
            return bool(json.loads((self._folder / _STOP_FILE).read_text("utf-8"))["epoch"] == self._head["epoch"])
        except (OSError, ValueError, KeyError):
            return False


def ask_to_stop(folder: Path, epoch: int) -> None:
    """Leaves word for the driver of this epoch, wherever it runs. Raises UserError where that cannot be written."""
    path = folder / _STOP_FILE
    try:
        write_json(path, {"schema": _SCHEMA, "epoch": epoch, "asked_unix_s": time.time()})
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}), so the driver is not asked to stop; make room, "
            "stop it as the user whose campaign it is, or press Ctrl-C where it runs"
        ) from error


def read_status(text: str, where: str) -> dict[str, Any]:
    """The content of a status file. Raises UserError for one that another version wrote, or that is none."""
    try:
        content: dict[str, Any] = json.loads(text)
        if content["schema"] != _SCHEMA:
            raise ValueError(f"schema {content['schema']!r}; this version reads {_SCHEMA}")
        return content
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{where}: not a campaign's status ({error}); use the version of Splitfleet that runs the campaign"
        ) from None


def phone_json(line: PhoneLine) -> dict[str, Any]:
    status = line.status
    return {
        "phone": line.label,
        "address": status.address,
        "device_class": status.device_class,
        "state": status.state.value,
        "reason": status.reason,
        "temperature_c": status.temperature_c,
        "battery_percent": status.battery_percent,
        "done": line.done,
        "total": line.total,
        "rejected": line.rejected,
        "rate_per_minute": round(line.rate_per_minute, 2),
        "left_s": None if line.left_s is None else round(line.left_s),
        "trouble": line.trouble,
    }
