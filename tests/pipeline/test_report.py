"""The report of a folder, from results that are put into its ledger as a phone's would be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from splitfleet.kernels import Linear
from splitfleet.kernels.errors import UserError
from splitfleet.pipeline.campaign import Repeat
from splitfleet.pipeline.cli.report import show_report
from splitfleet.pipeline.ingestion import ingest
from splitfleet.pipeline.jobs import Job, JobFactory
from splitfleet.pipeline.ledger import Ledger
from splitfleet.pipeline.profile import DeviceProfile
from splitfleet.pipeline.publishing import PUBLISHED
from splitfleet.pipeline.report import campaign_report

from .profiles import profile
from .test_splits import PROVED, TABLE

EVENTS = {"queued_ns": [0] * 3, "submit_ns": [0] * 3, "start_ns": [1_000] * 3, "end_ns": [3_000] * 3}


SLOWDOWNS = [{"operator": "x", "cpu_slowdown": 1.2 + step, "gpu_slowdown": 1.4} for step in (0.0, 0.1, 0.2)]
RECORD: dict[str, Any] = {
    "schema": 2,
    "split_table": TABLE.to_json(),
    "proved": [each.to_json() for each in PROVED],
    "joins": {},
    "interference": {"pairs": 20},
    "halves_together": SLOWDOWNS,
    "phone_seconds": {"campaign": 90.0, "calibration": 10.0, "search": 300.0, "exhaustive": 2000.0},
    "searches_us_by_cut": {},
    "package": "p.zip",
    "version": 3,
}


def events(cost_us: int) -> dict[str, list[int]]:
    return {**EVENTS, "wall_ns": [3_000 + 1_000 * cost_us] * 3}


def fill(folder: Path, phone: DeviceProfile, results: list[tuple[Job, dict[str, Any]]]) -> dict[str, Any]:
    """A folder of a campaign in which one phone answered these jobs; the class's part of the report."""
    with Ledger(folder) as ledger:
        ledger.put("campaign_name", "tiny")
        ledger.put(f"profile {phone.device_class}", json.dumps(phone.to_json()))
        label = ledger.label_phone("SERIAL", "phone", phone.device_class, "127.0.0.1:6010", phone.model)
        ledger.plan([job for job, _ in results], phone.device_class, "measure")
        ledger.lease("b1", [job.id for job, _ in results], label, "measure")
        for job, result in results:
            ledger.record("b1", {"type": "result", "id": job.id, **result}, accept=True)
        ingest(ledger, folder)
    phone.save(folder / "profiles")
    report = campaign_report(folder)
    assert report["campaign"] == "tiny"
    return dict(report["device_classes"][phone.device_class])


def sync_results(make: JobFactory, costs: dict[str, int], checked: int, mismatches: int = 0) -> list[Any]:
    found = {"status": "ok", "checked_joins": checked, "mismatches": mismatches}
    return [(make.sync(1, join, checked), {**found, "samples": events(us)}) for join, us in costs.items()]


@pytest.fixture
def make() -> JobFactory:
    return JobFactory(profile(), Repeat())


def test_failed_jobs_are_named_with_operator_phone_and_error(
    tmp_path: Path, make: JobFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = [Linear(8, 64, 4 * count) for count in range(1, 15)]
    failed = {"status": "timeout", "error": "the job did not end within 3 s"}
    results = [(make.cpu(layer, 1), failed) for layer in layers]
    results += [(make.gpu(layers[0]), {"status": "wrong_result", "error": "error 0.3"})]
    results += [(make.gpu(layers[1]), {"status": "ok", "samples": events(1)})]
    found = fill(tmp_path, make.profile, results)
    assert (found["jobs"], found["done"], found["rejected"]) == (16, 1, 15)
    assert [job["status"] for job in found["rejected_jobs"]] == ["timeout"] * 14 + ["wrong_result"]
    last = found["rejected_jobs"][-1]
    assert (last["what"], last["phone"], last["error"]) == ("linear:rows=8,in=64,out=4", "phone-1", "error 0.3")
    show_report(campaign_report(tmp_path))
    printed = capsys.readouterr().out
    assert "jobs without a time: 14 timeout, 1 wrong_result" in printed
    assert "4 more are timeout" in printed


def test_joining_is_reported_before_anything_is_trained(
    tmp_path: Path, make: JobFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    found = fill(tmp_path, make.profile, sync_results(make, {"svm_poll": 5, "event_wait": 40, "finish": 55}, 1_000_000))
    assert [(row["join"], row["median_us"]) for row in found["join_costs"]] == [
        ("svm_poll", 5.0),
        ("event_wait", 40.0),
        ("finish", 55.0),
    ]
    assert found["join_order"] == "polling beats event wait beats finish"
    assert found["polling"] == {"allowed": True, "reason": "the payload of 1000000 joins was checked, none was stale"}
    show_report(campaign_report(tmp_path))
    assert "polling beats event wait beats finish" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("checked", "mismatches", "reason"),
    [
        (1_000, 0, "the payload of 1000 joins was checked, 1000000 are needed"),
        (1_000_000, 1, "1 of 1000000 joins found a stale payload"),
    ],
)
def test_polling_is_refused_with_a_reason(
    tmp_path: Path, make: JobFactory, checked: int, mismatches: int, reason: str
) -> None:
    found = fill(tmp_path, make.profile, sync_results(make, {"svm_poll": 5}, checked, mismatches))
    assert found["polling"] == {"allowed": False, "reason": reason}


def test_a_gpu_without_shared_memory_is_the_reason(tmp_path: Path) -> None:
    make = JobFactory(profile(svm=False), Repeat())
    found = fill(tmp_path, make.profile, sync_results(make, {"finish": 5}, 10))
    assert found["polling"]["reason"] == "the GPU has no fine-grained shared memory with atomics"


def test_what_was_published_is_reported(tmp_path: Path, make: JobFactory, capsys: pytest.CaptureFixture[str]) -> None:
    name = make.profile.device_class
    path = tmp_path / PUBLISHED / f"{name}.json"
    path.parent.mkdir()
    path.write_text(json.dumps(RECORD))
    found = fill(tmp_path, make.profile, [(make.cpu(Linear(8, 64, 8), 1), {"status": "ok", "samples": {}})])
    assert found["splits"]["layers"] == 6
    assert found["package"] == {"path": str(tmp_path / "p.zip"), "version": 3}
    show_report(campaign_report(tmp_path))
    printed = capsys.readouterr().out
    assert "CPU half 1.30x, GPU half 1.40x its time alone (median of 3 layers); learnt from 20 joint jobs" in printed
    assert "median 1.053, worst 1.250 of 3 layers" in printed
    assert "1 of 2 where search gains 1.10x or more" in printed
    assert "90 s campaign + 10 s calibration = 5.0% of 2000 s for every cut of every layer" in printed


def test_a_record_of_another_version_is_refused(tmp_path: Path, make: JobFactory) -> None:
    path = tmp_path / PUBLISHED / f"{make.profile.device_class}.json"
    path.parent.mkdir()
    path.write_text(json.dumps({**RECORD, "schema": 1}))
    with pytest.raises(UserError, match=r"not a record of publishing.*run: splitfleet publish"):
        fill(tmp_path, make.profile, [(make.cpu(Linear(8, 64, 8), 1), {"status": "ok", "samples": {}})])


def test_a_folder_without_a_campaign(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no campaign of this version here"):
        campaign_report(tmp_path)
