"""What doctor finds, and checks that cannot hang."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from splitfleet.kernels.errors import SplitfleetError


class Grade(Enum):
    """A warning costs something sometimes; with a problem nothing is measured there."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """`place`: "host" or a phone's address. `text` says what is, and what to do where that is not well."""

    place: str
    subject: str
    grade: Grade
    text: str


Check = Callable[[], Iterable[Finding]]


@dataclass(frozen=True)
class NamedCheck:
    """`deadline_s`: after so long the check itself is a problem."""

    place: str
    subject: str
    run: Check
    deadline_s: float


def run_checks(checks: Iterable[NamedCheck]) -> list[Finding]:
    """All checks at once, each in a thread that is left behind where it outruns its deadline. In the given order."""
    began_s = time.monotonic()
    started = [(check, _start(check)) for check in checks]
    return [finding for check, said in started for finding in _collect(check, said, began_s + check.deadline_s)]


def _start(check: NamedCheck) -> queue.Queue[Finding | None]:
    said: queue.Queue[Finding | None] = queue.Queue()

    def run() -> None:
        try:
            for finding in check.run():
                said.put(finding)
        except SplitfleetError as error:
            said.put(Finding(check.place, check.subject, Grade.PROBLEM, str(error)))
        except Exception as error:
            said.put(Finding(check.place, check.subject, Grade.PROBLEM, f"the check failed: {error!r}; report it"))
        said.put(None)

    threading.Thread(target=run, name=f"check {check.subject}", daemon=True).start()
    return said


def _collect(check: NamedCheck, said: queue.Queue[Finding | None], until_s: float) -> Iterator[Finding]:
    """What was found before a check failed, or ran out of time, counts."""
    try:
        while finding := said.get(timeout=max(until_s - time.monotonic(), 0.0)):
            yield finding
    except queue.Empty:
        text = f"no answer within {check.deadline_s:g} s; it hangs, or the host is overloaded"
        yield Finding(check.place, check.subject, Grade.PROBLEM, text)
