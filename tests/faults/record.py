"""What became of the campaigns that were struck, and the table of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """One campaign that was struck by a fault. `lost`: jobs without an accepted trace that is ok, or noisy: the machine
    was too busy for a time. `duplicated`: jobs accepted more than once. `extra_s`: its wall time beyond that of the
    same campaign without a fault."""

    fault: str
    seed: int
    jobs: int
    lost: int
    duplicated: int
    extra_s: float


def table(outcomes: Iterable[Outcome]) -> list[str]:
    """Lines: for each fault its runs, jobs, lost and duplicated ones, and the median and largest extra time."""
    by_fault: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_fault.setdefault(outcome.fault, []).append(outcome)
    lines = [f"{'fault':34} {'runs':>4} {'jobs':>6} {'lost':>4} {'duplicated':>10} {'extra time, median and most':>27}"]
    for fault, found in by_fault.items():
        extra_s = sorted(outcome.extra_s for outcome in found)
        jobs, lost, twice = (sum(getattr(o, name) for o in found) for name in ("jobs", "lost", "duplicated"))
        times = f"{extra_s[len(extra_s) // 2]:.1f} s {extra_s[-1]:6.1f} s"
        lines.append(f"{fault:34} {len(found):4d} {jobs:6d} {lost:4d} {twice:10d} {times:>27}")
    return lines
