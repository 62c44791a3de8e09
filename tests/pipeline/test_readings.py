from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from splitfleet.pipeline.phone_state import PhoneState
from splitfleet.pipeline.readings import Readings, parse_readings

OUTPUT = """
Current Battery Service state:
  AC powered: false
  USB powered: true
  level: 55
  temperature: 312
Thermal Status: 0
zone: 31000
zone: 40500
zone: 999999999
zone: -274000
"""


def test_what_the_phone_says() -> None:
    expected = Readings(hottest_c=40.5, battery_c=31.2, battery_percent=55, powered=True, thermal_status=0)
    assert parse_readings(OUTPUT) == expected
    assert expected.obstacle() is None


def test_a_phone_that_says_nothing_may_measure() -> None:
    assert parse_readings("").obstacle() is None


def test_a_throttled_phone_cools() -> None:
    obstacle = parse_readings(OUTPUT.replace("Status: 0", "Status: 2")).obstacle()
    assert obstacle
    assert obstacle[0] is PhoneState.COOLING


def test_a_hot_battery_cools() -> None:
    obstacle = parse_readings(OUTPUT.replace("312", "451")).obstacle()
    assert obstacle == (PhoneState.COOLING, "battery at 45.1 C, waits until 40 C")


def test_a_low_battery_counts_only_when_nothing_charges_it() -> None:
    low = OUTPUT.replace("level: 55", "level: 12")
    assert parse_readings(low).obstacle() is None
    obstacle = parse_readings(low.replace("true", "false")).obstacle()
    assert obstacle
    assert obstacle[0] is PhoneState.LOW_BATTERY


@given(st.text(alphabet="lev temprauZzonThS:0123456789-\n ", max_size=300))
def test_any_text_can_be_read(text: str) -> None:
    readings = parse_readings(text)
    assert readings.battery_percent is None or readings.battery_percent >= 0
