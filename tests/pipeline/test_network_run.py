"""What `splitfleet network` asks of a phone and makes of its answer; the phone is a stand-in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from splitfleet.kernels import DeviceError, Linear, Network
from splitfleet.kernels.network import Node
from splitfleet.pipeline import network_planning, network_run
from splitfleet.pipeline.jobs import Job
from splitfleet.pipeline.network_run import run_network
from splitfleet.pipeline.scheduling import Pacing
from splitfleet.predictors import network_calibration
from splitfleet.predictors.calibration import Calibration
from splitfleet.predictors.network_planner import NetworkPlan
from splitfleet.predictors.split_table import SplitDecision, SplitEntry, SplitTable

from .profiles import profile

LAYER = Linear(6, 8, 16)
NETWORK = Network(
    "net",
    (
        Node("y", "Gemm", "linear", ("x",), ("y",), ((1, 6, 16),), LAYER.flops, LAYER),
        Node("s", "Softmax", "softmax", ("y",), ("s",), ((1, 6, 16),), 0, None, {"axis": 2}),
    ),
    {"x": (1, 6, 8)},
    ("s",),
)
TABLE = SplitTable.of(
    "phone",
    "eigen",
    [SplitEntry(SplitDecision(LAYER, "split", 8, 1, "svm_poll", 60.0, 50.0, 70.0, 100.0, 1, 90.0, "finish"))],
)


class _Fleet:
    """Answers every job with `answer`; `jobs` are those of all rounds, `forgotten` those that do not count any more."""

    jobs: list[Job]
    forgotten: list[str]
    present: dict[str, Any]

    def __init__(self, *given: Any, **settings: Any) -> None:
        assert given[1].name == "networks"
        _Fleet.jobs, _Fleet.forgotten = [], []
        self.ledger = SimpleNamespace(accepted_of=self._accepted, invalidate=self._invalidate)

    def __enter__(self) -> _Fleet:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def profiles(self) -> dict[str, Any]:
        return _Fleet.present

    def _accepted(self, device_class: str, purpose: str) -> list[Any]:
        assert (device_class, purpose) == (profile().device_class, "network")
        return [SimpleNamespace(job=job.id, batch="b") for job in _Fleet.jobs if job.id not in _Fleet.forgotten]

    def _invalidate(self, batch: str, tasks: list[tuple[str, str]], reason: str) -> None:
        assert (batch, reason) == ("b", "drift")
        _Fleet.forgotten += [job for job, _ in tasks]

    def run(self, jobs: dict[str, list[Job]], purpose: str) -> Any:
        _Fleet.jobs += [job for each in jobs.values() for job in each]
        return SimpleNamespace(was_interrupted=False)


def _answer(monkeypatch: pytest.MonkeyPatch, *answers: dict[str, Any]) -> list[dict[str, Any]]:
    """The phone's answers, one a round, of which the last is given again; returns how the network was planned."""
    phone = profile()
    _Fleet.present = {phone.device_class: phone}
    costs = SimpleNamespace(gpu_wait=lambda: ("svm_poll", 1.0))
    campaign = SimpleNamespace(
        phones=None, seed=1, fleet=SimpleNamespace(pacing=Pacing()), publish=SimpleNamespace(rounds=31), measure=None
    )
    monkeypatch.setattr(network_run, "Fleet", _Fleet)
    monkeypatch.setattr(network_run, "campaign_of", lambda folder: campaign)
    monkeypatch.setattr(network_run, "conditions_of", lambda campaign: None)
    trained = {phone.device_class: (SimpleNamespace(models=SimpleNamespace(costs=costs)), None)}
    monkeypatch.setattr(network_run, "same_training", lambda folder: trained)
    monkeypatch.setattr(network_planning, "plan_layers", lambda operators, models, device: TABLE)
    curves = [SimpleNamespace(operator=LAYER, dispatch_us=[5.0])]
    monkeypatch.setattr(network_calibration, "predict_curves", lambda operators, models, device: curves)
    planned: list[dict[str, Any]] = []

    def plan_network(
        network: Network, models: Any, device: Any, calibrations: Any, glue: Any = None, **options: Any
    ) -> NetworkPlan:
        planned.append({"calibrations": calibrations, "glue_us": glue and glue(NETWORK.nodes[1]), **options})
        if len(planned) == 1:
            return NetworkPlan({"y": TABLE.entries[0].decision}, 60.0, 100.0, 90.0, joins=1, joins_saved=0)
        moved = replace(TABLE.entries[0].decision, cut=12)
        return NetworkPlan({"y": moved}, 72.0, 115.0, 125.0, joins=1, joins_saved=0)

    monkeypatch.setattr(network_planning, "plan_network", plan_network)
    rows = [{"nodes": NODES, **answer} for answer in answers]
    monkeypatch.setattr(
        network_run,
        "read_traces",
        lambda folder: pd.DataFrame(
            [{"job_id": job.id, **rows[min(index, len(rows) - 1)]} for index, job in enumerate(_Fleet.jobs)]
        ),
    )
    return planned


