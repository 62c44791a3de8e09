"""What a job costs the host with 10, 100 and 1,000 phones: scheduler, ledger, the rest of the driver, and ingestion.

The phones are simulated: a fake agent with a latency model speaks the broker's messages in this process. Scheduler,
Run, ledger (with its journal, synced) and ingestion are the real ones. Time is the phones': what they would do in a
second is handed to the driver at once, so a run shows what the driver costs and not how long phones take. The cost is
processor time of the whole process, which other programs on the machine change little; wall time, in which waiting for
the disk and for a processor is counted, stands beside it.

    python -m tests.bench.bench_scale --jobs 1000000 --plot docs/images/scale.png
"""

from __future__ import annotations

import heapq
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated, Any

import pyarrow.parquet as pq
import typer

from splitfleet.pipeline.directory import Directory
from splitfleet.pipeline.ingestion import ingest
from splitfleet.pipeline.jobs import Job
from splitfleet.pipeline.ledger import Ledger
from splitfleet.pipeline.messages import (
    BatchStopped,
    PhoneArrived,
    PhoneCommand,
    PhoneMessage,
    RemoveBatch,
    ResultsRead,
    StartBatch,
    StatusChanged,
)
from splitfleet.pipeline.phone_state import PhoneState, PhoneStatus
from splitfleet.pipeline.profile import DeviceProfile
from splitfleet.pipeline.readings import Readings
from splitfleet.pipeline.run import Run
from splitfleet.pipeline.scheduling import Pacing

from ..pipeline.profiles import profile

_PHONES_OF_A_CLASS = 10
_POLL_S = 1.0
_REPETITIONS = 20
_PARTS = ("planning", "scheduler", "ledger", "driver", "ingestion")


class Stopwatch:
    """How long was spent in each part; time in an inner part does not count for the outer one. `clock` is one of
    Python's that give seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.spent_s: dict[str, float] = dict.fromkeys(_PARTS, 0.0)
        self._clock = clock
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        self._turn()
        self._open.append(part)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def wrap(self, thing: Any, method: str, part: str) -> None:
        """Counts the calls of a method for a part."""
        original = getattr(thing, method)

        def timed(*arguments: Any, **named: Any) -> Any:
            with self.of(part):
                return original(*arguments, **named)

        setattr(thing, method, timed)

    def _turn(self) -> None:
        now = self._clock()
        if self._open:
            self.spent_s[self._open[-1]] += now - self._since
        self._since = now


class FakePhones:
    """Phones that measure on a clock of their own. A job takes 20 ms to 200 ms, some phones are slower, 1 % of results
    are noisy; a phone is read every second."""

    def __init__(self, profiles: dict[str, DeviceProfile], seed: int) -> None:
        self._random = Random(seed)
        self._profiles = profiles
        self._speed = {address: self._random.uniform(0.7, 1.4) for address in profiles}
        self._free_s = dict.fromkeys(profiles, 0.0)  # until when each is at the batches that it has
        self._events: list[tuple[float, int, PhoneMessage]] = []
        self._now_s = 0.0
        self._count = 0
        self.removed = 0

    def arrivals(self) -> list[PhoneMessage]:
        ready = [StatusChanged(PhoneStatus(address, PhoneState.READY)) for address in self._profiles]
        arrived = [PhoneArrived(name, 1, f"serial-{name}", found, ()) for name, found in self._profiles.items()]
        return [*ready, *arrived]

    def command(self, address: str, session: int, command: PhoneCommand) -> None:
        match command:
            case StartBatch(batch=batch, job_file=text):
                self._execute(address, batch, text)
            case RemoveBatch():
                self.removed += 1
            case _:
                raise AssertionError(f"{address} is told {command}, but it never left and never drifted")

    def poll(self) -> list[PhoneMessage]:
        """What happens in the next second of the phones' time; where nothing does, in the second of the next event."""
        self._now_s = max(self._now_s, self._events[0][0] if self._events else 0.0) + _POLL_S
        messages = []
        while self._events and self._events[0][0] <= self._now_s:
            messages.append(heapq.heappop(self._events)[2])
        return messages

    def _execute(self, address: str, batch: str, text: str) -> None:
        """Puts what the agent would write, and when the host would read it, into the queue."""
        at_s = max(self._now_s, self._free_s[address])  # it may have been given ahead
        offset, read_s = 0, at_s + _POLL_S
        lines: list[dict[str, Any]] = [{"type": "agent", "build": "b1"}]
        for job in map(json.loads, text.splitlines()):
            if job["type"] != "job":
                continue
            took_s = self._random.uniform(0.02, 0.2) * self._speed[address]
            at_s += took_s
            while at_s > read_s:
                offset += 300 * len(lines)
                self._at(read_s, ResultsRead(address, batch, tuple(lines), offset))
                lines, read_s = [], read_s + _POLL_S
            lines.append(self._result(job["id"], took_s))
        self._free_s[address] = read_s
        lines.append({"type": "end"})
        self._at(read_s, ResultsRead(address, batch, tuple(lines), offset + 300 * len(lines)))
        self._at(read_s, BatchStopped(address, batch, Readings(hottest_c=30.0), Readings(hottest_c=31.0)))

    def _result(self, job: str, took_s: float) -> dict[str, Any]:
        samples = {"wall_ns": [self._random.randrange(10**6, 10**7) for _ in range(_REPETITIONS)]}
        status = "noisy" if self._random.random() < 0.01 else "ok"
        took_us = round(took_s * 1e6)
        head = {"type": "result", "id": job, "status": status, "elapsed_us": took_us, "warmup": 3}
        return {**head, "samples": samples, "rejected": {"context_switch": 0, "event_order": 0}}

    def _at(self, when_s: float, message: PhoneMessage) -> None:
        self._count += 1
        heapq.heappush(self._events, (when_s, self._count, message))


