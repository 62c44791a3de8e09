"""The broker of one host: finds its phones, serves each from a thread, and hands on what they report."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from splitfleet.kernels.errors import SplitfleetError

from .adb_transport import AdbTransport
from .adb_usb import usb_serials
from .campaign import Phones
from .code_version import code_version
from .conditions import Conditions
from .health import Limits
from .home import splitfleet_home
from .host_record import own_phones
from .local_device import local_transport
from .mail import Outbox
from .messages import HostNote, Mail, Order, PhoneLeft, PhoneMessage, StatusChanged
from .pace import Pace
from .phone import identify_android, identify_host
from .phone_state import PhoneState, PhoneStatus
from .phone_worker import PhonePlace, PhoneWorker
from .transport import Deadlines

_SCAN_S = 5.0
_FIRST_LOOK_S = 20.0
_END_S = 15.0  # less than the driver waits for a broker's end


def find_places(phones: Phones, local_folder: Path, deadlines: Deadlines) -> Iterator[PhonePlace]:
    """The phones that are configured, and then those on USB now. Raises UserError where USB cannot be looked at."""
    for address in phones.tcp:
        yield _adb_place(address, False, deadlines)
    if phones.local:
        yield PhonePlace("local", lambda _prompt: local_transport(local_folder), lambda _: identify_host())
    if phones.usb:
        for serial in usb_serials():
            yield _adb_place(serial, True, deadlines)


def _adb_place(address: str, usb: bool, deadlines: Deadlines) -> PhonePlace:
    def connect(on_prompt: Callable[[], None]) -> AdbTransport:
        return AdbTransport(address, usb=usb, deadlines=deadlines, on_prompt=on_prompt)

    return PhonePlace(address, connect, identify_android)


@dataclass(frozen=True)
class BrokerSetup:
    """What a broker is told. `phones` are served beside those that its host has for itself. `local_folder` is the local
    device's; None: below the host's home. `scan_s`: how often it looks for phones that were added or plugged in.
    `abandoned_s`: how long after the driver's last call it lets go of its phones. `campaign` is the campaign's name,
    for those who meet it on a phone."""

    phones: Phones
    conditions: Conditions
    owner: str
    pace: Pace
    deadlines: Deadlines
    local_folder: Path | None = None
    scan_s: float = _SCAN_S
    abandoned_s: float = 300.0
    limits: Limits = field(default_factory=Limits)
    campaign: str = ""


class Broker:
    """Runs as a Ray actor, one on each host; nothing here knows of Ray. No method blocks for long.

    It ends its work when nobody has polled for `abandoned_s`: a driver that was cut off must not keep the phones. One
    that comes back after all (its host slept, or somebody had stopped it) finds it begun anew, as another incarnation.
    """

    def __init__(self, setup: BrokerSetup) -> None:
        self._setup = setup
        self._workers: dict[str, PhoneWorker] = {}
        self._order_lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._incarnation = secrets.token_hex(8)
        self._outbox = Outbox()
        self._workers = {}
        self._named: set[str] = set()
        self._handled = 0
        self._stopping = threading.Event()
        self._is_abandoned = False
        self._polled_s = time.monotonic()
        self._trouble = ""
        self._looked = threading.Event()
        threading.Thread(target=self._watch, args=(self._stopping,), name="watch", daemon=True).start()

    def _begin_anew(self) -> None:
        """After it was abandoned, and only when nothing of the incarnation before is at work any more."""
        with self._order_lock:
            if self._is_abandoned and not any(worker.is_alive() for worker in self._workers.values()):
                self._begin()

    def poll(self, incarnation: str, acknowledged: int, wait_s: float) -> Mail:
        """What there is to report behind message number `acknowledged` of that incarnation; waits up to `wait_s`."""
        self._begin_anew()
        self._polled_s = time.monotonic()
        self._looked.wait(_FIRST_LOOK_S)  # the first answer names all phones that there are
        first, messages = self._outbox.take(acknowledged if incarnation == self._incarnation else 0, wait_s)
        return Mail(self._incarnation, code_version(), first, messages)

    def take_orders(self, incarnation: str, orders: tuple[Order, ...]) -> int:
        """Hands commands to the phones' threads; returns the number of the last.

        Those that it has handled before, and those for a broker that is no more, change nothing.
        """
        with self._order_lock:
            for order in orders:
                if incarnation == self._incarnation and order.number > self._handled:
                    self._handled = order.number
                    if worker := self._workers.get(order.address):
                        worker.command(order.session, order.command)
        return orders[-1].number if orders else 0

    def stop(self) -> None:
        """Ends the threads; what runs on the phones goes on there."""
        self._is_abandoned = False
        self._let_go()

    def _let_go(self) -> None:
        self._stopping.set()
        for worker in self._workers.values():
            worker.stop()
        # They still remove what they were told to; one that waits for a dead link is not waited for.
        deadline_s = time.monotonic() + _END_S
        for worker in self._workers.values():
            worker.join(timeout=max(0.0, deadline_s - time.monotonic()))

    def _find(self) -> None:
        """Serves phones that are new, and leaves those that its host's configuration names no more."""
        phones = self._phones()
        folder = self._setup.local_folder or splitfleet_home() / "local-device"
        named = {*phones.tcp, *(["local"] if phones.local else [])}
        for address in self._named - named:
            self._workers.pop(address).stop()
            reason = "its host does not serve it any more"
            self._outbox.put(PhoneLeft(address, reason))
            self._outbox.put(StatusChanged(PhoneStatus(address, PhoneState.OFFLINE, reason)))
        self._named = named
        for place in find_places(phones, folder, self._setup.deadlines):
            if place.address not in self._workers:
                self._serve(place)

    def _phones(self) -> Phones:
        """Those of the campaign and those of the host."""
        given, own = self._setup.phones, own_phones()
        tcp = tuple(dict.fromkeys((*given.tcp, *own.tcp)))
        return Phones(tcp=tcp, usb=given.usb or own.usb, local=given.local or own.local)

    def _serve(self, place: PhonePlace) -> None:
        # Said first of all, so that the driver knows of each phone whatever becomes of it.
        self._outbox.put(StatusChanged(PhoneStatus(place.address, PhoneState.CONNECTING)))
        setup = self._setup

        def report(message: PhoneMessage) -> None:
            # A thread that was told to end may have a last word; its phone may be served by another one by then.
            if self._workers.get(place.address) is worker:
                self._outbox.put(message)

        worker = PhoneWorker(
            place,
            setup.owner,
            report,
            setup.pace,
            setup.conditions,
            limits=setup.limits,
            campaign=setup.campaign,
        )
        self._workers[place.address] = worker
        worker.start()

    def _watch(self, stopping: threading.Event) -> None:
        """Looks for phones that came, until the broker is stopped or abandoned."""
        while not stopping.is_set():
            trouble = ""
            try:
                self._find()
            except SplitfleetError as error:
                trouble = str(error)
            if trouble and trouble != self._trouble:
                self._outbox.put(HostNote(trouble))
            self._trouble = trouble
            self._looked.set()
            if not stopping.wait(self._setup.scan_s) and self._is_forgotten():
                self._let_go()
                self._is_abandoned = True

    def _is_forgotten(self) -> bool:
        return time.monotonic() - self._polled_s > self._setup.abandoned_s
