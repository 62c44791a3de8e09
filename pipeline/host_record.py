"""What a host that has joined a cluster knows of itself: its name, its phones, its Ray node. A file in the home folder.

The file is the contract between `splitfleet host join`, which writes it, and the host's brokers, which read the
phones from it every few seconds: a change shows up in a running campaign.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from splitfleet.kernels.errors import HarnessError, UserError

from .campaign import Phones
from .home import splitfleet_home
from .section import Section

HOST_VARIABLE = "SPLITFLEET_HOST"
"""In the environment of a host's Ray node: the name of the host."""


class HostRecord(Section):
    """`cluster` is the head's HOST:PORT, `listen` the address that this host's servers have; `pid` and `started_s` tell
    the process that keeps the Ray node, `folder` holds its sockets and logs."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    name: str
    cluster: str
    is_head: bool
    listen: str
    pid: int
    started_s: float
    folder: str
    phones: Phones = Phones()


def host_name(given: str | None) -> str:
    """The name of this host in a cluster: the given one, else its own. Raises UserError where it cannot be one."""
    name = given or re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", name):
        raise UserError(
            f"{name!r} cannot name a host: give 1 to 63 letters, digits, dots, dashes or underscores: --name lab-1"
        )
    return name


def record_path(name: str) -> Path:
    return splitfleet_home() / "hosts" / f"{name}.json"


def save_record(record: HostRecord) -> None:
    """Writes the record, whole or not at all, for its owner only."""
    path = record_path(record.name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_suffix(".new")
    unfinished.touch(mode=0o600)
    unfinished.write_text(record.model_dump_json(indent=2, by_alias=True) + "\n", "utf-8")
    unfinished.replace(path)


def load_record(name: str) -> HostRecord | None:
    """The record of a host of this home; None where it has not joined. Raises HarnessError for a broken file."""
    path = record_path(name)
    try:
        return HostRecord.model_validate_json(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise HarnessError(f"{path}: not a host's record ({error}); remove it and join again") from None


def records() -> list[HostRecord]:
    """The hosts of this home that have joined a cluster; usually one, or none."""
    names = sorted(path.stem for path in (splitfleet_home() / "hosts").glob("*.json"))
    return [record for name in names if (record := load_record(name))]


def own_phones() -> Phones:
    """The phones of the host whose Ray node this process belongs to; none where it has not joined a cluster."""
    name = os.environ.get(HOST_VARIABLE)
    record = load_record(name) if name else None
    return record.phones if record else Phones()
