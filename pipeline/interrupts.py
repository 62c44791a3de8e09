"""Ctrl-C (or SIGTERM) during a campaign: once to stop after what is running, twice to stop now."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """Whether the person has asked to stop."""

    def __init__(self) -> None:
        self.is_requested = False

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        if self.is_requested:
            raise KeyboardInterrupt
        self.is_requested = True


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Catches Ctrl-C inside the block; outside the main thread, where Python allows no handler, it does nothing."""
    state = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield state
        return
    before = {number: signal.signal(number, state._handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield state
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
