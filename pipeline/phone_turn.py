"""Taking turns on a phone: the lock of one worker from batch to batch."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .phone_lock import PhoneLock

_LOOKS = 10  # of poll_s each


class Turn:
    """Holds the lock while a batch is at work, and keeps it for a moment behind one: the next batch mostly follows at
    once, and two commands to the phone are saved. `on_wait` is told who has the phone while this worker waits.
    `is_kept`: no batch is at work, but the lock has not been released since the last one.

    Every method raises the transport's errors.
    """

    def __init__(
        self, lock: PhoneLock, poll_s: float, stopping: threading.Event, on_wait: Callable[[str], None]
    ) -> None:
        self._lock = lock
        self._poll_s = poll_s
        self._stopping = stopping
        self._on_wait = on_wait
        self.is_kept = False

    def take(self) -> None:
        """Waits while another campaign measures."""
        self.is_kept = False
        while not self._stopping.is_set():
            holder = self._lock.acquire()
            if holder is None:
                return
            self._on_wait(f"{holder}; waits for its turn")
            self._stopping.wait(self._poll_s)

    def take_next(self) -> bool:
        """As `take`, behind a batch of one's own: others who wait come first. False where the worker shall stop."""
        if self._lock.is_wanted():
            self.end_kept()
            self._let_in()
        if not self.is_kept:
            self.take()
        self.is_kept = False
        if self._stopping.is_set():
            self._lock.release()
        return not self._stopping.is_set()

    def _let_in(self) -> None:
        """Waits until the other one has the lock, for which it looks every `poll_s`; not for long, since it may have
        left."""
        for _ in range(_LOOKS):
            if self._stopping.wait(self._poll_s) or self._lock.is_taken():
                return

    def renew(self) -> None:
        """Shows now and then that the holder lives. Cheap when called often."""
        self._lock.renew()

    def end_kept(self) -> None:
        """Lets others measure, where the lock was kept."""
        if self.is_kept:
            self.end()

    def end(self) -> None:
        """Lets others measure. Does nothing to a lock that is another's by now."""
        self.is_kept = False
        self._lock.release()
