"""A campaign on two virtual phones of one class: probes ride along, and some jobs are measured by both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from splitfleet.pipeline.campaign_run import run_campaign
from splitfleet.pipeline.fleet import FleetSettings
from splitfleet.pipeline.ledger import Ledger
from splitfleet.pipeline.progress import PlainProgress
from splitfleet.pipeline.report import campaign_report
from splitfleet.predictors.traces import read_traces, trace_tables

from ..infra.phones import PHONE, RunningPhone
from .campaigns import write_campaign

StartPhone = Callable[..., RunningPhone]


def test_two_phones_of_one_class(ray: None, settings: FleetSettings, start_phone: StartPhone, tmp_path: Path) -> None:
    phones = [start_phone(PHONE.replace('"test-phone"', f'"unit-{name}"'), name) for name in ("a", "b")]
    folder = tmp_path / "run"
    addresses = (phone.address for phone in phones)
    # Two phones on one host slow each other down: that much is no drift here.
    file = write_campaign(tmp_path, *addresses, samples=12, probe_every_s=30, sister_fraction=0.4, drift=1)
    with (tmp_path / "said").open("w") as output:
        summary = run_campaign(file, folder, progress=PlainProgress(Console(file=output)), settings=settings)
    assert summary.notes == ()
    counts = {row.purpose: row for row in summary.counts}
    assert counts.keys() == {"measure", "sister"}
    assert all(row.done + row.rejected == row.jobs > 0 for row in counts.values())

    traces = read_traces(folder)
    measured, second = (traces[traces["purpose"] == name] for name in ("measure", "sister"))
    assert len(measured) == counts["measure"].jobs
    assert not measured["job_id"].duplicated().any()
    pairs = measured.merge(second, on="job_id", suffixes=("", "_second"))
    assert len(pairs) == counts["sister"].jobs
    assert (pairs["phone"] != pairs["phone_second"]).all()
    probes = traces[traces["purpose"] == "probe"]
    assert set(probes["phone"]) == {"test-phone-1", "test-phone-2"}
    assert probes["job_id"].nunique() == 3
    kept = 0
    for phone in ("test-phone-1", "test-phone-2"):
        again = [table for path in (folder / "probes" / f"phone={phone}").iterdir() for table in trace_tables(path, "")]
        kept += sum(table.num_rows for table in again)
    with Ledger(folder, read_only=True) as ledger:
        noisy = sum(ledger.failures("probe").values())
    assert kept + noisy >= 2 * 2 * 3, "three on each phone, before and after the work"

    [found] = campaign_report(folder)["device_classes"].values()
    assert found["jobs"] == len(measured)
    assert found["units"]["phones"] == 2
    assert found["units"]["jobs"] <= len(pairs)
    assert found["units"]["spread_median"] >= 1
