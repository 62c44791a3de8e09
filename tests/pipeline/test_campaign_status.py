"""Looking at a campaign from outside: its status, stopping it, listing and exporting it, and copies on URLs."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import fsspec
import pandas as pd
import pytest
from typer.testing import CliRunner

from splitfleet.kernels.errors import UserError
from splitfleet.pipeline.campaign_status import campaign_status, campaigns_in, stop_campaign
from splitfleet.pipeline.cli import app
from splitfleet.pipeline.export import export_traces
from splitfleet.pipeline.ingestion import ingest
from splitfleet.pipeline.jobs import Job
from splitfleet.pipeline.ledger import Ledger, lease
from splitfleet.pipeline.locations import copy_folder, local_folder
from splitfleet.pipeline.phone_state import PhoneState, PhoneStatus
from splitfleet.pipeline.progress import PhoneLine
from splitfleet.pipeline.status_file import ClassTally, StatusFile
from splitfleet.predictors.traces import TRACE_SCHEMA, read_traces

POINT = {"agent_build": "a", "isa": "x86_64", "backend": "eigen", "precision": "fp32"}
LINE = PhoneLine(
    "a-1",
    PhoneStatus("127.0.0.1:6010", PhoneState.COOLING, "battery at 41.0 C", temperature_c=41.0),
    1,
    3,
    1,
    12.0,
    600.0,
    "job j1: wrong_result: off by 2",
)


def campaign(folder: Path, done: int = 2) -> Ledger:
    """An open ledger of three jobs, of which two have a trace, one of them without a time."""
    ledger = Ledger(folder)
    ledger.put("campaign_name", "tiny")
    ledger.put("profile class", json.dumps({"operating_point": POINT}))
    ledger.plan([Job(f"j{n}", {"kind": "sync", "join": "finish"}, ()) for n in range(3)], "class", "measure")
    label = ledger.label_phone("SERIAL", "a", "class", "127.0.0.1:6010", "A")
    ledger.lease("b1", ["j0", "j1", "j2"], label, "measure")
    samples = {"wall_ns": [3, 1, 2]}
    for number in range(done):
        status = (
            {"status": "wrong_result", "error": "off by 2"} if number == 1 else {"status": "ok", "samples": samples}
        )
        ledger.record("b1", {"id": f"j{number}", **status}, accept=True)
    ledger.release("b1")
    return ledger


def show(folder: Path, ledger: Ledger, state: str = "running") -> StatusFile:
    status = StatusFile(folder, "tiny", ledger.epoch, [])
    tallies = [ClassTally("class", "measure", 3, {"ok": 1, "wrong_result": 1})]
    status.show(state, tallies, [LINE], now=True)
    return status


def test_a_running_campaign_is_told_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with campaign(tmp_path / "run") as ledger:
        show(tmp_path / "run", ledger)
        here = campaign_status(tmp_path / "run")
        assert (here.name, here.state, here.jobs, here.settled) == ("tiny", "running", 3, 2)
        assert here.rejected == {"wrong_result": 1}
        [phone] = here.phones
        assert (phone["state"], phone["temperature_c"], phone["left_s"]) == ("cooling", 41.0, 600)
        assert phone["trouble"] == "job j1: wrong_result: off by 2"
        monkeypatch.setattr(lease, "_machine", lambda: "another")
        monkeypatch.setenv("SPLITFLEET_HOME", str(tmp_path / "there"))
        assert campaign_status(tmp_path / "run") == here
        assert not (tmp_path / "there").exists(), "its ledger need not be made for that"


def test_who_is_stopped_and_who_is_done(tmp_path: Path) -> None:
    with campaign(tmp_path / "runs" / "left") as ledger:
        show(tmp_path / "runs" / "left", ledger, "ended")
    with campaign(tmp_path / "runs" / "done", done=3):
        pass
    assert campaign_status(tmp_path / "runs" / "left").state == "stopped"
    found = {(Path(status.folder).name, status.state) for status in campaigns_in(tmp_path / "runs")}
    assert found == {("left", "stopped"), ("done", "finished")}


def test_stopping_reaches_the_driver_that_runs_and_no_later_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with campaign(folder) as ledger:
        status = show(folder, ledger)
        assert not status.is_asked_to_stop()
        assert stop_campaign(folder).epoch == ledger.epoch
        assert status.is_asked_to_stop()
        waiting = threading.Thread(target=stop_campaign, args=(folder,), kwargs={"wait": True})
        waiting.start()
        waiting.join(3)
        assert waiting.is_alive()
    waiting.join()
    with pytest.raises(UserError, match="no campaign runs here"):
        stop_campaign(folder)
    with Ledger(folder) as again:
        assert not show(folder, again).is_asked_to_stop()


def test_one_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    with campaign(tmp_path / "good"), campaign(tmp_path / "bad"):
        pass
    (tmp_path / "bad" / "status.json").write_text('{"schema": 99}')
    found = {status.name: status for status in campaigns_in(tmp_path)}
    assert {name: status.state for name, status in found.items()} == {"tiny": "stopped", "bad": "unreadable"}
    assert "not a campaign's status" in found["bad"].trouble


def test_no_campaign_and_a_damaged_status(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no campaign of this version here"):
        campaign_status(tmp_path)
    (tmp_path / "demo.toml").touch()
    with pytest.raises(UserError, match="no campaign of this version here"):
        campaign_status(tmp_path / "demo.toml")
    with pytest.raises(UserError, match="no campaign runs here"):
        stop_campaign(tmp_path / "demo.toml")
    assert campaigns_in(tmp_path) == []
    with campaign(tmp_path / "run"):
        (tmp_path / "run" / "status.json").write_text('{"schema": 99}')
        with pytest.raises(UserError, match=r"status\.json: not a campaign's status \(schema 99"):
            campaign_status(tmp_path / "run")


def test_traces_are_written_only_where_they_changed(tmp_path: Path) -> None:
    with campaign(tmp_path, done=1) as ledger:
        assert ingest(ledger, tmp_path) == 1
        assert ingest(ledger, tmp_path) == 0
        ledger.lease("b2", ["j1"], "a-1", "measure")
        assert ingest(ledger, tmp_path) == 0
        ledger.record("b2", {"id": "j1", "status": "ok"}, accept=True)
        assert ingest(ledger, tmp_path) == 1
        assert sorted(read_traces(tmp_path)["job_id"]) == ["j0", "j1"]
        ledger.set_telemetry("b2", {"type": "telemetry", "when": "end"})
        assert ingest(ledger, tmp_path) == 1
        ledger.invalidate("b1", [("j0", "measure")], "drift")
        ledger.invalidate("b2", [("j1", "measure")], "drift")
        assert ingest(ledger, tmp_path) == 0
        assert not list(tmp_path.rglob("*.parquet")), "no trace counts any more"


def test_traces_of_a_phones_former_class_stay(tmp_path: Path) -> None:
    """An update makes another class of a phone."""
    with campaign(tmp_path, done=1) as ledger:
        ledger.put("profile later", json.dumps({"operating_point": {**POINT, "agent_build": "b"}}))
        ledger.plan([Job("k0", {"kind": "sync", "join": "finish"}, ())], "later", "measure")
        label = ledger.label_phone("SERIAL", "a", "later", "127.0.0.1:6010", "A")
        ledger.lease("b2", ["k0"], label, "measure")
        ledger.record("b2", {"id": "k0", "status": "ok"}, accept=True)
        ingest(ledger, tmp_path)
    traces = read_traces(tmp_path).set_index("job_id")
    assert traces["device_class"].to_dict() == {"j0": "class", "k0": "later"}
    assert traces["agent_build"].to_dict() == {"j0": "a", "k0": "b"}


@pytest.fixture
def store() -> str:
    """An empty place of a store that is no file system."""
    system = fsspec.filesystem("memory")
    if system.exists("/bucket"):
        system.rm("/bucket", recursive=True)
    return "memory://bucket"


def test_exports_are_flat(tmp_path: Path, store: str) -> None:
    folder = tmp_path / "run"
    with campaign(folder) as ledger:
        ingest(ledger, folder)
    for place in (str(tmp_path / "out" / "t.parquet"), f"file://{tmp_path}/u.parquet", f"{store}/t.parquet"):
        assert export_traces(folder, place, "parquet") == 2
        with fsspec.open(place, "rb") as file:
            frame = pd.read_parquet(file)
        assert list(frame.columns) == TRACE_SCHEMA.names
        assert [list(times) for times in frame["wall_ns"] if times is not None] == [[3, 1, 2]]
    assert export_traces(folder, tmp_path / "t.csv", "csv") == 2
    rows = pd.read_csv(tmp_path / "t.csv").set_index("job_id")
    assert json.loads(rows.loc["j0", "wall_ns"]) == [3, 1, 2]
    assert rows.loc["j1", "status"] == "wrong_result"
    with pytest.raises(UserError, match="no traces here"):
        export_traces(tmp_path / "nothing", tmp_path / "n.csv", "csv")
    with pytest.raises(UserError, match=r"nowhere://x: .*name a folder"):
        export_traces(folder, "nowhere://x", "csv")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        export_traces(folder, tmp_path / "file" / "t.csv", "csv")


def test_a_copy_on_a_url_tells_status_and_traces_and_can_go_on(tmp_path: Path, store: str) -> None:
    folder = tmp_path / "run"
    with campaign(folder) as ledger:
        show(folder, ledger, "ended")
        ingest(ledger, folder)
    for _ in range(2):
        copy_folder(folder, f"{store}/run", frozenset({"lease"}))
    found = campaign_status(f"{store}/run")
    assert (found.state, found.settled, found.jobs) == ("stopped", 2, 3)
    assert export_traces(f"{store}/run", tmp_path / "t.csv", "csv") == 2
    with pytest.raises(UserError, match=r"memory://bucket/run: a campaign needs a folder .*--copy-to memory"):
        local_folder(f"{store}/run")
    with pytest.raises(UserError, match=r"no status\.json here"):
        campaign_status(f"{store}/elsewhere")
    fsspec.filesystem("memory").get("/bucket/run", str(tmp_path / "back"), recursive=True)
    with Ledger(tmp_path / "back") as again:
        assert again.settled("measure") == {"j0": "ok", "j1": "wrong_result"}


def test_the_verbs_print(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "tiny"
    with campaign(folder) as ledger:
        show(folder, ledger)
        ingest(ledger, folder)
        run = CliRunner().invoke
        text = run(app, ["campaign", "status", str(folder)]).stdout
        assert "running, process" in text
        assert "rejected jobs: 1 wrong_result" in text
        words = " ".join(text.split())
        assert "cooling 1/3 12/min 41 C 10 min 00 s job j1: wrong_result" in words
        assert json.loads(run(app, ["campaign", "status", str(folder), "--json"]).stdout)["state"] == "running"
        [row] = json.loads(run(app, ["campaign", "list", str(tmp_path / "runs"), "--json"]).stdout)
        assert row["name"] == "tiny"
        assert "2/3" in run(app, ["campaign", "list", str(tmp_path / "runs")]).stdout
        assert "to stop: it starts nothing new" in run(app, ["campaign", "stop", str(folder)]).stdout
        out = str(tmp_path / "t.csv")
        assert run(app, ["campaign", "export", str(folder), "-o", out, "--format", "csv"]).stdout == f"{out}: 2 rows\n"
        refused = run(app, ["campaign", "run", str(tmp_path / "x.toml"), "--out", "memory://x"])
        assert isinstance(refused.exception, UserError)
