"""A wrong result is never a timing."""

from __future__ import annotations

import pytest

from .driver import Agent
from .jobs import MATMUL, PROGRAMS, SYNC, coexec, gpu, program, sync

BROKEN = {
    "a term is left out": ("k < depth", "k < depth - 1", "relative error"),
    "a row is not written": ("row < rows", "row < rows - 1", "was not written"),
    "a column is not written": ("o < columns", "o < columns - 1", "was not written"),
    "it writes beside its columns": ("offset + o] = sum", "offset + o] = output[0] = sum", "outside the output"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_wrong_kernels_are_found(agent: Agent, case: str) -> None:
    right, wrong, message = BROKEN[case]
    assert right in MATMUL
    job = gpu("job", 9, 16, 12)
    job["plan"]["buffers"][2] |= {"row_stride": 20, "column_offset": 4, "bytes": 9 * 20 * 4}
    numbers = [argument for argument in job["plan"]["launches"][0]["args"] if "i32" in argument]
    numbers[4]["i32"], numbers[5]["i32"] = 20, 4
    result = agent.run([program("matmul", MATMUL.replace(right, wrong)), job])["job"]
    assert result["status"] == "wrong_result"
    assert message in result["error"]
    assert "samples" not in result


def test_wrong_half_is_found_in_a_joint_execution(agent: Agent) -> None:
    source = MATMUL.replace("= sum", "= sum + 0.5f")
    result = agent.run([program("matmul", source), coexec("job", 9, 16, 12, 4)])["job"]
    assert result["status"] == "wrong_result"


def test_stale_payload_is_counted(agent: Agent) -> None:
    source = SYNC.replace("payload[i] = sequence", "payload[i] = i == words - 1 ? sequence - 1 : sequence")
    result = agent.run([program("sync", source), sync("job", checked_joins=50)])["job"]
    assert (result["status"], result["mismatches"]) == ("ok", 50)


def test_signal_counter_wraps_around(agent: Agent) -> None:
    """Four executions take the counter once around 2^32."""
    job = sync("job", checked_joins=100)
    job["plan"]["signals"] = 2**30
    source = SYNC.replace("atomic_add(signal, 1)", "atomic_add(signal, 1 << 30)")
    result = agent.run([program("sync", source), job])["job"]
    assert (result["status"], result["mismatches"]) == ("ok", 0)


def test_a_signal_that_stays_out_is_a_timeout(agent: Agent) -> None:
    job = sync("late", checked_joins=1)
    job["plan"]["signals"] = 2
    results = agent.run([*PROGRAMS, job, sync("next", checked_joins=1)])
    assert results["late"]["status"] == "timeout"
    assert "lacks 1 of 2 signals" in results["late"]["error"]
    assert results["next"]["status"] == "ok"
