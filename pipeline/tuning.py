"""`splitfleet tune`: which work-group each layer's kernel is fastest with, on the phone itself.

Two rounds, as in the proof of split tables. First every candidate is timed by itself. The fastest of many is flattered
by having been picked, so it counts no further: in the second round it runs interleaved with the rules' own work-group
and is kept only where it is faster in so many rounds that chance is ruled out (a sign test, which asks nothing of how
times are distributed).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from scipy.stats import binomtest

from splitfleet.kernels import Operator
from splitfleet.kernels.lowering import work_group_candidates
from splitfleet.kernels.programs import Variant
from splitfleet.kernels.tuning import Trial, TunedChoice, Tuning, WorkGroup
from splitfleet.predictors.traces import read_traces

from .campaign import Campaign, Phones, Repeat
from .fleet import Fleet, FleetSettings
from .jobs import Job, JobFactory
from .profile import DeviceProfile
from .progress import Progress, progress_on
from .tuning_store import save_tuning

TUNING_FOLDER = "tuning"
_TRIAL_REPEAT = Repeat(warmup=2, min_count=9, min_time_us=10_000, max_count=40, max_time_us=150_000)
_COMPARE_REPEAT = Repeat(warmup=2, max_time_us=10_000_000)
_SIGNIFICANCE = 0.05
_DEFAULT, _OWN, _FAMILY = "default", "own", "family"

Traces = Mapping[str, Mapping[Hashable, Any]]


@dataclass(frozen=True)
class TunedClass:
    """A device class's tuning and the file that it is kept in."""

    tuning: Tuning
    defaults: Mapping[Operator, WorkGroup]
    path: Path


@dataclass(frozen=True)
class Contest:
    """One operator's second round: the rules' own work-group against the first round's winners, in one job."""

    operator: Operator
    kernel: str
    job: Job


def tune_campaign(
    campaign: Campaign,
    folder: Path,
    *,
    phones: Phones | None = None,
    progress: Progress | None = None,
    settings: FleetSettings | None = None,
) -> list[TunedClass]:
    """Tunes the campaign's layers on every device class present, and keeps each tuning for later campaigns.

    Measurements lie in `<folder>/tuning`, with a ledger of their own; those made before are not made again. Raises
    UserError and DeviceError as `run_campaign` does, KeyboardInterrupt when a person stops it.
    """
    progress = progress or progress_on(Console(stderr=True))
    folder = folder / TUNING_FOLDER
    operators = list(dict.fromkeys(layer.operator for layer in campaign.layers))
    conditions = campaign.measure.conditions
    with Fleet(
        phones or campaign.phones,
        folder,
        progress,
        conditions=conditions,
        seed=campaign.seed,
        pacing=campaign.fleet.pacing,
        settings=settings,
    ) as fleet:
        profiles = fleet.profiles()
        trials = {name: _trials(operators, profile) for name, profile in profiles.items()}
        traces = _run(fleet, {name: [job for _, job in listed] for name, listed in trials.items()}, "trial")
        first = {name: _tuning(name, listed, traces) for name, listed in trials.items()}
        contests = {name: _contests(first[name], profile, campaign) for name, profile in profiles.items()}
        traces = _run(fleet, {name: [each.job for each in listed] for name, listed in contests.items()}, "compare")
    tuned = []
    for name, tuning in first.items():
        defaults = {trial.operator: trial.local for trial, _ in reversed(trials[name])}
        kept = confirmed(tuning, defaults, [(each, _rounds(each, traces)) for each in contests[name]])
        tuned.append(TunedClass(kept, defaults, save_tuning(kept)))
    return tuned


def _trials(operators: Iterable[Operator], profile: DeviceProfile) -> list[tuple[Trial, Job]]:
    """A job for each candidate of each operator, the rules' own work-group first; the times are still to come."""
    make = JobFactory(profile, _TRIAL_REPEAT)
    found: dict[str, tuple[Trial, Job]] = {}
    for operator in operators:
        kernel = str(make.gpu(operator).body["plan"]["kernel"])
        for local in work_group_candidates(operator, profile.device, precision=profile.conditions.precision):
            job = make.gpu(operator, tuned=Tuning.of_one(operator, kernel, local))
            found.setdefault(job.id, (Trial(operator, kernel, local, float("nan")), job))
    return list(found.values())


