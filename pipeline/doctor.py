"""Looks at a host and its phones, and says what to do."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from splitfleet.kernels.errors import UserError

from .broker import find_places
from .campaign import Phones
from .conditions import Conditions
from .doctor_host import host_checks
from .doctor_phone import phone_check
from .findings import Finding, Grade, run_checks
from .transport import Deadlines


def examine(phones: Phones, conditions: Conditions | None = None, deadlines: Deadlines | None = None) -> list[Finding]:
    """The host's findings, then each phone's. Every check has a deadline, so this ends whatever hangs."""
    checks, found = host_checks(), []
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="splitfleet-", ignore_cleanup_errors=True))
            for place in find_places(phones, Path(folder), deadlines or Deadlines()):
                checks.append(phone_check(place, conditions or Conditions()))
        except UserError as error:
            found.append(Finding("host", "usb", Grade.PROBLEM, str(error)))
        except OSError as error:
            found.append(Finding("host", "disk", Grade.PROBLEM, f"no temporary folder can be made: {error}; free some"))
        return [*found, *run_checks(checks)]
