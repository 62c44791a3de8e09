"""The fleet: phones served by Ray brokers, driven from here. Whoever has jobs to run uses this.

with Fleet(campaign.phones, folder) as fleet:
    profiles = fleet.profiles()
    fleet.run({name: jobs for name in profiles}, purpose="measure")
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from splitfleet.kernels.errors import DeviceError, SplitfleetError, UserError

from .broker import BrokerSetup
from .brokers import Brokers, ray_brokers
from .campaign import Phones
from .conditions import Conditions
from .directory import Directory
from .health import Limits
from .host_files import write_json, writing_into
from .ingestion import ingest
from .interrupts import interrupts
from .jobs import Job
from .ledger import Ledger
from .messages import HostNote, PhoneMessage
from .pace import Pace
from .phone_state import PhoneState
from .profile import DeviceProfile
from .progress import Progress, status_line
from .ray_session import ray_session
from .resuming import JobPlanner
from .run import Run
from .scheduling import Pacing
from .status_file import ClassTally, StatusFile
from .transport import Deadlines

CLUSTER_VARIABLE = "SPLITFLEET_CLUSTER"
_SHOW_EVERY_S = 0.5


@dataclass(frozen=True)
class FleetSettings:
    """Times in seconds. `settle_s`: how long the start waits for phones that do not answer while others do.
    `wait_for_phone_s`: how long jobs wait for a phone of their class."""

    pace: Pace = field(default_factory=Pace)
    deadlines: Deadlines = field(default_factory=Deadlines)
    settle_s: float = 10.0
    wait_for_phone_s: float = 180.0


@dataclass(frozen=True)
class RunSummary:
    """How a run ended. `unsettled` are jobs without a trace, by device class; `troubles` the phones that are away;
    `waiting_sisters` how many jobs of each class still wait for a second phone."""

    was_interrupted: bool
    unsettled: dict[str, int]
    troubles: tuple[str, ...]
    waiting_sisters: dict[str, int]


class Fleet:
    """The phones of a campaign folder, from entering the block to leaving it. Owns the folder's ledger.

    `cluster` is the HOST:PORT of a Ray cluster that this host is in; its hosts' phones are used beside those named.
    Without it ($SPLITFLEET_CLUSTER is looked at) Ray is started here, on loopback, with the named phones alone.
    """

    def __init__(
        self,
        phones: Phones,
        folder: Path,
        progress: Progress,
        *,
        conditions: Conditions | None = None,
        seed: int = 0,
        pacing: Pacing | None = None,
        settings: FleetSettings | None = None,
        cluster: str | None = None,
        take_over: bool = False,
    ) -> None:
        self._cluster = os.environ.get(CLUSTER_VARIABLE, "") if cluster is None else cluster
        if not (phones.tcp or phones.usb or phones.local or self._cluster):
            raise UserError(
                'no phone is named: add [phones] with tcp = ["HOST:PORT"], usb = true or local = true to the campaign'
            )
        self.folder = folder
        self._phones = phones
        self._progress = progress
        self._conditions = conditions or Conditions()
        self._seed = seed
        self._pacing = pacing or Pacing()
        self._settings = settings or FleetSettings()
        self._take_over = take_over
        self._stack = ExitStack()
        self.ledger: Ledger
        self._brokers: Brokers
        self._directory: Directory

    def __enter__(self) -> Fleet:
        """Raises UserError while another process owns the folder, HarnessError where Ray does not start."""
        settings = self._settings
        with ExitStack() as stack:
            self.ledger = stack.enter_context(Ledger(self.folder, take_over=self._take_over))
            stack.enter_context(ray_session(self._cluster))
            local = None if self._cluster else (self.folder / "local-device").absolute()
            setup = BrokerSetup(
                self._phones,
                self._conditions,
                self.ledger.owner,
                settings.pace,
                settings.deadlines,
                local,
                limits=Limits(max_celsius=self._pacing.max_celsius),
                campaign=self.folder.name,
            )
            self._brokers = stack.enter_context(ray_brokers(setup, self._cluster))
            self._directory = Directory(self.ledger)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def profiles(self) -> dict[str, DeviceProfile]:
        """Waits until the phones have answered; returns the device classes present, and saves their profiles.

        Phones that make trouble are said and left out. Raises DeviceError, with a line for each, where none works.
        """
        began = time.monotonic()
        with self._progress:
            while not (self._brokers.have_answered and self._has_settled(time.monotonic() - began)):
                self._look()
        if not self._directory.statuses:
            raise DeviceError(
                "no phone attached: plug one in with USB debugging on, or name its address under [phones]"
            )
        if not self._directory.present:
            raise DeviceError("no phone can be used:\n" + self._trouble_text())
        for trouble in self._directory.troubles():
            self._progress.note(f"goes on without {trouble}")
        self._save_phones()
        return {phone.profile.device_class: phone.profile for phone in self._directory.present.values()}

    def known_profiles(self) -> dict[str, DeviceProfile]:
        """The profiles of every device class that the campaign has met, whether present or not."""
        names = {row["device_class"] for row in self.ledger.phones()}
        texts = {name: self.ledger.get(f"profile {name}") for name in sorted(names)}
        return {name: DeviceProfile.from_json(json.loads(text)) for name, text in texts.items() if text}

    def run(
        self,
        jobs: Mapping[str, Iterable[Job]],
        purpose: str = "measure",
        *,
        plan: JobPlanner | None = None,
        probes: JobPlanner | None = None,
    ) -> RunSummary:
        """Executes the jobs of each device class on its phones until each has a trace, and writes the traces.

        Jobs with a trace are not run again. `plan` makes the jobs of a class that shows up meanwhile, `probes` a
        class's probe jobs; without it there are none. Ctrl-C ends the run when the batches at work are done; a second
        one raises KeyboardInterrupt at once.
        Raises DeviceError when jobs are left that no phone can take; everything measured is kept.
        """
        run = Run(
            jobs,
            purpose,
            self.ledger,
            self._directory,
            self._brokers,
            seed=self._seed,
            pacing=self._pacing,
            plan=plan,
            probes=probes if self._pacing.probe_every_s else None,
        )
        others = (ClassTally(**row) for row in self.ledger.tallies() if row["purpose"] != purpose)
        campaign = self.ledger.get("campaign_name") or self.folder.name
        status = StatusFile(self.folder, campaign, self.ledger.epoch, others)
        try:
            with self._progress, interrupts() as asked:
                was_interrupted = self._drive(run, status, lambda: asked.is_requested)
        except BaseException:
            # What ended the run is to be said, not that the same full disk has no room for its traces either.
            with suppress(SplitfleetError):
                self._write_outcome(run, status)
            raise
        self._write_outcome(run, status)
        unsettled = run.unsettled()
        if unsettled and not was_interrupted:
            left = ", ".join(f"{count} of {name}" for name, count in unsettled.items())
            raise DeviceError(
                f"{left}: jobs are left that no phone can take now:\n{self._trouble_text()}\n"
                "What was measured is kept; mend the phones and run the same command again"
            )
        troubles = tuple(self._directory.troubles())
        return RunSummary(was_interrupted, unsettled, troubles, run.scheduler.waiting_sisters())

    def _drive(self, run: Run, status: StatusFile, is_interrupted: Callable[[], bool]) -> bool:
        """Until all is settled, or nobody is there who could; returns whether the person stopped it."""
        is_stopping, stuck_since, shown_s = False, None, 0.0
        while not run.scheduler.is_finished:
            run.take(*self._poll(wait_s=1.0))
            run.take(*self._directory.moved())
            run.tick()
            if time.monotonic() - shown_s > _SHOW_EVERY_S:
                shown_s = time.monotonic()
                lines = run.lines()
                self._progress.show(lines)
                status.show("stopping" if is_stopping else "running", run.tallies(), lines)
            if not is_stopping and (is_interrupted() or status.is_asked_to_stop()):
                is_stopping = True
                run.stop()
                self._progress.note("stopping when the running batches are done; Ctrl-C again stops at once")
            if run.scheduler.is_busy:
                stuck_since = None
                continue
            if is_stopping:
                break
            if self._is_recovering():
                stuck_since = None
                continue
            stuck_since = stuck_since or time.monotonic()
            if self._is_hopeless() or time.monotonic() - stuck_since > self._settings.wait_for_phone_s:
                break
        self._progress.show(run.lines())
        return is_stopping

    def _write_outcome(self, run: Run, status: StatusFile) -> None:
        """Raises HarnessError where the folder cannot be written; the ledger has all of it, and the next run writes."""
        status.show("ended", run.tallies(), run.lines(), now=True)
        with writing_into(self.folder):
            ingest(self.ledger, self.folder)
        self._save_phones()

    def _look(self) -> None:
        for message in self._poll(wait_s=0.5):
            self._directory.take(message)
        self._progress.show([status_line(status) for status in self._directory.statuses.values()])

    def _poll(self, wait_s: float) -> list[PhoneMessage]:
        """The phones' messages; what is to be said of hosts is said."""
        messages: list[PhoneMessage] = []
        for message in self._brokers.poll(wait_s):
            if isinstance(message, HostNote):
                self._progress.note(message.text)
            else:
                messages.append(message)
        return messages

    def _has_settled(self, waited_s: float) -> bool:
        absent = self._directory.absent()
        if any(not status.state.is_settled for status in absent):
            return False
        # A phone that is only starting may answer in a moment; one that says why it cannot work will not. One that
        # another campaign has at the moment gets its turn when that campaign's batch ends; others need not wait for it.
        has_turn = not self._directory.present and any(status.state is PhoneState.LEASED for status in absent)
        limit_s = self._settings.wait_for_phone_s if has_turn else self._settings.settle_s
        return all(status.state.needs_help for status in absent) or waited_s > limit_s

    def _is_recovering(self) -> bool:
        """Whether a phone cools, charges or is loaded by others: that ends by itself, however long it takes."""
        states = [self._directory.statuses[phone.address].state for phone in self._directory.present.values()]
        return any(state.is_unfit and not state.needs_help for state in states)

    def _is_hopeless(self) -> bool:
        return all(status.state.needs_help for status in self._directory.absent())

    def _trouble_text(self) -> str:
        return "\n".join(f"  {trouble}" for trouble in self._directory.troubles())

    def _save_phones(self) -> None:
        """Serials lie in phones.json and nowhere else outside the ledger."""
        with writing_into(self.folder):
            for profile in self.known_profiles().values():
                profile.save(self.folder / "profiles")
            write_json(self.folder / "phones.json", {"schema": 1, "phones": self.ledger.phones()})
