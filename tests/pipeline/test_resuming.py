"""What a scheduler is told of a class's jobs before any of them is measured."""

from __future__ import annotations

from pathlib import Path

from splitfleet.kernels import Linear
from splitfleet.pipeline.campaign import Repeat
from splitfleet.pipeline.jobs import JobFactory
from splitfleet.pipeline.ledger import Ledger
from splitfleet.pipeline.resuming import enrol

from .profiles import profile


def test_building_and_verifying_are_expected_where_a_job_does_them(tmp_path: Path) -> None:
    make = JobFactory(profile(), Repeat(warmup=0, min_count=3, min_time_us=0, max_count=3, max_time_us=1000))
    joins = [make.sync(1, "event_wait", 1, part=part) for part in range(3)]
    verified = make.cpu(Linear(4, 8, 16), 1)
    with Ledger(tmp_path) as ledger:
        enrolled = enrol(ledger, "class", [*joins, verified], [], "measure", 0, 0.0)
    more_us = [
        one.estimate_us - job.max_time_us for one, job in zip(enrolled.added.jobs, [*joins, verified], strict=True)
    ]
    assert more_us[1:3] == [0, 0], "the program is built by then, and nothing is verified"
    assert more_us[0] == more_us[3] > 0