def _tuning(device_class: str, trials: Iterable[tuple[Trial, Job]], traces: Traces) -> Tuning:
    """The winners of the first round. An operator whose own work-group gave no time is left out."""
    timed: dict[Operator, list[Trial]] = {}
    failed = set()
    for trial, job in trials:
        trace = traces.get(job.id)
        if trace is not None and trace["status"] == "ok":
            timed.setdefault(trial.operator, []).append(replace(trial, time_us=float(np.median(_execution_us(trace)))))
        elif trial.operator not in timed:
            failed.add(trial.operator)
    return Tuning.from_trials(
        device_class, [each for operator, own in timed.items() if operator not in failed for each in own]
    )


def _contests(tuning: Tuning, profile: DeviceProfile, campaign: Campaign) -> list[Contest]:
    make = JobFactory(profile, _COMPARE_REPEAT)
    contests = []
    for choice in tuning.choices:
        default = work_group_candidates(choice.operator, profile.device, precision=profile.conditions.precision)[0]
        family = tuning.families.get(Variant.parse(choice.kernel).family, default)
        named = {_DEFAULT: default, _OWN: choice.local, _FAMILY: family}
        jobs = {
            name: make.gpu(choice.operator, tuned=Tuning.of_one(choice.operator, choice.kernel, local))
            for name, local in named.items()
            if name == _DEFAULT or local != default
        }
        if len(jobs) > 1:
            job = make.compare(jobs, campaign.publish.rounds)
            contests.append(Contest(choice.operator, choice.kernel, job))
    return contests


def confirmed(
    tuning: Tuning,
    defaults: Mapping[Operator, WorkGroup],
    contests: Sequence[tuple[Contest, Mapping[str, NDArray[np.float64]]]],
) -> Tuning:
    """The tuning with only those winners that also won interleaved, and with the times from there.

    `contests` come with the times in us of each of their work-groups, by round; empty where the phone gave none. An
    operator without a winner keeps the rules' own work-group, whatever is best for its family.
    """
    rounds = {contest.operator: times for contest, times in contests if times}
    choices = []
    for choice in tuning.choices:
        times = rounds.get(choice.operator, {})
        if _OWN in times and _is_faster(times[_OWN] - times[_DEFAULT]):
            figures = (float(np.median(times[_OWN])), float(np.median(times[_DEFAULT])))
            choices.append(TunedChoice(choice.operator, choice.kernel, choice.local, *figures))
        else:
            own_us = float(np.median(times[_DEFAULT])) if times else choice.default_us
            choices.append(TunedChoice(choice.operator, choice.kernel, defaults[choice.operator], own_us, own_us))
    families = {}
    for family, local in tuning.families.items():
        gains = [
            times[_FAMILY] - times[_DEFAULT]
            for contest, times in contests
            if _FAMILY in times and Variant.parse(contest.kernel).family == family
        ]
        if gains and _is_faster(np.concatenate(gains)):
            families[family] = local
    return Tuning(tuning.device_class, tuple(choices), families)


def _is_faster(differences_us: NDArray[np.float64]) -> bool:
    """Whether more rounds were faster (negative) than chance explains."""
    wins = int(np.count_nonzero(differences_us < 0))
    return bool(binomtest(wins, len(differences_us), alternative="greater").pvalue < _SIGNIFICANCE)


def _run(fleet: Fleet, jobs: Mapping[str, Sequence[Job]], purpose: str) -> Traces:
    if fleet.run(jobs, purpose).was_interrupted:
        raise KeyboardInterrupt
    traces = read_traces(fleet.folder)
    rows = traces[traces["purpose"] == purpose]
    return {str(row["job_id"]): dict(row) for row in rows.to_dict("records")}


def _rounds(contest: Contest, traces: Traces) -> dict[str, NDArray[np.float64]]:
    """The execution times in us of each work-group, by round; nothing where the phone gave no valid result."""
    trace = traces.get(contest.job.id)
    if trace is None or trace["status"] != "ok":
        return {}
    return {variant["name"]: _execution_us(variant) for variant in trace["variants"]}


def _execution_us(samples: Mapping[Any, Any]) -> NDArray[np.float64]:
    start, end = (np.asarray(samples[name], dtype=np.float64) for name in ("start_ns", "end_ns"))
    return np.asarray((end - start) / 1e3)
