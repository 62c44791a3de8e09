"""What the agent tells of the phone's condition, and that it lets a hot phone cool."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from .driver import Agent, Line
from .jobs import cpu, linear

FILES = {
    "sys/class/thermal/thermal_zone0/type": "cpu-big",
    "sys/class/thermal/thermal_zone0/temp": "41500",
    "sys/class/thermal/thermal_zone1/type": "unused",
    "sys/class/thermal/thermal_zone1/temp": "-273000",
    "sys/class/thermal/thermal_zone2/temp": "no number",
    "sys/class/thermal/cooling_device0/temp": "99000",
    "sys/devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq": "2400000",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "1800000",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1800000",
    "sys/class/power_supply/battery/capacity": "81",
    "sys/class/power_supply/battery/status": "Charging",
    "sys/class/power_supply/battery/temp": "325",
    "proc/loadavg": "0.25 0.50 0.75 1/200 1234",
    "proc/meminfo": "MemTotal:  8000000 kB\nMemFree:  1000 kB\nMemAvailable:  5000 kB",
}
DUMPSYS = """#!/bin/sh
test "$1" = thermalservice || exit 1
echo "IsStatusOverride: false"
echo "Thermal Status: $(cat "${0%/system/bin/dumpsys}/status")"
"""


def phone(root: Path, files: dict[str, str]) -> Path:
    """A folder that stands for the phone's file system."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


def with_dumpsys(root: Path, status: int) -> Path:
    phone(root, {"system/bin/dumpsys": DUMPSYS, "status": str(status)})
    (root / "system/bin/dumpsys").chmod(0o755)
    return root


def telemetry(agent: Agent) -> list[Line]:
    return [line for line in agent.read() if line["type"] == "telemetry"]


def readings(line: Line) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in ("type", "schema", "when", "unix_us")}


def test_what_can_be_read_is_told_at_start_and_end(agent_without_opencl: Agent, tmp_path: Path) -> None:
    root = with_dumpsys(phone(tmp_path / "root", FILES), 2)
    agent = agent_without_opencl.with_environment(SPLITFLEET_SYSROOT=str(root))
    agent.run([cpu("job", linear(2, 2, 2))])
    assert [line["type"] for line in agent.read()] == ["agent", "telemetry", "result", "telemetry", "end"]
    start, end = telemetry(agent)
    assert (start["when"], end["when"]) == ("start", "end")
    assert start["unix_us"] <= end["unix_us"]
    assert readings(start) == {
        "zones": [{"name": "cpu-big", "celsius": 41.5}],
        "thermal_status": 2,
        "cpus": [{"id": 1, "khz": 1800000}],
        "battery": {"percent": 81, "status": "Charging", "celsius": 32.5},
        "load_1min": 0.25,
        "free_bytes": 5000 * 1024,
    }


def test_what_cannot_be_read_is_absent(agent_without_opencl: Agent, tmp_path: Path) -> None:
    agent = agent_without_opencl.with_environment(SPLITFLEET_SYSROOT=str(tmp_path / "nothing"))
    agent.run([cpu("job", linear(2, 2, 2))])
    assert [readings(line) for line in telemetry(agent)] == [{}, {}]


def test_gpu_clocks_of_adreno_and_of_devfreq(agent_without_opencl: Agent, tmp_path: Path) -> None:
    devfreq = {"sys/class/devfreq/1c500000.mali/cur_freq": "848000000", "sys/class/devfreq/0.bus/cur_freq": "1"}
    adreno = {"sys/class/kgsl/kgsl-3d0/gpuclk": "585000000"}
    for name, files, khz in (("mali", devfreq, 848_000), ("adreno", {**devfreq, **adreno}, 585_000)):
        agent = agent_without_opencl.with_environment(SPLITFLEET_SYSROOT=str(phone(tmp_path / name, files)))
        agent.results.unlink(missing_ok=True)
        agent.run([cpu("job", linear(2, 2, 2))])
        assert telemetry(agent)[0]["gpu_khz"] == khz


def wait_for(agent: Agent, when: str) -> None:
    deadline = time.monotonic() + 60
    while not agent.results.exists() or f'"{when}"' not in agent.results.read_text():
        assert time.monotonic() < deadline, f"no telemetry line {when}"
        time.sleep(0.01)


def test_a_hot_phone_cools_between_jobs(agent_without_opencl: Agent, tmp_path: Path) -> None:
    root = phone(tmp_path / "root", {**FILES, "sys/class/thermal/thermal_zone0/temp": "50100"})
    agent = agent_without_opencl.with_environment(SPLITFLEET_SYSROOT=str(root), SPLITFLEET_MAX_CELSIUS="50")
    agent.write([cpu("job", linear(2, 2, 2))])
    with agent.running() as process:
        wait_for(agent, "hot")
        assert "result" not in {line["type"] for line in agent.read()}
        phone(root, {"sys/class/thermal/thermal_zone0/temp": "47900"})
        assert process.wait(240) == 0
    assert [line["when"] for line in telemetry(agent)] == ["start", "hot", "cool", "end"]
    assert telemetry(agent)[2]["waited_us"] > 0


def test_a_phone_whose_clocks_are_held_back_waits_too(agent_without_opencl: Agent, tmp_path: Path) -> None:
    root = with_dumpsys(tmp_path / "root", 1)
    agent = agent_without_opencl.with_environment(SPLITFLEET_SYSROOT=str(root), SPLITFLEET_MAX_CELSIUS="50")
    agent.write([cpu("job", linear(2, 2, 2))])
    with agent.running() as process:
        wait_for(agent, "hot")
        phone(root, {"status": "0"})
        assert process.wait(240) == 0
    assert [line.get("thermal_status") for line in telemetry(agent)] == [1, 1, 0, 0]


def test_without_a_bound_a_hot_phone_goes_on(agent_without_opencl: Agent, tmp_path: Path) -> None:
    root = phone(tmp_path / "root", {"sys/class/thermal/thermal_zone0/temp": "90000"})
    agent = agent_without_opencl.with_environment(SPLITFLEET_SYSROOT=str(root))
    assert agent.run([cpu("job", linear(2, 2, 2))])["job"]["status"] == "ok"


def test_a_bound_that_is_no_temperature(agent_without_opencl: Agent) -> None:
    agent = agent_without_opencl.with_environment(SPLITFLEET_MAX_CELSIUS="warm")
    agent.write([cpu("job", linear(2, 2, 2))])
    done = agent.call("run", agent.jobs, agent.results)
    assert done.returncode == 2
    assert "SPLITFLEET_MAX_CELSIUS: warm" in done.stderr


@pytest.mark.parametrize("text", ["4G", "0", "-1", "much"])
def test_a_bound_of_bytes_that_is_none(agent_without_opencl: Agent, text: str) -> None:
    agent = agent_without_opencl.with_environment(SPLITFLEET_MAX_BYTES=text)
    agent.write([cpu("job", linear(4, 4, 4))])
    done = agent.call("run", agent.jobs, agent.results)
    assert done.returncode == 2
    assert f"SPLITFLEET_MAX_BYTES: {text}" in done.stderr
    assert not [line for line in agent.read() if line["type"] == "result"], "no job is at fault"
