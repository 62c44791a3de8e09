"""What `splitfleet network` asks of a phone and makes of its answer; the phone is a stand-in."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from splitfleet.kernels import DeviceError, Linear, Network
from splitfleet.kernels.network import Node
from splitfleet.pipeline import network_run
from splitfleet.pipeline.jobs import Job
from splitfleet.pipeline.network_run import run_network
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
    """Answers every job with `answer`."""

    jobs: dict[str, list[Job]]
    present: dict[str, Any]

    def __init__(self, *given: Any, **settings: Any) -> None:
        assert given[1].name == "networks"

    def __enter__(self) -> _Fleet:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def profiles(self) -> dict[str, Any]:
        return _Fleet.present

    def run(self, jobs: dict[str, list[Job]], purpose: str) -> Any:
        _Fleet.jobs = jobs
        return SimpleNamespace(was_interrupted=False)


def _answer(monkeypatch: pytest.MonkeyPatch, **answer: Any) -> None:
    phone = profile()
    _Fleet.present = {phone.device_class: phone}
    models = SimpleNamespace(costs=SimpleNamespace(gpu_wait=lambda: ("svm_poll", 1.0)))
    campaign = SimpleNamespace(
        phones=None, seed=1, fleet=SimpleNamespace(pacing=None), publish=SimpleNamespace(rounds=31), measure=None
    )
    monkeypatch.setattr(network_run, "Fleet", _Fleet)
    monkeypatch.setattr(network_run, "campaign_of", lambda folder: campaign)
    monkeypatch.setattr(network_run, "conditions_of", lambda campaign: None)
    trained = {phone.device_class: (SimpleNamespace(models=models), None)}
    monkeypatch.setattr(network_run, "same_training", lambda folder: trained)
    monkeypatch.setattr(network_run, "plan_layers", lambda operators, models, device: TABLE)
    monkeypatch.setattr(
        network_run,
        "read_traces",
        lambda folder: pd.DataFrame([{"job_id": job.id, **answer} for jobs in _Fleet.jobs.values() for job in jobs]),
    )


def _variant(name: str, time_us: int, error: float | None) -> dict[str, Any]:
    return {"name": name, "max_relative_error": error, "wall_ns": [time_us * 1000] * 31}


def test_predictions_and_times_are_put_side_by_side(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    variants = [
        _variant("cpu", 120, 0.0),
        _variant("gpu", 130, 1e-6),
        _variant("split", 80, 2e-6),
        _variant("glue", 10, None),
    ]
    _answer(monkeypatch, status="ok", error=None, variants=variants)
    (found,) = run_network(tmp_path, NETWORK)
    assert found.predicted_us == {"cpu": 110.0, "gpu": 100.0, "split": 70.0}
    assert found.measured_us == {"cpu": 120.0, "gpu": 130.0, "split": 80.0}
    assert (found.glue_us, found.rounds, found.max_relative_error, found.split_operators) == (10.0, 31, 2e-6, 1)
    assert found.speedup == pytest.approx(1.5)
    (job,) = next(iter(_Fleet.jobs.values()))
    assert job.kind == "network"
    assert (job.body["rounds"], job.body["join"], job.body["threads"]) == (31, "svm_poll", 1)
    assert job.max_time_us > 31_000_000
    assert len(job.programs) == 2


def test_why_nothing_was_measured_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _answer(monkeypatch, status="wrong_result", error="split: tensor 1 differs", variants=None)
    (found,) = run_network(tmp_path, NETWORK)
    assert found.error == "wrong_result: split: tensor 1 differs"
    assert found.speedup is None
    _Fleet.present = {}
    with pytest.raises(DeviceError, match="no phone of a trained device class"):
        run_network(tmp_path, NETWORK)
