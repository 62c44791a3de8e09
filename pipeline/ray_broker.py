"""The driver's end of one host's broker, an actor of Ray. Nothing here waits: calls are sent, and answers collected.

Each broker has at most one poll and one call with orders on the way. Whatever a call's fate is, nothing is lost or
doubled: messages stay with the broker until acknowledged, orders stay here until taken, and both carry numbers.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from splitfleet.kernels.errors import HarnessError

from .broker import Broker, BrokerSetup
from .code_version import code_version
from .mail import Inbox
from .messages import (
    BatchReturned,
    BatchStopped,
    BrokerMessage,
    HostNote,
    Mail,
    Order,
    PhoneArrived,
    PhoneCommand,
    PhoneLeft,
    ResultsRead,
    StatusChanged,
)
from .phone_state import PhoneState, PhoneStatus
from .ray_session import last_line

_POLL_S = 5.0
_SILENT_S = 60.0
_START_S = 120.0
_STOP_S = 20.0
_MAX_RESTARTS = 2
_LONGEST_PAUSE_S = 60.0
_LEAST_LIFE_S = 60.0


@dataclass(frozen=True)
class Host:
    """A Ray node that serves phones. `prefix` makes its phones' addresses unique in the cluster."""

    name: str
    node_id: str
    prefix: str


