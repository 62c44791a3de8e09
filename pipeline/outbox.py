"""Messages that wait for the driver, numbered, and kept until it has acknowledged them."""

from __future__ import annotations

import threading
from collections import deque

from .messages import BrokerMessage

_AT_ONCE = 256


class Outbox:
    """May be used from several threads."""

    def __init__(self) -> None:
        self._messages: deque[BrokerMessage] = deque()
        self._first = 1
        self._changed = threading.Condition()

    def put(self, message: BrokerMessage) -> None:
        with self._changed:
            self._messages.append(message)
            self._changed.notify_all()

    def take(self, acknowledged: int, wait_s: float) -> tuple[int, tuple[BrokerMessage, ...]]:
        """Forgets the messages up to number `acknowledged`; returns those behind it and the number of the first.

        Waits up to `wait_s` for one. Returns some of them where they are many.
        """
        with self._changed:
            while self._messages and self._first <= acknowledged:
                self._messages.popleft()
                self._first += 1
            self._changed.wait_for(lambda: self._messages, wait_s)
            return self._first, tuple(self._messages)[:_AT_ONCE]
