"""`splitfleet host start | join | list | leave`, and the option that names a cluster."""

from __future__ import annotations

import os
import signal
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from splitfleet.kernels.errors import UserError

from .output import JsonFlag, print_json, print_table

if TYPE_CHECKING:
    from splitfleet.pipeline.campaign import Phones
    from splitfleet.pipeline.host_record import HostRecord

app = typer.Typer(help="Lab hosts as one cluster: start, join, list, leave.", no_args_is_help=True)


def _choose(address: str | None) -> str | None:
    """The environment carries the choice to whatever starts Ray."""
    if address:
        os.environ["SPLITFLEET_CLUSTER"] = address
    return address


ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="HOST:PORT",
        envvar="SPLITFLEET_CLUSTER",
        callback=_choose,
        help="Use the phones of all hosts of this cluster, which this host has joined.",
    ),
]
NameOption = Annotated[
    str | None, typer.Option("--name", help="This host's name in the cluster. [default: its hostname]")
]
PhonesOption = Annotated[
    list[str] | None, typer.Option("--phone", metavar="HOST:PORT", help="A phone that this host reaches by TCP.")
]
UsbFlag = Annotated[bool, typer.Option("--usb", help="Serve the phones on this host's USB, as they come and go.")]
LocalFlag = Annotated[bool, typer.Option("--local", help="Serve this host itself as a phone-less device.")]
ListenOption = Annotated[
    str | None, typer.Option("--listen", metavar="ADDRESS", help="The address of this host that the others reach.")
]
BlockFlag = Annotated[bool, typer.Option("--block", help="Stay until ended by a signal, and leave then: for services.")]


@app.command(epilog="Example: splitfleet host start --listen 10.0.0.5 --usb")
def start(
    listen: ListenOption = None,
    port: Annotated[int, typer.Option(help="The cluster's port.", min=1, max=65535)] = 6379,
    phone: PhonesOption = None,
    usb: UsbFlag = False,
    local: LocalFlag = False,
    name: NameOption = None,
    block: BlockFlag = False,
) -> None:
    """Make this host the head of a new cluster. Without --listen only this host itself can be in it."""
    from splitfleet.pipeline.host_record import host_name
    from splitfleet.pipeline.hosts import start_cluster
    from splitfleet.pipeline.ray_environment import token_path

    record = start_cluster(host_name(name), _phones(phone, usb, local), listen or "127.0.0.1", port)
    typer.echo(f"the cluster's head is {record.name} at {record.cluster}; who has {token_path()} may use it")
    if listen:
        typer.echo(
            f"on each other host: copy the token to the same place, then run splitfleet host join {record.cluster}"
        )
    typer.echo(f"campaigns: splitfleet campaign run FILE --cluster {record.cluster}")
    _stay(record, block)


@app.command(epilog="Example: splitfleet host join 10.0.0.5:6379 --listen 10.0.0.6 --usb")
def join(
    address: Annotated[str, typer.Argument(help="The head's HOST:PORT, as host start prints it.")],
    phone: PhonesOption = None,
    usb: UsbFlag = False,
    local: LocalFlag = False,
    listen: ListenOption = None,
    name: NameOption = None,
    block: BlockFlag = False,
) -> None:
    """Bring this host and its phones into a cluster. Again, with other phones, changes which it serves."""
    from splitfleet.pipeline.host_record import host_name
    from splitfleet.pipeline.hosts import join_cluster

    record = join_cluster(address, host_name(name), _phones(phone, usb, local), listen)
    typer.echo(f"host {record.name} is in the cluster at {record.cluster} and serves: {_told(record.phones)}")
    _stay(record, block)


@app.command("list", epilog="Example: splitfleet host list")
def list_(cluster: ClusterOption = None, json: JsonFlag = False) -> None:
    """Show the hosts of the cluster that this host is in."""
    from splitfleet.pipeline.host_record import records
    from splitfleet.pipeline.hosts import list_hosts

    joined = records()
    if not cluster and not joined:
        raise UserError("this host is in no cluster; splitfleet host start makes one, splitfleet host join enters one")
    found = list_hosts(cluster or joined[0].cluster)
    if json:
        print_json([asdict(host) for host in found])
        return
    rows = [
        [
            host.name,
            host.address,
            "alive" if host.is_alive else "gone",
            "head" if host.is_head else "",
            "yes" if host.serves_phones else "no",
        ]
        for host in found
    ]
    print_table("Hosts", ["host ", "address ", "state ", "role ", "serves phones "], rows)


@app.command(epilog="Example: splitfleet host leave")
def leave(name: NameOption = None) -> None:
    """Take this host out of its cluster. Agents at work on its phones go on; their results are read when it is back."""
    from splitfleet.pipeline.host_record import host_name
    from splitfleet.pipeline.hosts import leave_cluster

    record = leave_cluster(host_name(name))
    typer.echo(f"host {record.name} has left the cluster at {record.cluster}")


def _phones(tcp: list[str] | None, usb: bool, local: bool) -> Phones:
    from splitfleet.pipeline.campaign import phones_at

    return phones_at(tcp or []).model_copy(update={"usb": usb, "local": local})


def _told(phones: Phones) -> str:
    parts = [*phones.tcp, *(["phones on USB"] if phones.usb else []), *(["itself"] if phones.local else [])]
    return ", ".join(parts) or "no phones (name some: --usb, --phone HOST:PORT or --local)"


def _stay(record: HostRecord, block: bool) -> None:
    if not block:
        return
    from splitfleet.pipeline.hosts import leave_cluster, wait_for_end

    def leave_now(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, leave_now)
    try:
        wait_for_end(record)
    except KeyboardInterrupt:
        leave_cluster(record.name)
        return
    raise UserError(f"host {record.name}'s Ray node has ended; run the same command again to go on")
