from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.programs import program_for
from splitfleet.pipeline.jobs import Job, job_file
from splitfleet.pipeline.ledger import Ledger
from splitfleet.pipeline.ledger.lease import LEASE

from .old_ledgers import write_old_ledger

JOBS = [Job(f"j{i}", {"kind": "cpu", "operator": None}, ()) for i in range(3)]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path) as ledger:
        ledger.plan(JOBS, "class", "measure")
        ledger.label_phone("SERIAL", "virtual-a", "class", "127.0.0.1:6010", "Virtual A")
        yield ledger


def result(job: str, status: str = "ok") -> dict[str, object]:
    return {"type": "result", "id": job, "status": status}


def test_a_result_is_taken_once(ledger: Ledger) -> None:
    ledger.lease("b1", ["j0", "j1"], "virtual-a-1", "measure")
    assert ledger.record("b1", result("j0"), accept=True)
    assert not ledger.record("b1", result("j0"), accept=True)
    assert not ledger.record("b1", result("j2"), accept=True), "was not leased"
    assert ledger.settled("measure") == {"j0": "ok"}
    assert [batch.jobs for batch in ledger.open_batches("measure")] == [("j1",)]


def test_a_failed_attempt_is_no_trace(ledger: Ledger) -> None:
    for number in (1, 2):
        ledger.lease(f"b{number}", ["j0"], "virtual-a-1", "measure")
        ledger.record(f"b{number}", result("j0", "noisy"), accept=number == 2)
    assert ledger.failures("measure") == {"j0": 1}
    [trace] = list(ledger.accepted())
    assert (trace["job"], trace["attempt"]) == ("j0", 2)
    [counts] = ledger.counts()
    assert (counts["jobs"], counts["done"], counts["rejected"]) == (3, 0, 1)


def test_the_first_phone_to_answer_has_the_trace(ledger: Ledger) -> None:
    ledger.label_phone("OTHER", "virtual-a", "class", "127.0.0.1:6011", "Virtual A")
    ledger.lease("b1", ["j0"], "virtual-a-1", "measure")
    ledger.lease("b2", ["j0"], "virtual-a-2", "measure")
    ledger.record("b2", result("j0"), accept=True)
    ledger.record("b1", result("j0"), accept=True)
    assert [trace["phone"] for trace in ledger.accepted()] == ["virtual-a-2"]
    assert ledger.failures("measure") == {}


def test_a_released_batch_leaves_nothing(ledger: Ledger) -> None:
    ledger.lease("b1", ["j0", "j1"], "virtual-a-1", "measure")
    ledger.record("b1", result("j0"), accept=True)
    ledger.release("b1")
    assert ledger.open_batches("measure") == []
    assert ledger.settled("measure") == {"j0": "ok"}


def test_what_was_done_in_a_broken_transaction_is_undone(ledger: Ledger) -> None:
    ledger.lease("b1", ["j0"], "virtual-a-1", "measure")

    def record_and_fail() -> None:
        with ledger.transaction():
            ledger.record("b1", result("j0"), accept=True)
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        record_and_fail()
    assert ledger.settled("measure") == {}


def test_it_is_all_there_when_opened_again(ledger: Ledger, tmp_path: Path) -> None:
    program = program_for("join_probe")
    ledger.plan([Job("sync", {"kind": "sync"}, (program,))], "class", "measure")
    ledger.lease("b1", ["j0", "sync"], "virtual-a-1", "measure")
    ledger.set_offset("b1", 123)
    owner = ledger.owner
    ledger.close()
    with Ledger(tmp_path) as again:
        assert again.owner == owner
        assert again.next_batch == 2
        [batch] = again.open_batches("measure")
        assert (batch.id, batch.phone, batch.offset, batch.jobs) == ("b1", "virtual-a-1", 123, ("j0", "sync"))
        [job] = again.jobs_of([("sync", "measure")])
        assert program.source.splitlines()[0] in job_file([job])
        assert again.label_phone("SERIAL", "virtual-a", "class", "elsewhere", "Virtual A") == "virtual-a-1"


def test_a_second_owner_is_told_who_is_first(ledger: Ledger, tmp_path: Path) -> None:
    program = (
        f"from pathlib import Path; from splitfleet.pipeline.ledger import Ledger; Ledger(Path({str(tmp_path)!r}))"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert other.returncode != 0
    assert "is being worked on by process" in other.stderr
    with Ledger(tmp_path, read_only=True) as reader:
        assert reader.counts()[0]["jobs"] == 3


@pytest.mark.parametrize("read_only", [False, True])
def test_another_schema_is_refused(tmp_path: Path, read_only: bool) -> None:
    write_old_ledger(tmp_path, schema=99)
    with pytest.raises(UserError, match="schema 99; this version reads 3"):
        Ledger(tmp_path, read_only=read_only)


def test_looking_at_no_campaign(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no campaign of this version here"):
        Ledger(tmp_path / "nothing", read_only=True)


@pytest.mark.parametrize("schema", [1, 2])
def test_a_ledger_of_an_earlier_version_is_taken_over(tmp_path: Path, schema: int) -> None:
    write_old_ledger(tmp_path, schema)
    with Ledger(tmp_path, read_only=True) as before:
        [seen] = before.counts()
        assert (seen["jobs"], seen["done"]) == (2, 1)
    for _ in range(2):
        with Ledger(tmp_path) as after:
            assert after.owner == "cafe0123"
            [batch] = after.open_batches("measure")
            assert (batch.id, batch.offset, batch.jobs) == ("cafe0123-00001", 77, ("j1",))
            assert [(trace["job"], trace["telemetry_before"]) for trace in after.accepted()] == [("j0", None)]
    with Ledger(tmp_path) as last:
        assert last.record("cafe0123-00001", result("j1"), accept=True)
        assert last.settled("measure") == {"j0": "ok", "j1": "ok"}


def test_the_first_start_and_the_last_end_are_the_batch_s(ledger: Ledger) -> None:
    ledger.lease("b1", ["j0"], "virtual-a-1", "measure")
    for number, when in enumerate(["start", "start", "end"]):
        ledger.set_telemetry("b1", {"type": "telemetry", "when": when, "unix_us": number})
    ledger.record("b1", result("j0"), accept=True)
    [trace] = list(ledger.accepted())
    times = [json.loads(trace[f"telemetry_{when}"])["unix_us"] for when in ("before", "after")]
    assert times == [0, 2]


def test_a_lease_is_given_back_where_no_second_file_can_be_written(tmp_path: Path) -> None:
    """As on a full disk: what stands in the way of the new file is a folder of its name."""
    with Ledger(tmp_path) as ledger:
        (tmp_path / LEASE / f".{ledger.epoch:06d}.json.new").mkdir()
    with Ledger(tmp_path) as again:
        assert again.epoch == 2
