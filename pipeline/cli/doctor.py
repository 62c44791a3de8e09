"""`splitfleet doctor`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .campaign import PhoneOption
from .output import JsonFlag, print_json, print_table


def add_verb(app: typer.Typer) -> None:
    app.command(epilog="Example: splitfleet doctor --phone 192.168.1.20:5555")(doctor)


def doctor(
    campaign: Annotated[
        Path | None, typer.Argument(help="A campaign file whose phones to examine. [default: phones on USB]")
    ] = None,
    phone: PhoneOption = None,
    json: JsonFlag = False,
) -> None:
    """Examine this host and its phones, and say what to do. Exit code 1 when there is a problem."""
    from splitfleet.pipeline.adb_usb import has_usb
    from splitfleet.pipeline.campaign import Phones, load_campaign, phones_at
    from splitfleet.pipeline.doctor import examine
    from splitfleet.pipeline.findings import Grade
    from splitfleet.pipeline.tuning_store import conditions_of

    given = load_campaign(campaign) if campaign else None
    named = given.phones if given else Phones(usb=has_usb())
    found = examine(phones_at(phone) if phone else named, conditions_of(given) if given else None)
    if json:
        print_json([{"place": f.place, "subject": f.subject, "grade": f.grade.value, "text": f.text} for f in found])
    else:
        rows = [[f.place, f.subject, f.grade.value, f.text] for f in found]
        print_table("Findings", ["place ", "what ", "grade ", "finding "], rows)
    if any(finding.grade is Grade.PROBLEM for finding in found):
        sys.exit(1)