def _variant(name: str, time_us: int, error: float | None) -> dict[str, Any]:
    return {"name": name, "max_relative_error": error, "wall_ns": [time_us * 1000] * 31}


def _nodes(name: str, cpu_us: list[int | None], gpu_us: list[int | None]) -> dict[str, Any]:
    def ns(times_us: list[int | None]) -> list[int | None]:
        return [None if time_us is None else 1000 * time_us for time_us in times_us]

    return {"name": name, "cpu_ns": ns(cpu_us), "gpu_ns": ns(gpu_us)}


NODES = json.dumps(
    [
        _nodes("cpu", [105, 10], [None, None]),
        _nodes("gpu", [None, 11], [110, None]),
        _nodes("split", [50, 12], [55, None]),
        _nodes("gpu_event", [None, 11], [120, None]),
        _nodes("split_event", [52, 9], [57, None]),
        _nodes("glue", [None, 8], [None, None]),
    ]
)
VARIANTS = [
    _variant("cpu", 120, 0.0),
    _variant("gpu", 130, 1e-6),
    _variant("split", 80, 2e-6),
    _variant("gpu_event", 140, 3e-6),
    _variant("split_event", 75, 1e-6),
    _variant("glue", 10, None),
]
OK = {"status": "ok", "error": None, "variants": VARIANTS}


def test_a_network_is_planned_again_with_what_its_nodes_took_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planned = _answer(monkeypatch, OK)
    (found,) = run_network(tmp_path, NETWORK)
    assert found.predicted_us == {"cpu": 115.0, "gpu": 125.0, "split": 72.0}
    assert found.measured_us == {"cpu": 120.0, "gpu": 130.0, "split": 75.0}
    assert found.table_us == {"predicted": 70.0, "measured": 75.0}
    assert found.hand_overs_us == {"host": 80.0, "event": 75.0}
    assert found.hand_over == "event"
    assert (found.glue_us, found.rounds, found.max_relative_error, found.split_operators) == (10.0, 31, 3e-6, 1)
    assert found.speedup == pytest.approx(1.6)
    assert planned[0]["table"] == TABLE
    first = Calibration(8, 1, "svm_poll", 52.0, 57.0, 0.0, 57.0, 105.0, 1, 110.0 + 5.0 + 1.0)
    assert planned[1]["calibrations"][LAYER][0] == first
    assert [each.cut for each in planned[-1]["calibrations"][LAYER]] == [8, 12]
    assert planned[1]["glue_us"] == 9.0
    assert planned[1]["join_us"] == pytest.approx(75.0 - 57.0 - 9.0)
    assert [job.body["rounds"] for job in _Fleet.jobs] == [9, 9, 31]
    job = _Fleet.jobs[-1]
    assert job.kind == "network"
    assert (job.body["join"], job.body["threads"]) == ("svm_poll", 1)
    assert job.max_time_us > 31_000_000
    assert len(job.programs) == 3  # two plans and the gate
    assert [node.get("cut") for node in job.body["network"]["nodes"]] == [12, None]


def test_where_the_phone_has_drifted_plan_and_measurement_are_repeated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow = {**OK, "variants": [_variant("cpu", 129, 0.0), *VARIANTS[1:]]}
    planned = _answer(monkeypatch, OK, OK, slow)
    (found,) = run_network(tmp_path, NETWORK)
    assert [job.body["rounds"] for job in _Fleet.jobs] == [9, 9, 31, 9, 31]
    assert _Fleet.forgotten == [_Fleet.jobs[1].id, _Fleet.jobs[2].id], "those of the last plan"
    assert [each.cut for each in planned[-1]["calibrations"][LAYER]] == [12], "what was learnt before does not count"
    assert (found.measured_us["cpu"], found.drift) == (129.0, 0.0)


def test_a_phone_that_drifts_on_and_on_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drifting = [{**OK, "variants": [_variant("cpu", 120 + 10 * step, 0.0), *VARIANTS[1:]]} for step in range(7)]
    _answer(monkeypatch, *drifting)
    (found,) = run_network(tmp_path, NETWORK)
    assert len(_Fleet.jobs) == 7, "repeated twice, not for ever"
    assert found.drift == pytest.approx(180 / 170 - 1)


def test_one_calibration_that_failed_is_done_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    planned = _answer(monkeypatch, OK, {"status": "noisy", "error": "no quiet", "variants": None}, OK)
    (found,) = run_network(tmp_path, NETWORK)
    assert found.error is None
    assert found.measured_us["split"] == 75.0
    assert len(planned) == 2


def test_why_nothing_was_measured_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _answer(monkeypatch, {"status": "wrong_result", "error": "split: tensor 1 differs", "variants": None})
    (found,) = run_network(tmp_path, NETWORK)
    assert found.error == "wrong_result: split: tensor 1 differs"
    assert found.speedup is None
    assert len(_Fleet.jobs) == 1
    _Fleet.present = {}
    with pytest.raises(DeviceError, match="no phone of a trained device class"):
        run_network(tmp_path, NETWORK)