def jobs_of(device_class: str, count: int) -> Iterator[Job]:
    """CPU jobs, each about 400 bytes; ids as scattered as hashes are."""
    random = Random(device_class)
    repeat = {"warmup": 3, "min_count": 9, "min_time_us": 20000, "max_count": 20, "max_time_us": 100_000, "ci": 0.03}
    for number in range(count):
        operator = {"type": "linear", "rows": 1 + number % 256, "in_features": 768, "out_features": 4 * number + 4}
        part = {"threads": 1, "core_mask": 3, "backend": "eigen", "verify": True}
        body = {"kind": "cpu", "operator": operator, **part, "repeat": repeat}
        yield Job(f"{random.getrandbits(96):024x}", body, ())


@dataclass(frozen=True)
class Cost:
    """What one run took: processor time of each part, and the wall time of all; microseconds a job."""

    phones: int
    jobs: int
    part_us: dict[str, float]
    wall_us: float
    peak_bytes: int
    journal_bytes: int
    ledger_bytes: int


def measure(phones: int, jobs: int, folder: Path) -> Cost:
    """Runs so many jobs on so many phones, and checks that each has exactly one trace.

    $SPLITFLEET_HOME names a folder of its own: the ledger in it is weighed at the end.
    """
    home = Path(os.environ["SPLITFLEET_HOME"])
    watch, began_s = Stopwatch(time.process_time), time.perf_counter()
    classes = [f"Phone {number}" for number in range(max(phones // _PHONES_OF_A_CLASS, 1))]
    profiles = {f"10.0.{n // 256}.{n % 256}:5555": profile(classes[n % len(classes)]) for n in range(phones)}
    by_class = {found.device_class: found for found in profiles.values()}
    shares = {name: jobs // len(by_class) + (number < jobs % len(by_class)) for number, name in enumerate(by_class)}
    fake = FakePhones(profiles, seed=1)
    with Ledger(folder) as ledger:
        directory = Directory(ledger)
        with watch.of("planning"):
            run = Run(
                {name: jobs_of(name, share) for name, share in shares.items()},
                "measure",
                ledger,
                directory,
                fake,
                seed=0,
                pacing=Pacing(),
            )
        _time_parts(watch, run, ledger)
        with watch.of("driver"):
            run.take(*fake.arrivals())
        while not run.scheduler.is_finished:
            messages = fake.poll()
            with watch.of("driver"):
                run.take(*messages)
                run.tick()
                run.lines()
        with watch.of("ingestion"):
            ingest(ledger, folder)
        wall_s = time.perf_counter() - began_s
        found = ledger.counts()
    assert sum(row["jobs"] for row in found if row["purpose"] == "measure") == jobs
    assert all(row["done"] + row["rejected"] == row["jobs"] for row in found)
    traces = sum(row["jobs"] for row in found)  # a twentieth is measured by two phones
    files = [pq.ParquetFile(path) for path in (folder / "traces").rglob("*.parquet")]
    assert 0 < len(files) <= phones
    assert sum(file.metadata.num_rows for file in files) == traces
    return Cost(
        phones,
        jobs,
        {part: spent_s / jobs * 1e6 for part, spent_s in watch.spent_s.items()},
        wall_s / jobs * 1e6,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        sum(path.stat().st_size for path in (folder / "journal").iterdir()),
        sum(path.stat().st_size for path in home.rglob("ledger.sqlite")),
    )


def _time_parts(watch: Stopwatch, run: Run, ledger: Ledger) -> None:
    watch.wrap(run.scheduler, "handle", "scheduler")
    watch.wrap(ledger._database, "_commit", "ledger")
    for method in ("record", "lease", "release", "jobs_of", "set_offset", "set_agent", "set_readings"):
        watch.wrap(ledger, method, "ledger")


def measure_apart(phones: int, jobs: int) -> Cost:
    """As `measure`, in a process of its own, whose memory is its own."""
    with tempfile.TemporaryDirectory() as name:
        environment = {**os.environ, "SPLITFLEET_HOME": f"{name}/home"}
        command = [sys.executable, "-m", "tests.bench.bench_scale", "--one", str(phones), "--jobs", str(jobs)]
        done = subprocess.run(
            [*command, "--folder", f"{name}/run"], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return Cost(**json.loads(done.stdout))


def report(costs: list[Cost], say: Callable[[str], None] = print) -> None:
    say(f"\n| phones | jobs | {' | '.join(_PARTS)} | sum, us a job | wall, us a job | peak memory | journal | ledger |")
    say("|" + "---|" * (len(_PARTS) + 7))
    for cost in costs:
        parts = " | ".join(f"{cost.part_us[part]:.0f}" for part in _PARTS)
        sizes = " | ".join(
            f"{size / 2**20:.0f} MiB" for size in (cost.peak_bytes, cost.journal_bytes, cost.ledger_bytes)
        )
        times = f"{parts} | {sum(cost.part_us.values()):.0f} | {cost.wall_us:.0f}"
        say(f"| {cost.phones:,} | {cost.jobs:,} | {times} | {sizes} |")


def plot(costs: list[Cost], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for part in _PARTS:
        axes.plot([cost.phones for cost in costs], [cost.part_us[part] for cost in costs], marker="o", label=part)
    axes.set(xscale="log", xlabel="phones", ylabel="processor time, µs a job", ylim=(0, None))
    axes.set_title(f"What a job costs the host, {costs[-1].jobs:,} jobs")
    figure.legend(loc="outside center right")
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def bench_cost_stays_flat() -> None:
    costs = [measure_apart(phones, 20_000) for phones in (10, 100, 1000)]
    report(costs)
    for part in ("scheduler", "ledger", "ingestion"):
        most, least = (f(cost.part_us[part] for cost in costs) for f in (max, min))
        print(f"{part}: the dearest is {most / least:.2f} times the cheapest")


def main(
    jobs: int = 100_000,
    phones: Annotated[list[int] | None, typer.Option()] = None,
    save: Annotated[Path | None, typer.Option("--plot", help="Save a plot here.")] = None,
    one: Annotated[int, typer.Option(hidden=True)] = 0,
    folder: Annotated[Path, typer.Option(hidden=True)] = Path("run"),
) -> None:
    if one:
        cost = measure(one, jobs, folder)
        print(json.dumps({name: getattr(cost, name) for name in Cost.__dataclass_fields__}))
        return
    costs = []
    for count in phones or [10, 100, 1000]:
        costs.append(measure_apart(count, jobs))
        report(costs[-1:])
    report(costs)
    if save:
        plot(costs, save)


if __name__ == "__main__":
    typer.run(main)
