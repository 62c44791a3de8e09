"""How often the host looks at a phone and tries again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """In seconds. Polling is slow on purpose: the host must stay quiet while phones measure, and a shell call costs the
    phone something too.

    `poll_s`: between two looks at a batch at work. `retry_s`: before connecting again. `idle_s`: between two looks at a
    phone that does nothing, or cools. `blocked_s`: between two tries of a phone that needs help. `stall_s`: how long a
    batch may say nothing, where none of its jobs may take longer. `quarantine_s`: how long a quarantined phone rests.
    `lock_stale_s`: how long a phone's lock that nobody renews is respected.
    """

    poll_s: float = 1.0
    retry_s: float = 2.0
    idle_s: float = 10.0
    blocked_s: float = 30.0
    stall_s: float = 180.0
    quarantine_s: float = 600.0
    lock_stale_s: float = 60.0
