"""Jobs that take long: neither the agent nor the host takes one for hung before its own bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from splitfleet.kernels.operators import Linear
from splitfleet.pipeline.campaign import Repeat
from splitfleet.pipeline.jobs import Job, JobFactory
from splitfleet.pipeline.messages import BatchStopped, ResultsRead, StartBatch
from splitfleet.pipeline.phone_state import PhoneState

from ..infra.phones import RunningPhone
from .profiles import profile
from .test_phone_worker import PACE, SLOWER, Watched, agent_pid


@pytest.fixture
def watched(one_agent: None, start_phone: Callable[..., RunningPhone]) -> Iterator[tuple[RunningPhone, Watched]]:
    phone = start_phone()
    watched = Watched(phone.address, pace=replace(PACE, stall_s=1.0))
    yield phone, watched
    watched.end()


def test_a_job_may_be_silent_for_as_long_as_its_bound(watched: tuple[RunningPhone, Watched]) -> None:
    _, worker = watched
    _, jobs = worker.begin("mine-1", 1, SLOWER)
    assert worker.wait_for(BatchStopped).error == ""
    assert worker.results() == [job.id for job in jobs]


def test_the_phone_has_the_hosts_grace(monkeypatch: pytest.MonkeyPatch, watched: tuple[RunningPhone, Watched]) -> None:
    monkeypatch.setenv("SPLITFLEET_GRACE_S", "77")
    phone, worker = watched
    worker.begin("mine-1", 1, SLOWER)
    worker.wait_for(ResultsRead)
    environment = Path(f"/proc/{agent_pid(phone, 'mine-1')}/environ").read_bytes().split(b"\0")
    assert b"SPLITFLEET_GRACE_S=77" in environment
    assert worker.wait_for(BatchStopped).error == ""


def test_a_grace_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, watched: tuple[RunningPhone, Watched]) -> None:
    monkeypatch.setenv("SPLITFLEET_GRACE_S", "soon")
    _, worker = watched
    worker.begin("mine-1", 1)
    assert "SPLITFLEET_GRACE_S=soon: no number of seconds" in worker.wait_for_state(PhoneState.QUARANTINED)


def test_bounds_are_the_agents() -> None:
    """docs/agent.md: 10 x `max_time_us`, 2 ms a checked join, 0.5 s a round and variant."""
    make = JobFactory(profile(), Repeat(max_time_us=2_000_000))
    one = make.cpu(Linear(4, 8, 8), 1)
    assert one.bound_us == 20_000_000
    assert make.sync(1, "event_wait", 1000).bound_us == 22_000_000
    assert make.compare({"a": one, "b": one}, 31).bound_us == 20_000_000 + 31_000_000
    network = Job("n", {"kind": "network", "rounds": 31}, ())
    assert network.bound_us == 120_000_000 + 31 * 8 * 5_000_000
    assert StartBatch.of("mine-1", [one, network]).bound_us == network.bound_us
