"""A campaign in which kernels hang, crash and compute nonsense ends by itself, and the report names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from splitfleet.pipeline.campaign_run import run_campaign
from splitfleet.pipeline.cli.report import show_report
from splitfleet.pipeline.fleet import FleetSettings
from splitfleet.pipeline.progress import PlainProgress
from splitfleet.pipeline.report import campaign_report

from ..infra.phones import PHONE, RunningPhone
from .campaigns import write_campaign

FAULTS = {"hang": 9, "crash": 24, "nonsense": 37}
GPU_JOBS = 50


def description() -> str:
    faults = "".join(
        f'[[faults]]\nkind = "kernel"\neffect = "{effect}"\njob = {job}\n' for effect, job in FAULTS.items()
    )
    return PHONE + 'environment = { SPLITFLEET_GRACE_S = "20" }\n' + faults


def test_the_rest_is_timed_and_the_report_names_those_that_failed(
    ray: None,
    settings: FleetSettings,
    start_phone: Callable[..., RunningPhone],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"
    file = write_campaign(tmp_path, start_phone(description()).address, samples=GPU_JOBS - 2)
    summary = run_campaign(file, folder, progress=PlainProgress(Console(stderr=True)), settings=settings)

    [counts] = summary.counts
    assert counts.done + counts.rejected == counts.jobs == 2 * GPU_JOBS + 1
    report = campaign_report(folder)
    [found] = report["device_classes"].values()
    rejected = found["rejected_jobs"]
    assert [(job["kind"], job["status"]) for job in rejected] == [
        ("gpu", "crashed"),
        ("gpu", "timeout"),
        ("gpu", "wrong_result"),
    ]
    assert all(job["error"] and job["phone"] == "test-phone-1" for job in rejected)

    show_report(report)
    printed = capsys.readouterr().out
    assert "jobs without a time: 1 crashed, 1 timeout, 1 wrong_result" in printed
    assert all(job["what"] in printed and job["job_id"][:8] in printed for job in rejected)
