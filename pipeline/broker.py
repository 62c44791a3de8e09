"""The broker of one host: finds its phones, serves each from a thread, and hands on what they report."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path

from .adb_link import usb_serials
from .adb_transport import AdbTransport
from .campaign import Phones
from .conditions import Conditions
from .local_device import local_transport
from .messages import PhoneCommand, PhoneMessage
from .phone import identify_android, identify_host
from .phone_worker import Pace, PhonePlace, PhoneWorker
from .transport import Deadlines

_USB_SCAN_S = 5.0


def find_places(phones: Phones, local_folder: Path, deadlines: Deadlines) -> list[PhonePlace]:
    """The phones that are configured, and those on USB now. Raises UserError where USB cannot be looked at."""
    places = [_adb_place(address, False, deadlines) for address in phones.tcp]
    if phones.usb:
        places += [_adb_place(serial, True, deadlines) for serial in usb_serials()]
    if phones.local:
        places.append(PhonePlace("local", lambda _prompt: local_transport(local_folder), lambda _: identify_host()))
    return places


def _adb_place(address: str, usb: bool, deadlines: Deadlines) -> PhonePlace:
    def connect(on_prompt: Callable[[], None]) -> AdbTransport:
        return AdbTransport(address, usb=usb, deadlines=deadlines, on_prompt=on_prompt)

    return PhonePlace(address, connect, identify_android)


class Broker:
    """Runs as a Ray actor, one on each host; nothing here knows of Ray. No method blocks for long."""

    def __init__(
        self,
        phones: Phones,
        conditions: Conditions,
        local_folder: Path,
        owner: str,
        pace: Pace,
        deadlines: Deadlines,
    ) -> None:
        self._conditions = conditions
        self._phones = phones
        self._local_folder = local_folder
        self._owner = owner
        self._pace = pace
        self._deadlines = deadlines
        self._messages: queue.Queue[PhoneMessage] = queue.Queue()
        self._workers: dict[str, PhoneWorker] = {}
        self._stopping = threading.Event()
        self._find()
        if phones.usb:
            threading.Thread(target=self._watch_usb, name="usb", daemon=True).start()

    def poll(self, wait_s: float) -> list[PhoneMessage]:
        """The messages since the last call; waits up to `wait_s` for the first."""
        try:
            messages = [self._messages.get(timeout=wait_s)]
        except queue.Empty:
            return []
        while not self._messages.empty():
            messages.append(self._messages.get_nowait())
        return messages

    def addresses(self) -> list[str]:
        """The phones that are served."""
        return list(self._workers)

    def command(self, address: str, session: int, command: PhoneCommand) -> None:
        """Hands a command to a phone's thread."""
        self._workers[address].command(session, command)

    def stop(self) -> None:
        """Ends the threads; what runs on the phones goes on there."""
        self._stopping.set()
        for worker in self._workers.values():
            worker.stop()
        for worker in self._workers.values():
            worker.join(timeout=self._pace.poll_s + self._deadlines.connect_s)

    def _find(self) -> None:
        for place in find_places(self._phones, self._local_folder, self._deadlines):
            if place.address not in self._workers:
                worker = PhoneWorker(place, self._owner, self._messages.put, self._pace, self._conditions)
                self._workers[place.address] = worker
                worker.start()

    def _watch_usb(self) -> None:
        while not self._stopping.wait(_USB_SCAN_S):
            self._find()
