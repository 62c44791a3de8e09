"""Whatever happens to a phone and to the link to it costs nothing but time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from random import Random

import pytest

from splitfleet.predictors.traces import read_traces

from .conftest import Record
from .lab import Lab

Strike = Callable[[Random], object]


@pytest.fixture(autouse=True)
def _mended(lab: Lab) -> Iterator[None]:
    lab.mark_log()
    yield
    lab.phone.order("clear")


@pytest.mark.parametrize(
    ("name", "service", "most_bytes"),
    [("push", "sync", 3000), ("shell call", "shell", 1500), ("result stream", "exec", 4000)],
)
def test_the_link_is_cut(name: str, service: str, most_bytes: int, lab: Lab, seed: int, record: Record) -> None:
    def armed(chance: Random) -> None:
        lab.phone.order("drop", service=service, bytes=chance.randrange(most_bytes))

    outcome = lab.struck(f"link cut in a {name}", seed, armed=armed)
    lab.await_log(f"the link is cut as ordered, in a stream of {service}")
    record(outcome)


def test_the_link_stalls(lab: Lab, seed: int, record: Record) -> None:
    def strike(chance: Random) -> None:
        lab.phone.order("stall", seconds=chance.uniform(0.5, 6))

    record(lab.struck("link stalled", seed, strike))


@pytest.mark.parametrize("kind", ["reboot", "wipe"])
def test_the_phone_restarts(kind: str, lab: Lab, seed: int, record: Record) -> None:
    def strike(chance: Random) -> None:
        # Long enough to be seen: a run shows its phones every half second, or every second where nothing happens.
        lab.phone.order(kind, seconds=chance.uniform(4, 6))
        lab.await_state("offline")

    record(lab.struck(f"phone {'rebooted' if kind == 'reboot' else 'wiped'}", seed, strike))


@pytest.mark.parametrize("effect", ["kill", "hang", "torn", "garbage", "duplicate"])
def test_the_agent_fails(effect: str, lab: Lab, seed: int, record: Record) -> None:
    def armed(chance: Random) -> None:
        lab.phone.order("agent", effect=effect, seed=seed, after_results=chance.randint(0, 2))

    names = {"kill": "killed", "hang": "hung", "torn": "torn", "garbage": "garbage", "duplicate": "duplicated"}
    is_output = effect in ("torn", "garbage", "duplicate")
    outcome = lab.struck(f"agent{chr(39) + 's output' if is_output else ''} {names[effect]}", seed, armed=armed)
    lab.await_log(f"results: {effect}, as ordered")
    record(outcome)


def test_the_phones_disk_is_full(lab: Lab, seed: int, record: Record) -> None:
    def strike(chance: Random) -> None:
        lab.phone.order("disk-full")
        lab.await_state("disk-full", "quarantined")
        time.sleep(chance.uniform(0, 1))
        lab.phone.order("clear")

    record(lab.struck("phone's disk full", seed, strike))


BATTERY = {"level": 100, "status": "full", "powered_by": "usb"}


@pytest.mark.parametrize(
    ("name", "kind", "bad", "good", "state"),
    [
        ("battery low", "battery", {"level": 9, "status": "discharging", "powered_by": "none"}, BATTERY, "low-battery"),
        ("overheating", "temperature", {"millidegrees": 61_000}, {"millidegrees": 31_000}, "cooling"),
        ("thermal status raised", "thermal-status", {"status": 3}, {"status": 0}, "cooling"),
    ],
)
def test_the_phone_may_not_measure(
    name: str, kind: str, bad: dict[str, int], good: dict[str, int], state: str, lab: Lab, seed: int, record: Record
) -> None:
    def strike(chance: Random) -> None:
        lab.phone.order(kind, **bad)
        try:
            lab.await_state(state)
            time.sleep(chance.uniform(0, 1))
        finally:
            lab.phone.order(kind, **good)

    record(lab.struck(name, seed, strike))


def test_the_authorisation_is_revoked(lab: Lab, seed: int, record: Record) -> None:
    def strike(chance: Random) -> None:
        lab.phone.order("unauthorized")
        lab.await_state("unauthorized")
        time.sleep(chance.uniform(0, 1))
        lab.phone.order("clear")

    record(lab.struck("authorisation revoked", seed, strike))


def test_the_phones_clock_jumps(lab: Lab, seed: int, record: Record) -> None:
    jump_s = Random(f"clock {seed}").choice([-1, 1]) * Random(f"clock {seed}").uniform(3600, 1e8)

    def strike(_: Random) -> None:
        lab.phone.order("clock", seconds=jump_s)

    outcome = lab.struck("phone's clock jumps", seed, strike)
    lab.phone.order("clock", seconds=-jump_s)
    began_us = read_traces(lab.fleet.folder)["started_unix_us"]
    away_s = (began_us / 1e6 - time.time() - jump_s).abs()
    assert away_s.min() < 600, "no job was measured with the changed clock"
    record(outcome)
