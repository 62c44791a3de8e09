"""What a scheduler needs to know to begin, or to go on with, the jobs of a device class: taken from the ledger."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from .jobs import Job
from .ledger import Ledger, OpenBatch
from .profile import DeviceProfile
from .scheduling import PROBE, SISTER, Added, Past, ProbeState, Task, WaitingJob, is_sister

_EXTRA_TIME_US = 200_000  # a first guess of what building, warming up and verifying add to a job
_UNVERIFIED = ("sync", "transfer")  # kinds of jobs that compute nothing which would have to be verified
_PROBES_KEY = "probes {} {}"

JobPlanner = Callable[[DeviceProfile], Sequence[Job]]


@dataclass(frozen=True)
class Enrolled:
    """A device class's event for the scheduler, its number of jobs, and of those with a trace by its status."""

    added: Added
    jobs: int
    settled: Counter[str]


@dataclass
class _Traces:
    """The accepted traces of a class. Of most jobs only the id is kept: there may be a million."""

    settled: set[str] = field(default_factory=set)
    rejected: dict[str, str] = field(default_factory=dict)  # by job, the status
    measured_on: dict[str, str] = field(default_factory=dict)
    sisters: dict[str, tuple[str, str]] = field(default_factory=dict)
    accepted: dict[str, tuple[str, tuple[Task, ...]]] = field(default_factory=dict)


def enrol(
    ledger: Ledger,
    device_class: str,
    jobs: Iterable[Job],
    probes: Sequence[Job],
    purpose: str,
    seed: int,
    sister_fraction: float,
) -> Enrolled:
    """Plans the jobs and the probe jobs in the ledger, and says what there is to do, and what was done before."""
    leases = {batch.id: (batch.phone, _tasks(batch)) for batch in ledger.open_batches(purpose)}
    states = dict(_probe_states(ledger, device_class))
    traces = _traces(ledger, device_class, purpose, leases.keys(), states, seed, sister_fraction)
    named = {task.job for _, tasks in (*leases.values(), *traces.accepted.values()) for task in tasks}
    named.update(traces.measured_on, traces.sisters)
    waiting: dict[str, WaitingJob] = {}
    settled: dict[str, WaitingJob] = {}
    seen: set[str] = set()
    statuses: Counter[str] = Counter()
    built: set[str] = set()

    def noted() -> Iterator[Job]:
        for job in jobs:
            if job.id in waiting or job.id in seen:
                continue
            if job.id not in traces.settled:
                waiting[job.id] = _waiting(job, device_class, built)
            else:
                statuses[traces.rejected.get(job.id, "ok")] += 1
                seen.add(job.id)
                if job.id in named:
                    settled[job.id] = _waiting(job, device_class, built)
            yield job

    ledger.plan(noted(), device_class, purpose)
    ledger.plan(probes, device_class, PROBE)
    known = waiting.keys() | settled.keys()
    past = Past(
        leases=leases,
        accepted=traces.accepted,
        measured_on={job: phone for job, phone in traces.measured_on.items() if job in known},
        sisters={job: where for job, where in traces.sisters.items() if job in known},
        failures=_by_task(ledger.failures, purpose),
        repeats=_by_task(ledger.repeats, purpose),
        probes=states,
    )
    probe_jobs = tuple(WaitingJob(job.id, device_class, PROBE, job.max_time_us) for job in probes)
    added = Added(device_class, tuple(waiting.values()), probe_jobs, tuple(settled.values()), past)
    return Enrolled(added, len(waiting) + statuses.total(), statuses)


def remember_probes(ledger: Ledger, phone: str, device_class: str, state: ProbeState) -> None:
    """Keeps what is known of a phone's probes for the next start."""
    ledger.put(_PROBES_KEY.format(device_class, phone), json.dumps(asdict(state), sort_keys=True))


def _probe_states(ledger: Ledger, device_class: str) -> Iterator[tuple[str, ProbeState]]:
    for phone in ledger.phones():
        text = ledger.get(_PROBES_KEY.format(device_class, phone["label"]))
        if text:
            data = json.loads(text)
            for name in ("base_us", "recent_us", "doubted_us"):
                data[name] = {job: tuple(values) for job, values in data[name].items()}
            yield phone["label"], ProbeState(**data)


def _traces(
    ledger: Ledger,
    device_class: str,
    purpose: str,
    open_batches: Iterable[str],
    states: Mapping[str, ProbeState],
    seed: int,
    sister_fraction: float,
) -> _Traces:
    found = _Traces()
    is_open = set(open_batches)
    for of in (purpose, SISTER):
        for each in ledger.accepted_of(device_class, of):
            if of == SISTER:
                found.sisters[each.job] = (each.phone, each.batch)
            else:
                found.settled.add(each.job)
                if each.status != "ok":
                    found.rejected[each.job] = each.status
                elif purpose == "measure" and is_sister(each.job, seed, sister_fraction):
                    found.measured_on[each.job] = each.phone
            state = states.get(each.phone)
            if each.batch in is_open or (state and _order(each.batch) >= _order(state.since or "")):
                _, tasks = found.accepted.get(each.batch, ("", ()))
                found.accepted[each.batch] = (each.phone, (*tasks, Task(each.job, of)))
    return found


def _order(batch: str) -> tuple[int, str]:
    """Batches' ids end in a number that grows, and its length with it."""
    return len(batch), batch


def _tasks(batch: OpenBatch) -> tuple[Task, ...]:
    return tuple(map(Task, batch.jobs, batch.purposes))


def _waiting(job: Job, device_class: str, built: set[str]) -> WaitingJob:
    """`built` are the programs of the jobs before, and gets this one's."""
    programs = {program.id for program in job.programs}
    is_short = job.kind in _UNVERIFIED and programs <= built
    built |= programs
    return WaitingJob(job.id, device_class, job.kind, job.max_time_us + (0 if is_short else _EXTRA_TIME_US))


def _by_task(count: Callable[[str], Mapping[str, int]], purpose: str) -> dict[Task, int]:
    return {Task(job, of): number for of in (purpose, SISTER) for job, number in count(of).items()}
