"""`splitfleet devices`."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splitfleet.kernels.errors import DeviceError

from .campaign import PhoneOption
from .output import JsonFlag, print_json, print_table

if TYPE_CHECKING:
    from splitfleet.pipeline.phone_state import PhoneStatus


def add_verbs(app: typer.Typer) -> None:
    app.command(epilog="Example: splitfleet devices --phone 192.168.1.20:5555")(devices)


def devices(
    campaign: Annotated[
        Path | None, typer.Argument(help="A campaign file whose phones to show. [default: phones on USB]")
    ] = None,
    phone: PhoneOption = None,
    json: JsonFlag = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show changes as they come, until Ctrl-C.")] = False,
) -> None:
    """Show phones, their state with its reason, and their device class. Ready means that the agent has answered."""
    from splitfleet.pipeline.campaign import Phones, load_campaign, phones_at
    from splitfleet.pipeline.devices import find_devices, watch_devices
    from splitfleet.pipeline.tuning_store import conditions_of

    given = load_campaign(campaign) if campaign else None
    named = given.phones if given else Phones(usb=True)
    phones, conditions = phones_at(phone) if phone else named, conditions_of(given) if given else None
    if watch:
        _watch(watch_devices(phones, conditions))
        return
    found = find_devices(phones, conditions)
    if json:
        print_json([{**asdict(device), "state": device.state.value} for device in found])
    else:
        _show(found)
    if not any(device.state.is_working for device in found):
        raise DeviceError("no phone can be used; the reasons are above")


def _watch(looks: Generator[list[PhoneStatus], None, None]) -> None:
    """A table that is drawn over itself, or plain lines without a terminal; Ctrl-C ends it, as is meant."""
    from rich.console import Console

    from splitfleet.pipeline.progress import progress_on, status_line

    with contextlib.suppress(KeyboardInterrupt), progress_on(Console()) as progress, contextlib.closing(looks):
        for found in looks:
            progress.show([status_line(status) for status in found])


def _show(found: list[PhoneStatus]) -> None:
    print_table(
        "Phones",
        ["phone ", "state ", "model ", "device class ", "temp", "battery"],
        [
            [
                device.address,
                device.state.value,
                device.model,
                device.device_class,
                "" if device.temperature_c is None else f"{device.temperature_c:.0f} C",
                "" if device.battery_percent is None else f"{device.battery_percent} %",
            ]
            for device in found
        ],
    )
    for device in found:
        if device.reason:
            typer.echo(f"{device.address}: {device.reason}")
