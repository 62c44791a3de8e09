"""Training many device classes: as Ray tasks or here with the same bytes, and never twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitfleet.kernels.errors import UserError
from splitfleet.pipeline import training, training_tasks
from splitfleet.pipeline.ledger import Ledger
from splitfleet.pipeline.training_tasks import FITTED, ClassSets, fit_classes
from splitfleet.predictors import fitted_file
from splitfleet.predictors.observations import TrainingSet, training_sets
from splitfleet.predictors.traces import write_traces
from splitfleet.predictors.train import ClassModels

from ..predictors import synthetic
from .campaigns import write_campaign
from .profiles import profile


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainingSet]:
    """A small training set for each target."""
    traces = synthetic.traces(tmp_path_factory.mktemp("traces"), synthetic.trace_rows(14))
    return training_sets(traces[traces["status"] == "ok"], synthetic.DEVICE_CLASS)


@pytest.fixture(scope="module")
def classes(sets: dict[str, TrainingSet]) -> ClassSets:
    """Three device classes with some targets each."""
    return {
        "a": {"gpu_execution": sets["gpu_execution"], "cpu_t1": sets["cpu_t1"]},
        "b": {"gpu_dispatch": sets["gpu_dispatch"]},
        "c": {"cpu_t2": sets["cpu_t2"]},
    }


def kept(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / FITTED).iterdir()}


def no_fitting(*_: object) -> bytes:
    raise AssertionError("trained again")


def test_ray_gives_the_same_bytes_and_nothing_is_fitted_twice(
    classes: ClassSets, ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = fit_classes(classes, 5, tmp_path / "here")
    there = fit_classes(classes, 5, tmp_path / "ray", ray_from=1)
    assert kept(tmp_path / "here") == kept(tmp_path / "ray")
    assert {name: set(fitted) for name, fitted in there.items()} == {name: set(of) for name, of in classes.items()}
    monkeypatch.setattr(training_tasks, "fit_to_bytes", no_fitting)
    again = fit_classes(classes, 5, tmp_path / "here")
    for name, fitted in here.items():
        for target, one in fitted.items():
            assert again[name][target].predictor == one.predictor == there[name][target].predictor
            assert list(again[name][target].held_out.time_us) == list(one.held_out.time_us)


@pytest.mark.parametrize("what", ["seed", "data", "code", "bytes"])
def test_what_was_fitted_otherwise_is_fitted_again(
    what: str, sets: dict[str, TrainingSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"a": {"cpu_t1": sets["cpu_t1"]}}
    fit_classes(given, 5, tmp_path)
    path = tmp_path / FITTED / "a.zip"
    before = path.read_bytes()
    seed = 6 if what == "seed" else 5
    if what == "data":
        given = {"a": {"cpu_t1": sets["cpu_t2"]}}
    if what == "code":
        monkeypatch.setattr(fitted_file, "training_code", lambda: "other code")
    if what == "bytes":
        path.write_bytes(before[:-100])
    fitted: list[object] = []
    real = fitted_file.fit_to_bytes
    monkeypatch.setattr(training_tasks, "fit_to_bytes", lambda *words: (fitted.append(words), real(*words))[1])
    fit_classes(given, seed, tmp_path)
    assert len(fitted) == 1
    assert (path.read_bytes() == before) == (what == "bytes")


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """A campaign of which only training is missing."""
    phone = profile()
    rows = [row | {"device_class": phone.device_class} for row in synthetic.trace_rows(12)]
    write_traces(rows, tmp_path / "traces" / "phone=a" / "traces.parquet")
    phone.save(tmp_path / "profiles")
    write_campaign(tmp_path, name="campaign")
    with Ledger(tmp_path):
        pass
    return tmp_path


def test_publishing_takes_what_train_kept(campaign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "log_training", no_fitting)
    with pytest.raises(AssertionError):
        training.train_campaign(campaign)  # MLflow is away; what was trained is noted
    monkeypatch.setattr(training_tasks, "fit_to_bytes", no_fitting)
    monkeypatch.setattr(training, "_log", lambda *_: None)
    [(name, (result, noted))] = training.same_training(campaign).items()
    assert isinstance(result, ClassModels)
    assert result.metrics == noted.metrics
    (campaign / FITTED / f"{name}.zip").unlink()
    with pytest.raises(UserError, match=f"the predictors of {name} are not kept there.*run: splitfleet train"):
        training.same_training(campaign)
