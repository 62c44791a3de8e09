"""Looking at campaigns from outside: how one stands, which there are, and asking a running one to stop."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitfleet.kernels.errors import SplitfleetError, UserError

from .ledger import Ledger
from .ledger.journal import JOURNAL
from .ledger.lease import Holder, holder_of
from .locations import is_url, local_folder, read_text
from .status_file import STATUS_FILE, ask_to_stop, read_status

_OLD_LEDGER = "ledger.sqlite"
_LOOK_S = 0.5


@dataclass(frozen=True)
class ClassCounts:
    """One device class: jobs planned; done: with an accepted result; rejected: settled without one (wrong, failed)."""

    device_class: str
    purpose: str
    jobs: int
    done: int
    rejected: int


@dataclass(frozen=True)
class CampaignStatus:
    """How a campaign stands.

    `state` is `running`, `stopping` (it finishes the batches at work), `stopped` (jobs are left, nobody works) or
    `finished`; in a list also `unreadable`. `rejected` counts the jobs settled without a time, by status. `phones` are
    those of the last run, as status.json has them (docs/formats.md); `driver` is the host and process that runs or ran
    it; `trouble` is why an unreadable one is that.
    """

    name: str
    folder: str
    state: str
    driver: str
    changed_unix_s: float
    counts: tuple[ClassCounts, ...]
    rejected: dict[str, int]
    phones: tuple[dict[str, Any], ...]
    trouble: str = ""

    @property
    def jobs(self) -> int:
        return sum(row.jobs for row in self.counts)

    @property
    def settled(self) -> int:
        return sum(row.done + row.rejected for row in self.counts)


def campaign_status(folder: Path | str) -> CampaignStatus:
    """How a campaign stands now, also while it runs here or on another host. A URL is looked at as a copy of a folder.

    Raises UserError where there is no campaign.
    """
    if is_url(folder):
        return _of_snapshot(str(folder), _copied_snapshot(str(folder)), None)
    path = local_folder(folder)
    holder = holder_of(path)
    # A ledger that another host writes would have to be made from its journal first; its driver says enough.
    if holder and holder.is_live and not holder.is_here and (snapshot := _snapshot(path)):
        return _of_snapshot(str(path), snapshot, holder)
    return _of_ledger(path, holder)


def campaigns_in(folder: Path) -> list[CampaignStatus]:
    """The campaigns in the folders below `folder`, or the one in `folder` itself; the last changed first.

    What their drivers last wrote is told; a ledger is opened only where there is no such word. One that cannot be read
    hides no other.
    """
    found = [path for path in (folder, *folder.glob("*")) if (path / JOURNAL).is_dir() or (path / _OLD_LEDGER).exists()]
    statuses = []
    for path in found:
        try:
            holder, snapshot = holder_of(path), _snapshot(path)
            statuses.append(_of_snapshot(str(path), snapshot, holder) if snapshot else _of_ledger(path, holder))
        except SplitfleetError as error:
            changed_s = path.stat().st_mtime
            statuses.append(CampaignStatus(path.name, str(path), "unreadable", "", changed_s, (), {}, (), str(error)))
    return sorted(statuses, key=lambda status: -status.changed_unix_s)


def stop_campaign(folder: Path, *, wait: bool = False) -> Holder:
    """Asks the driver of a campaign to stop when the batches at work are done; returns who it is.

    `wait` returns only when it has stopped. Raises UserError where nobody works on the campaign.
    """
    holder = holder_of(folder)
    if holder is None or not holder.is_live:
        raise UserError(f"{folder}: no campaign runs here; to see those that do: splitfleet campaign list")
    ask_to_stop(folder, holder.epoch)
    while wait and (now := holder_of(folder)) and now.epoch == holder.epoch and now.is_live:
        time.sleep(_LOOK_S)
    return holder


def _snapshot(folder: Path | str) -> dict[str, Any] | None:
    text = read_text(folder, STATUS_FILE)
    return None if text is None else read_status(text, f"{folder}/{STATUS_FILE}")


def _copied_snapshot(place: str) -> dict[str, Any]:
    if snapshot := _snapshot(place):
        return snapshot
    raise UserError(f"{place}: no {STATUS_FILE} here; name the copy of a campaign's folder")


def _of_snapshot(folder: str, content: Mapping[str, Any], holder: Holder | None) -> CampaignStatus:
    counts: list[ClassCounts] = []
    rejected: list[Counter[str]] = []
    for row in content["classes"]:
        settled = Counter(row["settled"])
        done = settled.pop("ok", 0)
        counts.append(ClassCounts(row["device_class"], row["purpose"], row["jobs"], done, settled.total()))
        rejected.append(settled)
    is_live = holder is not None and holder.is_live
    return CampaignStatus(
        content["campaign"],
        folder,
        _state(counts, content["state"] if is_live else None),
        f"process {content['pid']} on host {content['host']}",
        content["updated_unix_s"],
        tuple(counts),
        dict(sum(rejected, Counter())),
        tuple(content["phones"]),
    )


def _of_ledger(folder: Path, holder: Holder | None) -> CampaignStatus:
    """As `_of_snapshot`, with what the ledger counts in place of what a driver last counted."""
    with Ledger(folder, read_only=True) as ledger:
        content = {
            "campaign": ledger.get("campaign_name") or folder.name,
            "host": holder.host if holder else "",
            "pid": holder.pid if holder else 0,
            "state": "running",
            "updated_unix_s": holder.renewed_unix_s if holder else _changed(folder),
            "phones": [],
            **(_snapshot(folder) or {}),
            "classes": ledger.tallies(),
        }
    return _of_snapshot(str(folder), content, holder)


def _state(counts: Iterable[ClassCounts], driver_says: str | None) -> str:
    """`driver_says` is None where nobody works."""
    if driver_says is not None:
        return "stopping" if driver_says == "stopping" else "running"
    is_done = all(row.done + row.rejected == row.jobs for row in counts)
    return "finished" if is_done and counts else "stopped"


def _changed(folder: Path) -> float:
    # SQLite makes these two when somebody looks.
    return max(path.stat().st_mtime for path in folder.glob("*") if not path.name.endswith(("-shm", "-wal")))
