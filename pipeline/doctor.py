"""Looks at a host and its phones, and says what to do."""

from __future__ import annotations

import tempfile
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
    with tempfile.TemporaryDirectory(prefix="splitfleet-", ignore_cleanup_errors=True) as folder:
        unseen: list[Finding] = []
        try:
            places = find_places(phones, Path(folder), deadlines or Deadlines())
        except UserError as error:
            places, unseen = [], [Finding("host", "usb", Grade.PROBLEM, str(error))]
        checks = [phone_check(place, conditions or Conditions()) for place in places]
        return [*unseen, *run_checks([*host_checks(), *checks])]
