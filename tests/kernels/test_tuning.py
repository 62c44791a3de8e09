from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitfleet.kernels import (
    Conv2d,
    Device,
    LaunchPlan,
    Linear,
    Operator,
    Trial,
    Tuning,
    UserError,
    lower,
    lower_channels,
    lower_half,
    lower_many,
    work_group_candidates,
)

from .strategies import devices, operators

PHONE = Device("a GPU", "a vendor", 2, 256, (256, 256, 64), 4, 2**30, True, True)
LAYER = Linear(197, 768, 3072)
OTHER = Linear(64, 64, 512)


def _trials(operator: Operator, best: tuple[int, ...]) -> list[Trial]:
    kernel = lower(operator, PHONE).kernel
    candidates = work_group_candidates(operator, PHONE)
    return [Trial(operator, kernel, local, 50.0 if local == best else 100.0) for local in candidates]


TUNING = Tuning.from_trials("phone", _trials(LAYER, (16, 4)) + _trials(OTHER, (16, 4)))


def _main_work_group(plan: LaunchPlan) -> tuple[float, ...]:
    return tuple(plan.quantities[f"l{axis}"] for axis in "xyz")


def _of_three(local: tuple[int, ...]) -> tuple[int, ...]:
    return (*local, 1, 1)[:3]


@settings(max_examples=30)
@given(operators(), devices())
def test_every_candidate_is_launched_as_it_is(operator: Operator, device: Device) -> None:
    plan = lower(operator, device)
    candidates = work_group_candidates(operator, device)
    assert _main_work_group(plan) == _of_three(candidates[0])
    assert len(set(candidates)) == len(candidates)
    for local in candidates:
        tried = lower(operator, device, tuned=Tuning.of_one(operator, plan.kernel, local))
        assert _main_work_group(tried) == _of_three(local)
        assert any(_of_three(launch.local_size) == _of_three(local) for launch in tried.launches)
        assert math.prod(local) <= device.max_work_group_size
        assert all(size <= limit for size, limit in zip(local, device.max_work_item_sizes, strict=False))


def test_the_winner_of_an_operator_and_of_its_family() -> None:
    assert {choice.operator: choice.local for choice in TUNING.choices} == {LAYER: (16, 4), OTHER: (16, 4)}
    assert TUNING.families == {"matmul": (16, 4)}
    assert lower(LAYER, PHONE, tuned=TUNING).launches[0].local_size == (16, 4)
    unseen = Linear(50, 100, 1000)
    assert lower(unseen, PHONE).launches[0].local_size != (16, 4)
    assert lower(unseen, PHONE, tuned=TUNING).launches[0].local_size == (16, 4)


def test_a_work_group_that_does_not_fit_is_not_taken() -> None:
    narrow = Linear(50, 100, 16)  # no more than four work-items along columns
    assert lower(narrow, PHONE, tuned=TUNING) == lower(narrow, PHONE)
    small = replace(PHONE, max_work_group_size=32)
    assert lower(LAYER, small, tuned=TUNING) == lower(LAYER, small)
    conv = Conv2d(8, 8, 8, 64, 3, 3, 1, 1, 1)
    assert lower(conv, PHONE, tuned=TUNING) == lower(conv, PHONE)


def test_tables_and_halves_take_tuned_work_groups_too() -> None:
    half = LAYER.with_channels(2048)
    tuning = Tuning.from_trials("phone", _trials(half, (4, 16)))
    channels = np.array([1024, 2048, 3072])
    table = lower_channels(LAYER, channels, PHONE, tuned=tuning)
    assert list(zip(table["lx"], table["ly"], strict=True))[1] == (4, 16)
    assert lower_half(LAYER, 1024, PHONE, tuned=tuning).launches[0].local_size == (4, 16)
    many = lower_many([OTHER, half], PHONE, tuned=tuning)
    assert (many["lx"][1], many["ly"][1], many["work_group_size"][1]) == (4, 16, 64)
    assert list(many.loc[0]) == list(lower_many([OTHER], PHONE).loc[0])


def test_families_without_a_common_gain_have_no_winner() -> None:
    assert Tuning.from_trials("phone", _trials(LAYER, (16, 4))).families == {}
    disagree = Tuning.from_trials("phone", _trials(LAYER, (8, 8)) + _trials(OTHER, (8, 8)))
    assert disagree.families == {}  # the rules' own work-group is the best


def test_tuning_round_trips_through_json() -> None:
    assert Tuning.from_json(json.loads(json.dumps(TUNING.to_json()))) == TUNING


@pytest.mark.parametrize("change", [{"schema": 9}, {"choices": [{}]}, {"families": {"matmul": []}}, {"families": 3}])
def test_a_damaged_tuning_is_told(change: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"tuning\.json"):
        Tuning.from_json({**TUNING.to_json(), **change}, "tuning.json")


@given(st.data())
def test_quantities_follow_the_tuned_work_group(data: st.DataObject) -> None:
    local = data.draw(st.sampled_from(work_group_candidates(LAYER, PHONE)))
    plan = lower(LAYER, PHONE, tuned=Tuning.of_one(LAYER, lower(LAYER, PHONE).kernel, local))
    launch, q = plan.launches[0], plan.quantities
    assert q["work_group_size"] == math.prod(local)
    assert q["work_groups"] == plan.signals == math.prod(launch.global_size) // math.prod(local)
