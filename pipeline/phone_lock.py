"""A lock on the phone itself: who measures there now. Campaigns of any host take turns by it, batch by batch.

It is a folder, since mkdir is atomic on every phone, with one file that names the holder. The holder writes a new
`beat` into it now and then. A lock whose file has not changed for `stale_s` by the looker's own clock, and whose owner
has no agent at work on the phone, is left over from a host that died, and is taken away. No clock of the phone is
asked.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import socket
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from .phone_batch import batches_on, failed_command
from .transport import STORAGE_FULL, Transport

STALE_S = 60.0
RENEW_S = 15.0
_TIMEOUT_S = 20.0
_MAX_CHARACTERS = 1000
_FULL = "splitfleet-cannot-write"  # shells word a full disk in different ways


@dataclass(frozen=True)
class Holder:
    """Who holds a phone: the owner mark of a campaign, its name, and which process on which host serves it since when
    (that host's clock, for people)."""

    owner: str
    campaign: str
    host: str
    pid: int
    since: str

    def __str__(self) -> str:
        name = f"campaign {self.campaign!r}" if self.campaign else f"another campaign ({self.owner})"
        return f"{name}, process {self.pid} on host {self.host}, measures on it since {self.since}"


def this_process(owner: str, campaign: str) -> Holder:
    """This process as a holder."""
    return Holder(owner, campaign, socket.gethostname(), os.getpid(), f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")


class PhoneLock:
    """The lock of one phone as one worker uses it. Every method raises the transport's errors."""

    def __init__(self, transport: Transport, owner: str, campaign: str = "", stale_s: float = STALE_S) -> None:
        self._transport = transport
        self._owner = owner
        self._campaign = campaign
        self._stale_s = stale_s
        self._text = ""  # what lies in the lock while it is ours
        self._renewed_s = 0.0
        self._seen: tuple[str, float] | None = None  # another's text, and when it was first seen

    def acquire(self) -> Holder | None:
        """Takes the lock; returns who has it where it cannot be had now, and leaves word that it is wanted."""
        mine = self._new_text()
        # Where the folder is gone by now, another looker has just moved it aside.
        full = f"if [ -d lock ]; then rm -rf lock; echo {_FULL}; fi"
        take = f"{{ {_write(mine, 'lock/holder')} || {full}; }} 2>/dev/null; rm -f wanted"
        want = f"echo {shlex.quote(self._owner)} 2>/dev/null >wanted"
        found = self._run(
            f"mkdir -p batches && if mkdir lock 2>/dev/null; then {take}; else {want}; fi; cat lock/holder 2>/dev/null"
        ).strip()
        if found == _FULL:
            raise failed_command(self._transport, "lock", STORAGE_FULL)
        if found != mine:
            holder = _read(found)
            if holder is None or holder.owner != self._owner:
                if self._is_stale(found, holder):
                    self._take_away(found)
                    return self.acquire()
                return holder or Holder("unknown", "", "unknown", 0, "a moment ago")
            # Left by an earlier process of this very campaign, of which only one can be at work.
            self._run(f"{_write(mine, 'lock/holder')} && rm -f wanted")
        self._text, self._renewed_s = mine, time.monotonic()
        return None

    def is_wanted(self) -> bool:
        """Whether another campaign waits for the phone; asking takes its word away, so that one who left is not waited
        for twice."""
        found = self._run("cat wanted 2>/dev/null && rm -f wanted; true").strip()
        return bool(found) and found != self._owner

    def is_taken(self) -> bool:
        """Whether anybody has the lock at the moment."""
        return self._run("[ -d lock ] && echo taken; true").strip() == "taken"

    def renew(self) -> None:
        """Shows now and then that the holder lives. Cheap when called often."""
        if time.monotonic() - self._renewed_s < RENEW_S:
            return
        new = self._new_text()
        self._run(f'[ "$(cat lock/holder)" = {shlex.quote(self._text)} ] && {_write(new, "lock/holder")}; true')
        self._text, self._renewed_s = new, time.monotonic()

    def release(self) -> None:
        """Lets others measure. Does nothing to a lock that is another's by now."""
        if self._text:
            self._run(f'[ "$(cat lock/holder)" = {shlex.quote(self._text)} ] && rm -rf lock; true')
            self._text = ""

    def _is_stale(self, found: str, holder: Holder | None) -> bool:
        now_s = time.monotonic()
        if self._seen is None or found != self._seen[0]:
            self._seen = (found, now_s)
        if now_s - self._seen[1] < self._stale_s:
            return False
        mark = f"{holder.owner}-" if holder else ""
        batches = batches_on(self._transport)
        return not any(is_running and name.startswith(mark) for name, is_running in batches.items())

    def _take_away(self, found: str) -> None:
        """Moves the lock aside, which only one looker can; puts back what turns out to be a new holder's."""
        aside = f"lock.{secrets.token_hex(4)}"
        same = '[ "$(cat %s/holder 2>/dev/null)" = ' + shlex.quote(found) + " ]"
        back = f"{{ {same % aside} && rm -rf {aside} || mv {aside} lock; }}"
        self._run(f"{same % 'lock'} && mv lock {aside} 2>/dev/null && {back}; true")
        self._seen = None

    def _new_text(self) -> str:
        return json.dumps({**asdict(this_process(self._owner, self._campaign)), "beat": secrets.token_hex(4)})

    def _run(self, command: str) -> str:
        folder = self._transport.folder
        result = self._transport.run(f"mkdir -p {folder} && cd {folder} && {{ {command}\n}}", _TIMEOUT_S)
        if result.exit_code not in (0, 1) or STORAGE_FULL in result.stdout:
            raise failed_command(self._transport, "lock", result.stdout)
        return result.stdout[:_MAX_CHARACTERS]


def _write(text: str, file: str) -> str:
    """The command that writes a file whole. Its name of the moment is its writer's own."""
    unfinished = f"{file}.{secrets.token_hex(4)}"
    return f"printf %s {shlex.quote(text)} >{unfinished} && mv {unfinished} {file}"


def _read(text: str) -> Holder | None:
    try:
        found = json.loads(text)
        words = {name: str(found[name])[:100] for name in ("owner", "campaign", "host", "since")}
        return Holder(**words, pid=int(found["pid"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
