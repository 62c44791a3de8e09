"""Tuned work-groups: found on a phone, kept only where they win again, used by campaigns that ask for them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from splitfleet.kernels import Linear, lower
from splitfleet.kernels.errors import DeviceError, UserError
from splitfleet.kernels.lowering import work_group_candidates
from splitfleet.kernels.tuning import TunedChoice, Tuning
from splitfleet.pipeline.campaign import load_campaign
from splitfleet.pipeline.campaign_run import run_campaign
from splitfleet.pipeline.conditions import Conditions
from splitfleet.pipeline.fleet import FleetSettings
from splitfleet.pipeline.jobs import Job
from splitfleet.pipeline.profile import DeviceProfile
from splitfleet.pipeline.progress import PlainProgress
from splitfleet.pipeline.tuning import Contest, confirmed, tune_campaign
from splitfleet.pipeline.tuning_store import conditions_of, load_tunings, save_tuning
from splitfleet.predictors.traces import read_traces

from ..conftest import StartPhone
from .campaigns import write_campaign
from .profiles import profile

LAYERS = [Linear(8, 64, 96), Linear(16, 64, 96), Linear(32, 64, 96)]
DEFAULT, OWN, FAMILY = (8, 4), (4, 4), (16, 2)
FIRST = Tuning(
    "phone-1", tuple(TunedChoice(layer, "matmul_r4p16", OWN, 5.0, 10.0) for layer in LAYERS), {"matmul": FAMILY}
)


def contest(layer: Linear, own: list[float], family: list[float]) -> tuple[Contest, dict[str, np.ndarray]]:
    """A layer's contest in which the rules' own work-group takes 10 us in each round."""
    times = {"default": [10.0] * len(own), "own": own, "family": family}
    job = Job("j", {}, ())
    return Contest(layer, "matmul_r4p16", job), {name: np.array(us) for name, us in times.items()}


def test_only_what_wins_again_is_kept() -> None:
    contests = [
        contest(LAYERS[0], own=[8.0] * 31, family=[9.0] * 31),
        contest(LAYERS[1], own=[9.0] * 16 + [11.0] * 15, family=[9.0] * 31),
        contest(LAYERS[2], own=[12.0] * 31, family=[9.0] * 20 + [10.0] * 11),
    ]
    kept = confirmed(FIRST, dict.fromkeys(LAYERS, DEFAULT), contests)
    assert [(choice.local, choice.time_us, choice.default_us) for choice in kept.choices] == [
        (OWN, 8.0, 10.0),
        (DEFAULT, 10.0, 10.0),
        (DEFAULT, 10.0, 10.0),
    ]
    assert kept.families == {"matmul": FAMILY}


def test_a_family_s_winner_that_does_not_win_again_is_dropped() -> None:
    contests = [contest(layer, own=[8.0] * 31, family=[9.0] * 15 + [11.0] * 16) for layer in LAYERS]
    assert confirmed(FIRST, dict.fromkeys(LAYERS, DEFAULT), contests).families == {}


def test_without_an_answer_of_the_phone_nothing_is_kept() -> None:
    contests = [(contest(layer, [], [])[0], {}) for layer in LAYERS]
    kept = confirmed(FIRST, dict.fromkeys(LAYERS, DEFAULT), contests)
    assert {choice.local for choice in kept.choices} == {DEFAULT}
    assert kept.families == {}


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPLITFLEET_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_tuning_is_found_by_its_class_only(own_home: Path) -> None:
    path = save_tuning(FIRST)
    assert load_tunings() == {"phone-1": FIRST}
    conditions = Conditions(tunings=load_tunings())
    assert conditions.tuning_of("phone-1", "X") == FIRST
    with pytest.raises(
        DeviceError, match=r"X: .*there is no tuning of phone-2; there are tunings of phone-1; run: spl"
    ):
        conditions.tuning_of("phone-2", "X")
    path.rename(path.with_name("phone-2.json"))
    with pytest.raises(UserError, match=r"phone-2\.json: this is the tuning of phone-1"):
        load_tunings()
    (own_home / "tunings" / "phone-2.json").write_text("{")
    with pytest.raises(UserError, match=r"phone-2\.json: not a tuning"):
        load_tunings()


def test_a_tuned_phone_is_of_another_class() -> None:
    phone = profile()
    tuned = replace(phone, tuning=replace(FIRST, device_class=phone.device_class))
    assert tuned.device_class != phone.device_class
    assert DeviceProfile.from_json(json.loads(json.dumps(tuned.to_json()))) == tuned


def test_tuned_on_a_phone_and_used_there(
    ray: None, settings: FleetSettings, start_phone: StartPhone, tmp_path: Path, own_home: Path
) -> None:
    phone = start_phone()
    file = write_campaign(tmp_path, phone.address, samples=2)
    folder, progress = tmp_path / "run", PlainProgress(Console(stderr=True))
    campaign = load_campaign(file)
    file.write_text(file.read_text().replace("[measure]", "[measure]\ntuned = true"))
    with pytest.raises(DeviceError, match="there is no tuning of test-phone-"):
        run_campaign(file, folder, progress=progress, settings=settings)
    [tuned] = tune_campaign(campaign, folder, progress=progress, settings=settings)
    device_class = tuned.tuning.device_class
    assert load_tunings()[device_class] == tuned.tuning
    layers = [layer.operator for layer in campaign.layers]
    assert tuned.tuning.choices, "a busy machine may have spoilt some"
    assert all(choice.operator in layers for choice in tuned.tuning.choices)
    trials = read_traces(folder / "tuning")
    assert len(trials[trials["purpose"] == "trial"]) > len(campaign.layers)

    assert conditions_of(load_campaign(file)).tunings == {device_class: tuned.tuning}
    summary = run_campaign(file, folder, progress=progress, settings=settings)
    [counts] = summary.counts
    assert counts.done > 0
    assert counts.device_class != device_class
    [saved] = (folder / "profiles").glob("*.json")
    measured = DeviceProfile.from_json(json.loads(saved.read_text()))
    assert measured.tuning == tuned.tuning
    for choice in tuned.tuning.choices:
        assert choice.local in work_group_candidates(choice.operator, measured.device)
        plan = lower(choice.operator, measured.device, tuned=measured.tuning)
        assert plan.launches[0].local_size == choice.local
