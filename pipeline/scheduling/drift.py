"""Whether a phone still runs as fast as it did: the rule that compares a probe with the phone's earlier ones.

A probe job's reading is the median of its repetitions. The phone's base is the median of its first five good readings
of that job. A reading is off when it differs from the base by more than

    max(drift, z * noise),    z = 4 (1 + 3 / n)

where noise is the larger of two relative figures: the standard error of the reading's own median, and the scatter of
the job's last n <= 15 readings on this phone (1.4826 x their median absolute deviation; those of a drift left out). z
allows for base and scatter being estimates themselves. Before there are five readings nothing is said: until then a
phone is probed at each batch. On simulated phones with normal errors a shift by max(5 %, 10 sigma) is found, and out of
1,000 probes of a phone that does not change, none seems to be a drift where sigma is 1 %, 0.4 where it is 2 %, 3 where
it is 10 %.

One reading may be a chance, so the next batch begins with a probe again: a phone has drifted when the same job is off
twice in a row in the same direction, or any job `PATIENCE` times in a row. It then rests and is only probed. When its
probes are good again it works on; when they stay off for `PATIENCE` more rounds, that level is its new base.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from statistics import median

BASE_READINGS = 5
RECENT_READINGS = 15
PATIENCE = 4
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True)
class ProbeReading:
    """What a probe job read. `noise` is the relative standard error of the median."""

    job: str
    median_us: float
    noise: float


class Verdict(Enum):
    """What a round of probes says about the phone."""

    GOOD = "good"
    SUSPECT = "suspect"
    DRIFTED = "drifted"
    NEW_LEVEL = "new level"


@dataclass(frozen=True)
class ProbeState:
    """What is remembered of a phone's probes. By job: the first good medians and the last ones, in us.

    `suspected` are the jobs whose last reading was off, and by how much; `rounds_suspected` counts such rounds in a
    row, `doubted_us` holds their readings. `rounds_off` counts the rounds since the phone has drifted; None while it
    has not. Results of the batch `since` and of later ones are not yet followed by a good probe.
    """

    base_us: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    recent_us: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    suspected: Mapping[str, float] = field(default_factory=dict)
    rounds_suspected: int = 0
    doubted_us: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    rounds_off: int | None = None
    since: str | None = None

    @property
    def has_base(self) -> bool:
        return bool(self.base_us) and all(len(values) >= BASE_READINGS for values in self.base_us.values())


def limit_of(recent_us: Sequence[float], noise: float, drift: float) -> float:
    """By how much, relative to the base, a reading may differ from it."""
    n = len(recent_us)
    middle = median(recent_us)
    scatter = _MAD_TO_SIGMA * median(abs(value - middle) for value in recent_us) / middle
    return max(drift, 4 * (1 + 3 / n) * max(noise, scatter))


def deviation(state: ProbeState, reading: ProbeReading, drift: float) -> float:
    """By how much (relative, slower is positive) the reading is off; 0 where the rule allows the difference."""
    base = state.base_us.get(reading.job, ())
    if len(base) < BASE_READINGS:
        return 0.0
    ratio = reading.median_us / median(base)
    excess = max(ratio, 1 / ratio) - 1
    if excess <= limit_of(state.recent_us[reading.job], reading.noise, drift):
        return 0.0
    return excess if ratio > 1 else -excess


def judge(
    state: ProbeState, readings: Iterable[ProbeReading], drift: float, batch: str
) -> tuple[Verdict, ProbeState, str]:
    """Judges a round of probes that began the batch. Returns the verdict, the state from now on, and why."""
    readings = list(readings)
    found = {reading.job: deviation(state, reading, drift) for reading in readings}
    off = {job: value for job, value in found.items() if value}
    if not off:
        return Verdict.GOOD, _with(state, readings, batch), ""
    reason = _reason(off, state)
    if state.rounds_off is not None:
        if state.rounds_off + 1 >= PATIENCE:
            return Verdict.NEW_LEVEL, _with(ProbeState(), readings, batch), reason
        return Verdict.DRIFTED, replace(state, rounds_off=state.rounds_off + 1, since=batch), reason
    rounds = state.rounds_suspected + 1
    if rounds >= PATIENCE or any(value * state.suspected.get(job, 0.0) > 0 for job, value in off.items()):
        return Verdict.DRIFTED, replace(_cleared(state), rounds_off=0, since=batch), reason
    doubted = _longer(state.doubted_us, readings)
    return Verdict.SUSPECT, replace(state, suspected=off, rounds_suspected=rounds, doubted_us=doubted), reason


def _with(state: ProbeState, readings: Iterable[ProbeReading], batch: str) -> ProbeState:
    """The state after a good round. What was doubted before was chance, and tells of the scatter."""
    readings = list(readings)
    base = _longer(state.base_us, [each for each in readings if len(state.base_us.get(each.job, ())) < BASE_READINGS])
    recent = {job: (*values, *state.doubted_us.get(job, ())) for job, values in state.recent_us.items()}
    return ProbeState(base, {job: v[-RECENT_READINGS:] for job, v in _longer(recent, readings).items()}, since=batch)


def _longer(
    values_us: Mapping[str, tuple[float, ...]], readings: Iterable[ProbeReading]
) -> dict[str, tuple[float, ...]]:
    return {**values_us, **{each.job: (*values_us.get(each.job, ()), each.median_us) for each in readings}}


def _cleared(state: ProbeState) -> ProbeState:
    return replace(state, suspected={}, rounds_suspected=0, doubted_us={})


def _reason(off: Mapping[str, float], state: ProbeState) -> str:
    job, worst = max(off.items(), key=lambda item: abs(item[1]))
    base_us = median(state.base_us[job])
    return (
        f"probe {job[:8]} is {abs(worst):.0%} {'slower' if worst > 0 else 'faster'} than its base of {base_us:.0f} us"
    )
