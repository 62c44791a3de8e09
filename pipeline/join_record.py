"""What earlier campaigns of a device class found about polling, so that a million joins are checked once a class.

`<home>/joins/<device class>/<campaign's owner mark>.json`: one file a campaign, so that campaigns need no lock.
The device class covers driver and agent build: a new one begins from nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from splitfleet.kernels.errors import UserError
from splitfleet.predictors.checked_joins import CheckedJoins

from .home import splitfleet_home
from .host_files import write_json, writing_into
from .ledger import Ledger

_SCHEMA = 1


def joins_before(ledger: Ledger, device_class: str) -> CheckedJoins:
    """What earlier campaigns had checked when this one met the class; nothing where it has not met it."""
    return CheckedJoins(**json.loads(ledger.get(f"joins before {device_class}") or "{}"))


def note_joins_before(ledger: Ledger, device_class: str) -> CheckedJoins:
    """As `joins_before`; looked up and kept in the ledger the first time, so that a campaign's jobs stay the same."""
    key = f"joins before {device_class}"
    if ledger.get(key) is None:
        found = checked_elsewhere(device_class, ledger.owner)
        ledger.put(key, json.dumps(asdict(found)))
    return joins_before(ledger, device_class)


def checked_elsewhere(device_class: str, owner: str) -> CheckedJoins:
    """The joins that other campaigns on this host checked. Raises UserError for a record that cannot be read."""
    records = sorted(path for path in _folder(device_class).glob("*.json") if path.stem != owner)
    return sum(map(_read, records), start=CheckedJoins())


def remember(device_class: str, owner: str, campaign: str, checked: CheckedJoins) -> None:
    """Notes what the campaign with this owner mark has checked by now, in place of what it noted before.
    Raises HarnessError where it cannot be written."""
    folder = _folder(device_class)
    content = {"schema": _SCHEMA, "campaign": campaign, "joins": checked.joins, "mismatches": checked.mismatches}
    with writing_into(folder):
        write_json(folder / f"{owner}.json", content)


def _folder(device_class: str) -> Path:
    return splitfleet_home() / "joins" / device_class


def _read(path: Path) -> CheckedJoins:
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if content["schema"] != _SCHEMA:
            raise ValueError(f"schema {content['schema']!r}")
        return CheckedJoins(int(content["joins"]), int(content["mismatches"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: not a record of checked joins ({error!r}); remove it, and the joins are checked again"
        ) from None
