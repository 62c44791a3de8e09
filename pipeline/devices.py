"""The phones that are there now, asked once, without a campaign and without Ray."""

from __future__ import annotations

import queue
import tempfile
import time
from pathlib import Path

from splitfleet.kernels.errors import DeviceError

from .broker import find_places
from .campaign import Phones
from .conditions import Conditions
from .messages import PhoneMessage, StatusChanged
from .phone_state import PhoneState, PhoneStatus
from .phone_worker import Pace, PhoneWorker
from .transport import Deadlines

_OWNER = "devices"  # no batch has this name, so none is touched
_LONGEST_S = 240.0  # the first phone of a kind may wait until an agent is built


def find_devices(phones: Phones, conditions: Conditions | None = None) -> list[PhoneStatus]:
    """The state of every phone once it has settled, in the order in which they are named.

    The device class is that under a campaign's `conditions`. Raises DeviceError when there is none at all.
    """
    messages: queue.Queue[PhoneMessage] = queue.Queue()
    deadlines = Deadlines()
    with tempfile.TemporaryDirectory(prefix="splitfleet-") as folder:
        places = find_places(phones, Path(folder), deadlines)
        if not places:
            raise DeviceError(
                "no phone attached: plug one in with USB debugging on, or name it: splitfleet devices --phone HOST:PORT"
            )
        found = {place.address: PhoneStatus(place.address, PhoneState.CONNECTING) for place in places}
        workers = [PhoneWorker(place, _OWNER, messages.put, Pace(), conditions) for place in places]
        for worker in workers:
            worker.start()
        deadline = time.monotonic() + _LONGEST_S
        while any(not status.state.is_settled for status in found.values()) and time.monotonic() < deadline:
            try:
                message = messages.get(timeout=1.0)
            except queue.Empty:
                continue
            if isinstance(message, StatusChanged):
                found[message.status.address] = message.status
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.join(timeout=deadlines.connect_s)
    return list(found.values())
