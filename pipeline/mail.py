"""Both ends of a broker's mail: messages are numbered and kept until the driver has acknowledged them.

An answer that is lost on its way is given again, one that comes twice is skipped. A broker that was started again is
told by its incarnation: what it had not handed on is lost with it, and is read from the phones again.
"""

from __future__ import annotations

import threading
from collections import deque

from .messages import BrokerMessage, Mail

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


class Inbox:
    """The driver's end."""

    def __init__(self) -> None:
        self.incarnation = ""
        self.acknowledged = 0

    def is_from_another(self, mail: Mail) -> bool:
        """Whether this mail comes from a broker that took the place of the one before."""
        return self.incarnation not in ("", mail.incarnation)

    def take(self, mail: Mail) -> tuple[BrokerMessage, ...]:
        """The messages that are new."""
        if mail.incarnation != self.incarnation:
            self.incarnation, self.acknowledged = mail.incarnation, 0
        new = mail.messages[max(self.acknowledged + 1 - mail.first, 0) :]
        self.acknowledged = max(self.acknowledged, mail.first + len(mail.messages) - 1)
        return new
