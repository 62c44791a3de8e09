"""A virtual phone and a fleet that measures small jobs on it, while something is done to either.

Each run has jobs of its own, and a fault strikes it at a place that a seed chooses. Afterwards the ledger and the
traces are asked whether anything is lost, counted twice or changed.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import TracebackType

import numpy as np

from splitfleet.kernels.errors import DeviceError
from splitfleet.pipeline.campaign import Phones
from splitfleet.pipeline.fleet import Fleet, FleetSettings
from splitfleet.pipeline.jobs import Job
from splitfleet.pipeline.ledger import Ledger
from splitfleet.pipeline.profile import DeviceProfile
from splitfleet.pipeline.progress import PhoneLine
from splitfleet.predictors.traces import read_traces

from ..infra.phones import RunningPhone, wait_until
from .driver import PACING, tiny_jobs
from .record import Outcome

JOBS = 30
_JOBS_BEFORE = 6
_PATIENCE_S = 180.0
_STARTS = 4
_numbers = itertools.count(1, JOBS)

Rows = dict[tuple[str, str, str], tuple[int, str]]


class Watch:
    """A fleet's progress; remembers which states the phones were in, and why."""

    def __init__(self) -> None:
        self.states: set[str] = set()
        self.reasons: set[str] = set()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, lines: list[PhoneLine]) -> None:
        self.states |= {line.status.state.value for line in lines}
        self.reasons |= {line.status.reason for line in lines}

    def note(self, text: str) -> None:
        self.reasons.add(text)


def new_jobs(profile: DeviceProfile) -> list[Job]:
    """JOBS jobs that nobody has measured."""
    return tiny_jobs(profile, next(_numbers), JOBS)


def accepted(folder: Path, jobs: Sequence[str] | None = None) -> Rows:
    """By job, phone and purpose, the accepted attempt and its result; of all jobs or of these."""
    wanted = None if jobs is None else set(jobs)
    with Ledger(folder, read_only=True) as ledger:
        return {
            (row["job"], row["phone"], row["purpose"]): (row["attempt"], row["result"])
            for row in ledger.accepted()
            if wanted is None or row["job"] in wanted
        }


@dataclass
class Verdict:
    """Compares a campaign folder with what it held when the fault struck. `before` is set at that moment."""

    folder: Path
    jobs: list[str]
    before: Rows = field(default_factory=dict)

    def outcome(self, fault: str, seed: int, extra_s: float) -> Outcome:
        """Asserts that nothing that was accepted has changed, and that traces and ledger say the same."""
        rows = accepted(self.folder, self.jobs)
        assert self.before, "the fault struck before anything was accepted"
        gone = self.before.keys() - rows.keys()
        changed = {key for key in self.before.keys() & rows.keys() if rows[key] != self.before[key]}
        assert not gone | changed, f"accepted before the fault, and then gone or changed: {gone | changed}"
        results = {job: json.loads(text) for (job, _, _), (_, text) in rows.items()}
        twice = len(rows) - len(results)
        lost = [job for job in self.jobs if results.get(job, {}).get("status") not in ("ok", "noisy")]
        self._check_traces(results)
        return Outcome(fault, seed, len(self.jobs), len(lost), twice, extra_s)

    def _check_traces(self, results: dict[str, dict[str, object]]) -> None:
        traces = read_traces(self.folder)
        traces = traces[traces["job_id"].isin(self.jobs)]
        assert sorted(traces["job_id"]) == sorted(results), "traces and ledger differ"
        for row in traces.itertuples():
            samples = results[str(row.job_id)].get("samples") or {}
            assert isinstance(samples, dict)
            assert np.array_equal(row.wall_ns, samples.get("wall_ns", [])), f"job {row.job_id}: other samples"


class Striker(threading.Thread):
    """Strikes after a while, beside the run."""

    def __init__(self, wait_s: float, strike: Callable[[], object]) -> None:
        super().__init__(name="striker")
        self._wait_s, self._strike = wait_s, strike
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            time.sleep(self._wait_s)
            self._strike()
        except BaseException as error:
            self._error = error

    def finish(self) -> None:
        """Waits until the fault is over; raises what went wrong."""
        self.join(2 * _PATIENCE_S)
        if self._error:
            raise self._error
        assert not self.is_alive(), "the fault is still striking"


@dataclass
class Lab:
    """A phone, and the fleet that it is alone in."""

    phone: RunningPhone
    fleet: Fleet
    watch: Watch
    profile: DeviceProfile
    usual_s: float = 0.0

    def struck(
        self,
        fault: str,
        seed: int,
        strike: Callable[[Random], object] = lambda _: None,
        armed: Callable[[Random], object] = lambda _: None,
    ) -> Outcome:
        """Measures some jobs, arms the fault, and measures the others while it strikes.

        The run is started again where it gives up, as a person would.
        """
        chance = Random(f"{fault} {seed}")
        jobs = new_jobs(self.profile)
        verdict = Verdict(self.fleet.folder, [job.id for job in jobs])
        self.watch.states.clear()
        self.watch.reasons.clear()
        began = time.monotonic()
        self.measure(jobs[:_JOBS_BEFORE])
        verdict.before = accepted(self.fleet.folder, verdict.jobs)
        armed(chance)
        striker = Striker(chance.uniform(0, 0.5), lambda: strike(chance))
        striker.start()
        for start in itertools.count(1):
            try:
                self.measure(jobs)
                break
            except DeviceError:
                striker.finish()
                if start == _STARTS:
                    raise
        took_s = time.monotonic() - began
        striker.finish()
        return verdict.outcome(fault, seed, took_s - self.usual_s)

    def measure(self, jobs: list[Job]) -> None:
        """Until each has a trace."""
        self.fleet.run({self.profile.device_class: jobs}, "measure")

    def measure_usual(self) -> None:
        """How long the jobs take when nothing happens: the second of two runs, since the first one learns."""
        for _ in range(2):
            jobs = new_jobs(self.profile)
            began = time.monotonic()
            self.measure(jobs[:_JOBS_BEFORE])
            self.measure(jobs)
            self.usual_s = time.monotonic() - began

    def await_state(self, *states: str) -> None:
        """Waits until the phone has been in one of these states since the run began."""
        found = self.watch.states
        assert wait_until(lambda: not found.isdisjoint(states), _PATIENCE_S), f"never {states}: {found}"

    def await_log(self, text: str) -> None:
        """Waits until the phone has said this once more than before."""
        assert wait_until(lambda: text in self.phone.log.read_text()[self._log_read :], _PATIENCE_S), f"never: {text}"

    _log_read: int = 0

    def mark_log(self) -> None:
        """What the phone has said so far does not count."""
        self._log_read = len(self.phone.log.read_text())


@contextmanager
def open_lab(
    phone: RunningPhone, folder: Path, settings: FleetSettings, *others: RunningPhone, usual_s: float | None = None
) -> Iterator[Lab]:
    """A fleet of this phone and the others; Ray must be running."""
    watch = Watch()
    phones = Phones(tcp=tuple(one.address for one in (phone, *others)))
    with Fleet(phones, folder, watch, seed=1, settings=settings, pacing=PACING) as fleet:
        [profile] = fleet.profiles().values()
        lab = Lab(phone, fleet, watch, profile, usual_s or 0.0)
        if usual_s is None:
            lab.measure_usual()
        yield lab
