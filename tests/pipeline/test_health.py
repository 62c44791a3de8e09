"""The health gates: what stands against measuring, when a phone has cooled, and what spoils a batch."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitfleet.pipeline.health import Cooling, Limits, obstacle, spoiled
from splitfleet.pipeline.phone_state import PhoneState
from splitfleet.pipeline.readings import Readings

LIMITS = Limits()
FIT = Readings(
    hottest_c=35.0,
    battery_c=30.0,
    battery_percent=80,
    battery_status="charging",
    powered=True,
    thermal_status=0,
    is_awake=True,
    is_power_saving=False,
    load_1min=2.0,
    cores_online="0-7",
    governors=("schedutil",),
    free_bytes=1 << 30,
    boot_id="a",
)
UNPLUGGED = {"powered": False, "battery_status": "discharging"}
TOO_HOT = replace(FIT, thermal_status=1)


@pytest.mark.parametrize(
    ("changes", "state", "reason"),
    [
        ({"thermal_status": 1}, PhoneState.COOLING, "thermal status 1"),
        ({"battery_c": 40.1}, PhoneState.COOLING, "battery at 40.1 C, waits until 40 C"),
        ({"battery_percent": 29, **UNPLUGGED}, PhoneState.LOW_BATTERY, "nothing charges it; charge it to 30 %"),
        ({"battery_percent": 29, "battery_status": "discharging"}, PhoneState.LOW_BATTERY, "its charger gives less"),
        ({"is_power_saving": True}, PhoneState.POWER_SAVING, "battery saver is on"),
        ({"is_awake": False, **UNPLUGGED}, PhoneState.ASLEEP, "svc power stayon true"),
        ({"load_1min": 16.1}, PhoneState.BUSY, r"16.1 on 8 cores\); waits until 16"),
        ({"free_bytes": 31 << 20}, PhoneState.DISK_FULL, "disk full: 31 MiB are free"),
    ],
)
def test_what_stands_against_measuring(changes: dict[str, Any], state: PhoneState, reason: str) -> None:
    found = obstacle(replace(FIT, **changes), LIMITS)
    assert found is not None
    assert found.state is state
    assert state.is_unfit
    assert re.search(reason, found.reason)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hottest_c": 90.0},
        {"battery_percent": 5},
        {"battery_percent": 5, "battery_status": None},
        {"is_awake": False},
        {"battery_percent": 30, **UNPLUGGED},
        {"load_1min": 16.0},
        {"load_1min": 99.0, "cores_online": ""},
    ],
)
def test_what_does_not(changes: dict[str, Any]) -> None:
    assert obstacle(replace(FIT, **changes), LIMITS) is None


def test_a_phone_that_tells_nothing_may_measure() -> None:
    assert obstacle(Readings(), LIMITS) is None


def test_a_bound_of_the_users_own() -> None:
    found = obstacle(replace(FIT, hottest_c=55.5), Limits(max_celsius=55))
    assert found
    assert found.reason == "at 55.5 C, waits until 55 C"


def cool_down(
    cooling: Cooling, resting_c: float, excess_k: float, time_constant_s: float = 180.0
) -> tuple[float, float]:
    """Lets a phone cool as Newton says, looked at every 10 s; returns when it was fit and how warm it was then."""
    cooling.obstacle(replace(TOO_HOT, hottest_c=resting_c + excess_k), 0.0)
    for step in range(1, 1000):
        now_c = resting_c + excess_k * math.exp(-10 * step / time_constant_s)
        if cooling.obstacle(replace(FIT, hottest_c=now_c), 10.0 * step) is None:
            return 10.0 * step, now_c
    raise AssertionError("it never became fit")


def test_a_phone_met_hot_has_cooled_when_it_falls_no_more() -> None:
    at_s, now_c = cool_down(Cooling(LIMITS), 30.0, 40.0)
    assert now_c - 30.0 <= LIMITS.resting_margin_k + 0.1
    assert at_s > 180, "no fixed time: it waits for what it sees"


def test_a_phone_that_is_known_has_cooled_when_it_is_near_its_resting_place() -> None:
    cooling = Cooling(LIMITS)
    assert cooling.obstacle(replace(FIT, hottest_c=32.0), -10.0) is None
    _, now_c = cool_down(cooling, 30.0, 40.0)
    assert 32.0 < now_c <= 32.0 + LIMITS.resting_margin_k


def test_a_warmer_room_does_not_keep_a_phone_for_ever() -> None:
    cooling = Cooling(LIMITS)
    assert cooling.obstacle(replace(FIT, hottest_c=20.0), -10.0) is None
    _, now_c = cool_down(cooling, 38.0, 40.0)
    assert now_c - 38.0 <= LIMITS.resting_margin_k + 0.1


def test_a_battery_that_is_still_falling_keeps_it_too() -> None:
    cooling = Cooling(LIMITS)
    cooling.obstacle(replace(TOO_HOT, battery_c=40.0), 0.0)
    for step in range(1, 10):
        found = cooling.obstacle(replace(FIT, battery_c=40.0 - 1.5 * step), 60.0 * step)
        assert found
        assert found.state is PhoneState.COOLING


def test_a_phone_without_sensors_goes_by_androids_word() -> None:
    cooling = Cooling(LIMITS)
    assert cooling.obstacle(Readings(thermal_status=2), 0.0)
    assert cooling.obstacle(Readings(thermal_status=0), 1.0) is None


@given(st.lists(st.tuples(st.floats(20, 90), st.integers(0, 3), st.floats(0.1, 50)), max_size=30), st.floats(20, 90))
def test_whatever_came_before_a_phone_that_stays_as_it_is_becomes_fit(
    past: list[tuple[float, int, float]], final_c: float
) -> None:
    cooling, now_s = Cooling(LIMITS), 0.0
    for hottest_c, status, pause_s in past:
        now_s += pause_s
        found = cooling.obstacle(replace(FIT, hottest_c=hottest_c, thermal_status=status), now_s)
        assert found is not None or status == 0
    final = replace(FIT, hottest_c=final_c)
    assert cooling.obstacle(final, now_s + 1) is None or cooling.obstacle(final, now_s + 2 + LIMITS.steady_s) is None


def telemetry(when: str, **readings: object) -> dict[str, object]:
    return {"type": "telemetry", "when": when, **readings}


@pytest.mark.parametrize(
    ("changes", "lines", "reason"),
    [
        ({}, [telemetry("start"), telemetry("hot"), telemetry("cool")], "got hot in the middle"),
        ({}, [telemetry("start", thermal_status=2)], r"thermal status 2\) at the batch's start"),
        ({"thermal_status": 1}, [], r"unfit when the batch ended: Android holds its clocks back \(thermal status 1\)"),
        ({"battery_percent": 20, **UNPLUGGED}, [], "battery at 20 %"),
        ({"load_1min": 40.0}, [], "other programs load it"),
        (UNPLUGGED, [], "lost its power supply"),
        ({"is_awake": False}, [], "screen went off"),
        ({"cores_online": "0-3"}, [], "cores changed from 0-7 to 0-3"),
        ({"governors": ("powersave",)}, [], "governor changed from schedutil to powersave"),
        ({"boot_id": "b"}, [], "was restarted"),
    ],
)
def test_what_spoils_a_batch(changes: dict[str, Any], lines: list[dict[str, object]], reason: str) -> None:
    assert re.search(reason, spoiled(FIT, replace(FIT, **changes), lines, LIMITS))


def test_what_spoils_none() -> None:
    lines = [telemetry("start", thermal_status=0), telemetry("end", thermal_status=0)]
    assert spoiled(FIT, replace(FIT, hottest_c=80.0, free_bytes=0, load_1min=3.0, clock_unix_s=5), lines, LIMITS) == ""
    assert spoiled(Readings(), Readings(), [], LIMITS) == ""
