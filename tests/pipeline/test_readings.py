from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from splitfleet.pipeline.readings import Readings, parse_readings

OUTPUT = """
Current Battery Service state:
  AC powered: false
  USB powered: true
  status: 2
  level: 55
  temperature: 312
Thermal Status: 0
  mWakefulness=Awake
Display Power: state=ON
zone: 31000
zone: 40500
zone: 999999999
zone: -274000
load: 1.25 0.50 0.25 1/200 1234
low_power: 0
online: 0-5,7
governor: schedutil
governor: walt
free: /dev/block/dm-5 100000 40000 60000 40% /data
clock: 1790000000
boot: 0f1e2d3c-0000-4000-8000-000000000000
"""


def test_what_the_phone_says() -> None:
    assert parse_readings(OUTPUT) == Readings(
        hottest_c=40.5,
        battery_c=31.2,
        battery_percent=55,
        battery_status="charging",
        powered=True,
        thermal_status=0,
        is_awake=True,
        is_power_saving=False,
        load_1min=1.25,
        cores_online="0-5,7",
        governors=("schedutil", "walt"),
        free_bytes=60000 * 1024,
        clock_unix_s=1790000000,
        boot_id="0f1e2d3c-0000-4000-8000-000000000000",
    )
    assert parse_readings(OUTPUT.replace("\n", "\r\n")) == parse_readings(OUTPUT)
    assert parse_readings(OUTPUT).core_count == 7


def test_what_makes_no_sense_is_not_told() -> None:
    nonsense = (
        OUTPUT.replace("312", "99999").replace("level: 55", "level: 555").replace("Status: 0", "Status: 9")
        .replace("0-5,7", "7-0").replace("60000", "6e4").replace("1.25", "inf")
    )  # fmt: skip
    readings = parse_readings(nonsense)
    told = (readings.battery_c, readings.battery_percent, readings.thermal_status, readings.core_count)
    assert (*told, readings.free_bytes, readings.load_1min) == (None,) * 6


def test_a_phone_that_says_nothing() -> None:
    assert parse_readings("") == Readings()


@given(
    st.one_of(
        st.text(max_size=300),
        st.lists(st.sampled_from([*OUTPUT.splitlines(), "zone: -", "online: ,,-", "load: 1.5.5 ", "\x00\ud7ff"])).map(
            "\n".join
        ),
        st.text(alphabet="lev temprauZzonThS:0123456789-=.,\n ", max_size=300),
    )
)
def test_any_text_can_be_read(text: str) -> None:
    readings = parse_readings(text)
    assert readings.battery_percent is None or 0 <= readings.battery_percent <= 100
    assert readings.core_count is None or readings.core_count > 0
