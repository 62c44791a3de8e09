"""The phones that are there, asked once or watched, without a campaign and without Ray."""

from __future__ import annotations

import queue
import secrets
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

from splitfleet.kernels.errors import DeviceError

from .broker import find_places
from .campaign import Phones
from .conditions import Conditions
from .messages import PhoneMessage, StatusChanged
from .pace import Pace
from .phone_state import PhoneState, PhoneStatus
from .phone_worker import PhoneWorker
from .transport import Deadlines

_OWNER = f"devices{secrets.token_hex(4)}"  # no batch has this name, so none is touched
_SCAN_S = 5.0
_LONGEST_S = 240.0  # the first phone of a kind may wait until an agent is built


def find_devices(phones: Phones, conditions: Conditions | None = None) -> list[PhoneStatus]:
    """The state of every phone once it has settled, in the order in which they are named.

    The device class is that under a campaign's `conditions`. Raises DeviceError when there is none at all.
    """
    found: list[PhoneStatus] = []
    deadline = time.monotonic() + _LONGEST_S
    for found in watch_devices(phones, conditions):
        if all(status.state.is_settled for status in found) or time.monotonic() > deadline:
            break
    return found


def watch_devices(phones: Phones, conditions: Conditions | None = None) -> Generator[list[PhoneStatus], None, None]:
    """Yields the state of every phone about once a second, without end; those on USB as they come.

    Phones measure for others meanwhile: one that a campaign uses is only looked at. Raises DeviceError when there is
    none at all at first.
    """
    messages: queue.Queue[PhoneMessage] = queue.Queue()
    found: dict[str, PhoneStatus] = {}
    workers: list[PhoneWorker] = []
    with tempfile.TemporaryDirectory(prefix="splitfleet-") as folder:
        try:
            scanned_s = float("-inf")
            while True:
                if time.monotonic() - scanned_s > _SCAN_S:
                    scanned_s = time.monotonic()
                    for place in find_places(phones, Path(folder), Deadlines()):
                        if place.address not in found:
                            found[place.address] = PhoneStatus(place.address, PhoneState.CONNECTING)
                            workers.append(PhoneWorker(place, _OWNER, messages.put, Pace(), conditions))
                            workers[-1].start()
                if not found:
                    raise DeviceError(
                        "no phone attached: plug one in with USB debugging on, or name it: "
                        "splitfleet devices --phone HOST:PORT"
                    )
                _take(messages, found)
                yield list(found.values())
        finally:
            for worker in workers:
                worker.stop()
            for worker in workers:
                worker.join(timeout=Deadlines().connect_s)


def _take(messages: queue.Queue[PhoneMessage], found: dict[str, PhoneStatus]) -> None:
    """What the phones' threads said; waits up to a second for the first."""
    try:
        message = messages.get(timeout=1.0)
        while True:
            if isinstance(message, StatusChanged):
                found[message.status.address] = message.status
            message = messages.get_nowait()
    except queue.Empty:
        pass
