"""The disk of the host that drives is full: the campaign stops with a reason, and goes on when there is room again."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from splitfleet.kernels.errors import SplitfleetError
from splitfleet.pipeline.fleet import FleetSettings

from ..pipeline.limits import files_up_to
from .conftest import Record
from .lab import Lab, Verdict, accepted, new_jobs, open_lab

_DISK_BYTES = 8 << 20


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of a few megabytes; needs a user who may mount one. It lies outside pytest's folders: where a killed run
    has left one, the next run could not remove them."""
    folder = Path(tempfile.mkdtemp(prefix="splitfleet-disk-"))
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "splitfleet-faults", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        folder.rmdir()
        pytest.skip("only root can mount a small disk to fill it")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def test_the_hosts_disk_is_full(
    lab: Lab, fault_settings: FleetSettings, small_disk: Path, seed: int, record: Record
) -> None:
    folder = small_disk / "campaign"
    filler = small_disk / "filler"
    chance = Random(f"host disk {seed}")
    with open_lab(lab.phone, folder, fault_settings, usual_s=0.0) as small:
        jobs = new_jobs(small.profile)
        verdict = Verdict(folder, [job.id for job in jobs])
        small.measure(jobs[:6])
        verdict.before = accepted(folder, verdict.jobs)
        fill(filler, chance.randrange(0, 32) * 1024)
        with pytest.raises(SplitfleetError, match=r"(?i)no space|disk full|disk is full"):
            small.measure(jobs)
    filler.unlink()
    began = time.monotonic()
    with open_lab(lab.phone, folder, fault_settings, usual_s=0.0) as small:
        small.measure(jobs)
    record(verdict.outcome("host's disk full", seed, time.monotonic() - began))


def test_a_file_of_the_host_cannot_grow(
    lab: Lab, fault_settings: FleetSettings, home: Path, tmp_path: Path, seed: int, record: Record
) -> None:
    """As on a disk that is full, wherever that is met first: in the journal, the database or the database's log. It
    needs no root: the driver may write no file longer than its longest by then and some more."""
    folder, chance = tmp_path / "campaign", Random(f"host file {seed}")
    with open_lab(lab.phone, folder, fault_settings, usual_s=0.0) as small:
        jobs = new_jobs(small.profile)
        verdict = Verdict(folder, [job.id for job in jobs])
        small.measure(jobs[:6])
        verdict.before = accepted(folder, verdict.jobs)
        places = (folder, home / "ledgers" / small.fleet.ledger.owner)
        longest = max(path.stat().st_size for place in places for path in place.rglob("*") if path.is_file())
        limit = files_up_to(longest + chance.randrange(0, 64) * 1024)
        with limit, pytest.raises(SplitfleetError, match="cannot be written"):
            small.measure(jobs)
    began = time.monotonic()
    with open_lab(lab.phone, folder, fault_settings, usual_s=0.0) as small:
        small.measure(jobs)
    record(verdict.outcome("host's file cannot grow", seed, time.monotonic() - began))


def fill(filler: Path, left_bytes: int) -> None:
    """Fills the disk but for so many bytes."""
    disk = os.statvfs(filler.parent)
    with filler.open("wb", buffering=0) as file:
        file.write(bytes(max(disk.f_bavail * disk.f_bsize - left_bytes, 0)))