class RayBroker:
    """One host's broker: made, and made again when it dies. Ray restarts it twice at once; after that it is given ever
    longer pauses, up to a minute, since what killed it (memory, mostly) needs time to pass."""

    def __init__(self, host: Host, setup: BrokerSetup) -> None:
        self.host = host
        self._setup = setup
        self._actor: Any = None
        self._poll: Any = None
        self._orders_call: Any = None
        self._orders: deque[Order] = deque()
        self._order_number = 0
        self._inbox = Inbox()
        self._answered_s = 0.0
        self._started_s = 0.0
        self._pause_s = 1.0
        self._retry_s = 0.0
        self._present: set[str] = set()
        self._statuses: dict[str, PhoneStatus] = {}
        self.has_answered = False
        """Whether it is known which phones the host has."""

    def calls(self) -> list[Any]:
        """The calls that are on the way, after sending those that are due."""
        now_s = time.monotonic()
        if self._actor is None and now_s >= self._retry_s:
            self._start(now_s)
        if self._actor is not None and self._poll is None and now_s >= self._retry_s:
            self._poll = self._actor.poll.remote(self._inbox.incarnation, self._inbox.acknowledged, _POLL_S)
        if self._actor is not None and self._orders_call is None and self._orders and now_s >= self._retry_s:
            self._orders_call = self._actor.take_orders.remote(self._inbox.incarnation, tuple(self._orders))
        return [call for call in (self._poll, self._orders_call) if call is not None]

    def collect(self, answered: set[Any]) -> list[BrokerMessage]:
        """Takes the calls in that have an answer, and notices a broker that gives none."""
        messages: list[BrokerMessage] = []
        if self._orders_call in answered:
            call, self._orders_call = self._orders_call, None
            messages += self._take(call, self._ordered)
        if self._poll in answered:
            call, self._poll = self._poll, None
            messages += self._take(call, self._mailed)
        limit_s = _SILENT_S if self._inbox.incarnation else _START_S
        if self._poll is not None and time.monotonic() - self._answered_s > limit_s:
            messages += self._lose(f"its broker has not answered for {limit_s:.0f} s; is the host overloaded?")
        return messages

    def command(self, address: str, session: int, command: PhoneCommand) -> None:
        """Sends a command with the next calls; it is dropped when the phone has to arrive anew."""
        self._order_number += 1
        self._orders.append(Order(self._order_number, address.removeprefix(self.host.prefix), session, command))

    def leave(self, reason: str) -> list[BrokerMessage]:
        """The host is no more: what the driver is told of its phones."""
        return self._all_left(reason, is_gone=True)

    def stop(self) -> None:
        """Hands the last orders on and ends the broker; in time, or by force."""
        import ray

        if self._actor is None:
            return
        try:
            if self._orders:
                ray.get(self._actor.take_orders.remote(self._inbox.incarnation, tuple(self._orders)), timeout=_STOP_S)
            ray.get(self._actor.stop.remote(), timeout=_STOP_S)
        except ray.exceptions.RayError:
            pass  # a broker that is gone is what was wanted
        self._kill()

    def _start(self, now_s: float) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # poll waits in one of the actor's threads while orders go through another.
        actor = ray.remote(
            num_cpus=0,
            max_concurrency=4,
            max_restarts=_MAX_RESTARTS,
            scheduling_strategy=NodeAffinitySchedulingStrategy(self.host.node_id, soft=False),
        )(Broker)
        self._actor = actor.remote(self._setup)
        self._inbox = Inbox()
        self._started_s = self._answered_s = now_s

    def _take(self, call: Any, take: Any) -> list[BrokerMessage]:
        """What an answered call brings: its answer, or what its failure means."""
        import ray

        try:
            answer = ray.get(call)
        except ray.exceptions.ActorUnavailableError:
            # It is being started again, or the network fails for a moment: the same call is sent again.
            self._retry_s = time.monotonic() + 0.5
            return []
        except ray.exceptions.RayTaskError as error:
            return self._lose(f"its broker failed: {last_line(error)}")
        except ray.exceptions.RayError as error:
            # Its process died more often than Ray restarts it, or its node is no more.
            return self._lose(f"its broker died: {last_line(error)}")
        self._answered_s = time.monotonic()
        if self._answered_s - self._started_s > _LEAST_LIFE_S:
            self._pause_s = 1.0
        taken: list[BrokerMessage] = take(answer)
        return taken

    def _ordered(self, last: int) -> list[BrokerMessage]:
        while self._orders and self._orders[0].number <= last:
            self._orders.popleft()
        return []

    def _mailed(self, mail: Mail) -> list[BrokerMessage]:
        messages: list[BrokerMessage] = []
        if mail.code != code_version():
            return self._lose(
                f"it has another version of Splitfleet ({mail.code}, here {code_version()}): install the same on both",
                pause_s=_LONGEST_PAUSE_S,
            )
        if self._inbox.is_from_another(mail):
            messages += self._all_left("its broker was started again", is_gone=False)
            # Orders for phones of an earlier arrival are worth nothing, and numbers begin anew.
            self._orders.clear()
            self._order_number = 0
        self.has_answered = True
        return [*messages, *(self._note(message) for message in self._inbox.take(mail))]

    def _note(self, message: BrokerMessage) -> BrokerMessage:
        """The message with addresses of the cluster; remembers what must be taken back should the host go."""
        prefix = self.host.prefix
        match message:
            case HostNote(text=text):
                return HostNote(f"host {self.host.name}: {text}")
            case StatusChanged(status=status):
                status = replace(status, address=prefix + status.address)
                self._statuses[status.address] = status
                return StatusChanged(status)
            case PhoneArrived() | PhoneLeft() | ResultsRead() | BatchStopped() | BatchReturned():
                address = prefix + message.address
                if isinstance(message, PhoneArrived):
                    self._present.add(address)
                elif isinstance(message, PhoneLeft):
                    self._present.discard(address)
                return replace(message, address=address)
        raise HarnessError(f"host {self.host.name}: a message of an unknown kind: {message!r}")

    def _lose(self, reason: str, pause_s: float | None = None) -> list[BrokerMessage]:
        """Gives this broker up; another one is made after a pause."""
        self._kill()
        pause_s = self._pause_s if pause_s is None else pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        self._retry_s = time.monotonic() + pause_s
        self.has_answered = True  # the start need not wait for it
        note = HostNote(f"host {self.host.name}: {reason}; it is started again in {pause_s:.0f} s")
        return [note, *self._all_left(f"host {self.host.name}: {reason}", is_gone=True)]

    def _kill(self) -> None:
        import ray

        actor, self._actor = self._actor, None
        self._poll = self._orders_call = None
        self._orders.clear()
        self._order_number = 0
        self._inbox = Inbox()
        if actor is not None:
            ray.kill(actor, no_restart=True)

    def _all_left(self, reason: str, *, is_gone: bool) -> list[BrokerMessage]:
        left: list[BrokerMessage] = [PhoneLeft(address, reason) for address in sorted(self._present)]
        self._present.clear()
        if is_gone:
            for address, status in self._statuses.items():
                self._statuses[address] = replace(status, state=PhoneState.OFFLINE, reason=reason)
            left += [StatusChanged(status) for status in self._statuses.values()]
        return left
