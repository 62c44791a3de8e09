"""A ledger in two places: this host's database, and the journal from which any other host makes it again."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from splitfleet.kernels.errors import HarnessError, UserError
from splitfleet.pipeline.jobs import Job
from splitfleet.pipeline.ledger import Ledger, lease
from splitfleet.pipeline.ledger.journal import JOURNAL, Segment

from ..infra.phones import wait_until
from .old_ledgers import write_old_ledger


@contextmanager
def another_host(home: Path) -> Iterator[None]:
    """Inside the block this process has a home of its own, as a host that never saw the campaign has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPLITFLEET_HOME", str(home))
        yield


def jobs(count: int) -> list[Job]:
    return [Job(f"j{number:04d}", {"kind": "cpu", "number": number}, ()) for number in range(count)]


def content(folder: Path) -> dict[str, Any]:
    """All that a ledger tells."""
    with Ledger(folder, read_only=True) as ledger:
        batches = [batch for purpose in ("measure", "sister") for batch in ledger.open_batches(purpose)]
        return {
            "owner": ledger.owner,
            "phones": ledger.phones(),
            "revisions": ledger.revisions(),
            "counts": ledger.counts(),
            "settled": ledger.settled("measure"),
            "failures": ledger.failures("measure"),
            "open": batches,
            "next": ledger.next_batch,
            "accepted": list(ledger.accepted()),
        }


def measure(ledger: Ledger, number: int) -> None:
    """A batch of two jobs, of which one is done."""
    label = ledger.label_phone("SERIAL", "a", "class", "127.0.0.1:6010", "A")
    names = [f"j{2 * number:04d}", f"j{2 * number + 1:04d}"]
    ledger.lease(f"b{number}", names, label, "measure")
    with ledger.transaction():
        ledger.record(f"b{number}", {"id": names[0], "status": "ok", "samples": {"wall_ns": [1, 2]}}, accept=True)
        ledger.set_offset(f"b{number}", 100 + number)


