"""How the phones are used: what a campaign may set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pacing:
    """Times in seconds of work (`batch_s`, `probe_every_s`; no probes where that is 0) or of waiting. `drift` and
    `sister_fraction` are parts of 1. A phone that has drifted is probed again after each `rest_s`.
    `max_celsius`: a phone whose hottest thermal zone is above does not measure (more: pipeline/health.py).
    """

    batch_s: float = 10.0
    probe_every_s: float = 60.0
    drift: float = 0.05
    sister_fraction: float = 0.05
    grace_s: float = 60.0
    rest_s: float = 30.0
    max_celsius: float | None = None
