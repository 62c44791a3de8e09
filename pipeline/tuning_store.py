"""Where tunings are kept: `<home>/tunings/<device class>.json`, the class being that of the phone untuned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.tuning import Tuning

from .campaign import Campaign
from .conditions import Conditions
from .home import splitfleet_home
from .host_files import write_json, writing_into


def conditions_of(campaign: Campaign) -> Conditions:
    """What the campaign asks of phones, with all tunings of this host where it asks for tuned work-groups.

    Raises UserError for a tuning that cannot be read or is filed under another class.
    """
    conditions = campaign.measure.conditions
    return replace(conditions, tunings=load_tunings()) if campaign.measure.tuned else conditions


def save_tuning(tuning: Tuning) -> Path:
    """Writes the tuning of a device class, in place of an older one; returns the file. Raises HarnessError where it
    cannot be written."""
    path = _folder() / f"{tuning.device_class}.json"
    with writing_into(path.parent):
        write_json(path, tuning.to_json())
    return path


def load_tunings() -> dict[str, Tuning]:
    """All tunings of this host, by device class."""
    return {path.stem: _read(path) for path in sorted(_folder().glob("*.json"))}


def _folder() -> Path:
    return splitfleet_home() / "tunings"


def _read(path: Path) -> Tuning:
    try:
        tuning = Tuning.from_json(json.loads(path.read_text("utf-8")), str(path))
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: not a tuning ({error}); remove it, or run splitfleet tune again") from None
    if tuning.device_class != path.stem:
        raise UserError(
            f"{path}: this is the tuning of {tuning.device_class}; work-groups of one device class are not used on "
            "another; remove it"
        )
    return tuning