def test_another_host_makes_the_same_ledger_from_the_journal(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with Ledger(folder) as ledger:
        ledger.plan(jobs(10), "class", "measure")
        for number in range(4):
            measure(ledger, number)
        for number in (1, 2):
            job = f"j{2 * number:04d}"
            [gone] = ledger.invalidate(f"b{number}", [(job, "measure")], "drift")
            assert (gone.job, gone.phone, gone.status) == (job, "a-1", "ok")
        assert ledger.repeats("measure") == {"j0002": 1, "j0004": 1}
        assert ledger.failures("measure") == {}
        ledger.release("b3")
    here = content(folder)
    assert here["settled"] == {"j0000": "ok", "j0006": "ok"}
    with another_host(tmp_path / "there"):
        assert content(folder) == here
        with Ledger(folder) as ledger:
            ledger.lease("b4", ["j0002"], "a-1", "measure")
        there = content(folder)
    assert there != here
    assert content(folder) == there, "the first host takes in what the other did"


def test_a_copy_of_the_folder_that_went_another_way(tmp_path: Path) -> None:
    with Ledger(tmp_path / "run") as ledger:
        ledger.plan(jobs(10), "class", "measure")
        measure(ledger, 0)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    for name, number in (("run", 1), ("copy", 2)):
        with Ledger(tmp_path / name) as ledger:
            measure(ledger, number)
    for _ in range(2):
        assert set(content(tmp_path / "run")["settled"]) == {"j0000", "j0002"}
        assert set(content(tmp_path / "copy")["settled"]) == {"j0000", "j0004"}


def test_an_old_ledger_is_journalled_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    write_old_ledger(folder, 2)
    before = content(folder)
    with Ledger(folder):
        pass
    assert content(folder) == before
    with another_host(tmp_path / "there"):
        assert content(folder) == before


def test_compaction_keeps_all_and_bounds_the_journal(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with Ledger(folder) as ledger:
        ledger.plan(jobs(2), "class", "measure")
        measure(ledger, 0)
    for number in range(40):  # as many runs
        with Ledger(folder) as ledger:
            ledger.set_offset("b0", number)
    assert len(list((folder / JOURNAL).iterdir())) < 25
    here = content(folder)
    assert here["open"][0].offset == 39
    with another_host(tmp_path / "there"):
        assert content(folder) == here


def test_the_journal_stays_below_twice_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("splitfleet.pipeline.ledger.database.SEGMENT_BYTES", 4_000)
    folder = tmp_path / "run"
    with Ledger(folder) as ledger:
        ledger.plan(jobs(2), "class", "measure")
        measure(ledger, 0)
        for number in range(1500):
            ledger.set_offset("b0", number)
        size = sum(path.stat().st_size for path in (folder / JOURNAL).iterdir())
        assert size < 180_000, "1500 lines of more than 150 bytes were written"
        with another_host(tmp_path / "there"):
            [batch] = content(folder)["open"]
            assert batch.offset == 1499


def tear_last_line(folder: Path, cut: int) -> tuple[Path, int, bytes]:
    """A ledger whose batch stands at 100; of the line with 555 its journal has the first `cut` bytes.

    Returns the segment, where the line begins in it, and the whole line.
    """
    with Ledger(folder) as ledger:
        ledger.plan(jobs(6), "class", "measure")
        measure(ledger, 0)
        segment = max((folder / JOURNAL).iterdir())
        size = segment.stat().st_size
        ledger.set_offset("b0", 555)
    line = segment.read_bytes()[size:]
    segment.write_bytes(segment.read_bytes()[:size] + line[:cut])
    return segment, size, line


@pytest.mark.parametrize("cut", [1, 40, -1])
def test_a_torn_last_line_was_never_committed(tmp_path: Path, cut: int) -> None:
    folder = tmp_path / "run"
    tear_last_line(folder, cut)
    for number, home in enumerate(["there", "elsewhere"], start=1):
        with another_host(tmp_path / home):
            assert content(folder)["open"][0].offset == 100
            with Ledger(folder) as ledger:
                measure(ledger, number)
    # The first host has a transaction that the journal has lost: the journal counts.
    assert content(folder)["open"][0].offset == 100


class GrowingFile(io.FileIO):
    """A file whose writer goes on with `rest` when a reader has come to its end for the first time."""

    def __init__(self, path: Path, rest: bytes) -> None:
        super().__init__(path)
        self._path, self._rest = path, rest

    def readinto(self, buffer: Any) -> int | None:
        size = super().readinto(buffer)
        if not size and self._rest:
            with self._path.open("ab") as writer:
                writer.write(self._rest)
            self._rest = b""
        return size


def test_a_line_that_is_being_written_is_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    segment, size, line = tear_last_line(folder, 40)
    with another_host(tmp_path / "there"):
        with monkeypatch.context() as patch:
            patch.setattr(Segment, "open", lambda one: io.BufferedReader(GrowingFile(one.path, line[40:])))
            assert content(folder)["open"][0].offset == 100
        assert segment.read_bytes()[size:] == line
        assert content(folder)["open"][0].offset == 555


def test_a_journal_that_is_compacted_between_two_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    with Ledger(folder) as ledger:
        ledger.plan(jobs(6), "class", "measure")
        measure(ledger, 0)
    here, listed, waiting = content(folder), Path.glob, ["compaction"]

    def glob(path: Path, pattern: str) -> list[Path]:
        found = list(listed(path, pattern))
        if path.name == JOURNAL and waiting:
            waiting.clear()
            with another_host(tmp_path / "driver"):
                Ledger(folder).close()
        return found

    with another_host(tmp_path / "there"), monkeypatch.context() as patch:
        patch.setattr("splitfleet.pipeline.ledger.database._FEW_SEGMENTS", 0)
        patch.setattr(Path, "glob", glob)
        assert content(folder) == here


def test_damage_in_the_middle_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with Ledger(folder) as ledger:
        ledger.plan(jobs(4), "class", "measure")
        measure(ledger, 0)
    segment = max((folder / JOURNAL).iterdir())
    damaged = segment.read_bytes().replace(b"j0001", b"j0002", 1)
    segment.write_bytes(damaged)
    with another_host(tmp_path / "there"), pytest.raises(HarnessError, match=r"jsonl: the journal is damaged: trans"):
        content(folder)
    assert content(folder)["settled"] == {"j0000": "ok"}, "the host that ran it has its own"


def test_a_journal_s_statements_reach_nothing_but_the_tables(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with Ledger(folder) as ledger:
        ledger._database._changes.append((f"ATTACH '{tmp_path}/stolen.sqlite' AS stolen", []))
        ledger.put("name", "x")
    with another_host(tmp_path / "there"), pytest.raises(HarnessError, match="not authorized"):
        content(folder)
    assert not (tmp_path / "stolen.sqlite").exists()


def test_a_full_disk_undoes_the_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    with Ledger(folder) as ledger:
        ledger.plan(jobs(4), "class", "measure")

        def full(_file: int, data: bytes) -> int:
            if len(data) < 50:
                raise OSError(28, "No space left on device")
            return real(_file, data[:40])

        real = os.write
        monkeypatch.setattr("splitfleet.pipeline.ledger.journal.os.write", full)
        with pytest.raises(HarnessError, match=r"cannot be written \(No space left on device\).*Make room"):
            measure(ledger, 0)
        monkeypatch.undo()
        measure(ledger, 1)
    here = content(folder)
    assert set(here["settled"]) == {"j0002"}
    with another_host(tmp_path / "there"):
        assert content(folder) == here


# Leases


def test_a_released_lease_is_free(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        with Ledger(tmp_path):
            holder = lease.holder_of(tmp_path)
            assert holder
            assert (holder.epoch, holder.pid, holder.is_live) == (epoch, os.getpid(), True)
    assert len(list((tmp_path / lease.LEASE).iterdir())) == 1


@pytest.fixture
def from_afar(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Leases are looked at as from another machine."""
    monkeypatch.setattr(lease, "RENEW_S", 0.05)
    machine = lease._machine()
    monkeypatch.setattr(lease, "_machine", lambda: f"not {machine}")
    return monkeypatch


def test_another_host_s_lease_is_respected_until_it_is_overdue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = lease.take_lease(tmp_path, renew_s=0.05)
    machine = lease._machine()
    monkeypatch.setattr(lease, "_machine", lambda: f"not {machine}")
    with pytest.raises(UserError, match=rf"by process {os.getpid()} on host .*said so .* s ago.*--take-over"):
        lease.take_lease(tmp_path, renew_s=0.05)
    # Late by the clock, but renewed while we watch: the clocks differ.
    monkeypatch.setattr(lease, "OVERDUE_S", -1.0)
    with pytest.raises(UserError, match="is being worked on"):
        lease.take_lease(tmp_path, renew_s=2.0)
    held._ended.set()
    held._thread.join()
    taken = lease.take_lease(tmp_path, renew_s=0.05)
    assert taken.epoch == held.epoch + 1
    with pytest.raises(lease.LeaseLost, match=rf"process {os.getpid()} on host .* has taken this campaign over"):
        held.check()
    taken.check()
    taken.release()


def test_who_was_taken_over_writes_no_more(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with Ledger(folder) as first:
        first.plan(jobs(4), "class", "measure")
        measure(first, 0)
        before = content(folder)
        with another_host(tmp_path / "there"):
            with pytest.raises(UserError, match=rf"is being worked on by process {os.getpid()} on host"):
                Ledger(folder)
            with Ledger(folder, take_over=True) as second:
                with pytest.raises(lease.LeaseLost, match="this driver stops"):
                    measure(first, 1)
                measure(second, 1)
            there = content(folder)
        with pytest.raises(lease.LeaseLost):
            first.set_offset("b0", 1)
    assert set(before["settled"]) < set(there["settled"])
    assert content(folder) == there


def test_lines_written_after_a_take_over_count_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    with Ledger(folder) as first:
        first.plan(jobs(6), "class", "measure")
        measure(first, 0)
        with another_host(tmp_path / "there"), Ledger(folder, take_over=True) as second:
            # Asleep between its look for a newer epoch and its write, and never awake to look again.
            monkeypatch.setattr(lease.Lease, "check", lambda _self: None)
            measure(first, 1)
            measure(second, 2)
            monkeypatch.undo()
    assert set(content(folder)["settled"]) == {"j0000", "j0004"}


WRITER = """
import os, sys
from pathlib import Path
from splitfleet.pipeline.ledger import Ledger, database
from tests.pipeline.test_journal import jobs, measure
database.SEGMENT_BYTES = 3000
folder, told = Path(sys.argv[1]), open(sys.argv[2], "a", buffering=1)
for _ in sys.stdin:
    if child := os.fork():
        print(child, flush=True)
        os.waitpid(child, 0)
        continue
    with Ledger(folder) as ledger:
        ledger.plan(jobs(2000), "class", "measure")
        print("begun", file=told)
        for number in range(ledger.next_batch - 1, 1000):
            measure(ledger, number)
            print(number, file=told)
"""


def test_nothing_committed_is_lost_wherever_it_is_killed(tmp_path: Path, home: Path) -> None:
    seed = int(os.environ.get("SPLITFLEET_TEST_SEED", random.randrange(1 << 30)))
    print(f"SPLITFLEET_TEST_SEED={seed}")
    chance = random.Random(seed)
    folder, told = tmp_path / "run", tmp_path / "told"
    told.touch()
    command = [sys.executable, "-c", WRITER, str(folder), str(told)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdin
        assert writer.stdout
        for kill in range(1, 14):
            told_before = len(told.read_text().splitlines())
            writer.stdin.write("again\n")
            writer.stdin.flush()
            child = int(writer.stdout.readline())
            # Some are killed while they open the ledger, the others after a few batches.
            if kill % 3:
                enough = told_before + chance.randint(4, 9)
                assert wait_until(lambda enough=enough: len(told.read_text().splitlines()) >= enough)
            time.sleep(chance.uniform(0, 0.03))
            os.kill(child, signal.SIGKILL)
            numbers = {int(line) for line in told.read_text().splitlines() if line != "begun"}
            with another_host(tmp_path / f"there-{kill}"):
                there = content(folder)
            assert content(folder) == there, "the host's ledger and the journal alone"
            done = {f"j{2 * number:04d}" for number in numbers}
            assert done <= set(there["settled"]), "committed, and lost"
            assert len(set(there["settled"]) - done) <= kill, "one may be committed and not told, each time"
        writer.stdin.close()
    assert len(numbers) > 20
