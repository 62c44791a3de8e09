"""The drift rule on simulated phones."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitfleet.pipeline.scheduling.drift import PATIENCE, ProbeReading, ProbeState, Verdict, deviation, judge

JOBS = ("small", "mid", "cpu")


def verdicts(levels: list[float], sigma: float, seed: int = 0) -> list[Verdict]:
    """What is said of a phone at these levels, whose medians scatter by `sigma` (relative) between rounds."""
    random, state, found = Random(seed), ProbeState(), []
    for number, level in enumerate(levels):
        readings = [ProbeReading(job, 100.0 * level * (1 + random.gauss(0, sigma)), 0.002) for job in JOBS]
        verdict, state, _ = judge(state, readings, 0.05, f"b{number}")
        found.append(verdict)
    return found


@pytest.mark.parametrize(("sigma", "most"), [(0.002, 0), (0.01, 0), (0.02, 0.001), (0.1, 0.005)])
def test_a_steady_phone_is_seldom_said_to_have_drifted(sigma: float, most: float) -> None:
    drifts = 0
    for seed in range(40):
        found = verdicts([1.0] * 200, sigma, seed)
        drifts += sum(pair == (Verdict.SUSPECT, Verdict.DRIFTED) for pair in pairwise(found))
    assert drifts <= most * 40 * 200


@pytest.mark.parametrize(("sigma", "level"), [(0.002, 1.06), (0.01, 1.10), (0.01, 0.9), (0.03, 1.4)])
def test_a_phone_that_drifts_is_found_at_the_second_probe(sigma: float, level: float) -> None:
    found = [verdicts([1.0] * 20 + [level] * 2, sigma, seed)[-2:] for seed in range(20)]
    assert found.count([Verdict.SUSPECT, Verdict.DRIFTED]) >= 18


def test_a_slow_creep_is_found() -> None:
    assert Verdict.DRIFTED in verdicts([1 + 0.002 * n for n in range(60)], 0.002)


def test_a_phone_that_comes_back_is_good_again() -> None:
    found = verdicts([1.0] * 9 + [1.2] * 3 + [1.0] * 3, 0.005)
    assert found[9:] == [Verdict.SUSPECT, Verdict.DRIFTED, Verdict.DRIFTED, *[Verdict.GOOD] * 3]


def test_one_that_stays_away_has_a_new_base() -> None:
    found = verdicts([1.0] * 9 + [1.2] * (PATIENCE + 4), 0.005)
    assert found[9:] == [
        Verdict.SUSPECT,
        *[Verdict.DRIFTED] * PATIENCE,
        Verdict.NEW_LEVEL,
        *[Verdict.GOOD] * 2,
    ]


@given(
    st.lists(st.floats(1e-3, 1e9), max_size=20),
    st.floats(1e-3, 1e9),
    st.floats(0, 10),
    st.floats(0.01, 1),
)
def test_any_readings_give_a_verdict(medians: list[float], last: float, noise: float, drift: float) -> None:
    state = ProbeState()
    for number, value in enumerate(medians):
        _, state, _ = judge(state, [ProbeReading("a", value, noise)], drift, f"b{number}")
    found = deviation(state, ProbeReading("a", last, noise), drift)
    assert found == 0 or abs(found) > drift
