"""A campaign, from its file to accepted traces. The same call again goes on where it was left, however it ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from rich.console import Console

from splitfleet.kernels.errors import UserError
from splitfleet.predictors.checked_joins import CheckedJoins, checked_joins
from splitfleet.predictors.traces import read_traces

from .adaptive import SHARES, adaptive_operators
from .campaign import COPY_NAME as CAMPAIGN_FILE
from .campaign import Campaign, Phones, load_campaign
from .campaign_status import ClassCounts, campaign_status
from .fleet import Fleet, FleetSettings, RunSummary
from .jobs import Job
from .join_record import note_joins_before, remember
from .ledger import Ledger
from .ledger.lease import holder_of
from .locations import check_copy, copy_folder, new_file
from .probe_jobs import plan_probes
from .profile import DeviceProfile
from .progress import Progress, progress_on
from .resuming import JobPlanner
from .sampling import plan_jobs
from .tuning_store import conditions_of

__all__ = ["CampaignSummary", "ClassCounts", "campaign_of", "campaign_status", "run_campaign"]

_NOT_COPIED = frozenset({"lease", "local-device", "stop.json"})


@dataclass(frozen=True)
class CampaignSummary:
    """What a campaign folder holds; `troubles` are the phones that could not be used in this run, `notes` what else a
    person should know of it."""

    name: str
    folder: Path
    counts: tuple[ClassCounts, ...]
    was_interrupted: bool = False
    troubles: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def run_campaign(
    file: Path,
    folder: Path,
    *,
    phones: Phones | None = None,
    progress: Progress | None = None,
    settings: FleetSettings | None = None,
    take_over: bool = False,
    copy_to: str | None = None,
) -> CampaignSummary:
    """Runs the campaign of `file` in `folder`, or goes on with it. `phones` take the place of the file's.

    The folder then holds: campaign.toml (a copy, with its included files), journal/ and lease/ (docs/formats.md),
    status.json, profiles/, phones.json (the only place of serials beside the journal), traces/. `take_over` goes on
    with a campaign whose driver on another host is dead or cut off. `copy_to` is an empty folder or fsspec URL, or one
    with a copy of this campaign, which is made a copy when the run ends, however it does, while the folder is still
    ours. Raises UserError for a bad or changed file, a folder that is in use and a place that no copy may go to,
    DeviceError when no phone works or some jobs can be taken by none.
    """
    campaign = load_campaign(file)
    progress = progress or progress_on(Console(stderr=True))
    _check_unchanged(campaign, file, folder)
    if copy_to:
        check_copy(folder, copy_to, _NOT_COPIED)
    fleet = Fleet(
        phones or campaign.phones,
        folder,
        progress,
        conditions=conditions_of(campaign),
        seed=campaign.seed,
        pacing=campaign.fleet.pacing,
        settings=settings,
        take_over=take_over,
    )
    with fleet, _copied(fleet, progress, copy_to):
        run = _measure(campaign, fleet)
        counts = _counts(fleet.ledger)
    if run.was_interrupted:
        progress.note(f"stopped; what was measured is kept. To go on: splitfleet campaign run {file} --out {folder}")
    notes = tuple(
        f"{count} jobs of {name} wait for a second phone of the class (sisters): attach one and run the same command "
        "again, or set sister_fraction = 0 under [fleet]"
        for name, count in sorted(run.waiting_sisters.items())
    )
    return CampaignSummary(campaign.name, folder, counts, run.was_interrupted, run.troubles, notes)


def _measure(campaign: Campaign, fleet: Fleet) -> RunSummary:
    """All batches of a campaign, or those up to where a person stopped it."""
    fleet.ledger.put("campaign_id", campaign.id)
    fleet.ledger.put("campaign_name", campaign.name)
    _copy_sources(campaign, fleet.folder)
    present = fleet.profiles()
    profiles = {**_unfinished(fleet), **present}

    for batch in range(len(SHARES) if campaign.measure.sampling == "adaptive" else 1):
        plan = partial(_plan, campaign, fleet, batch)
        # Made one by one: the jobs of a class may take more memory than all that is known of them afterwards.
        jobs = {name: _lazily(plan, profile) for name, profile in profiles.items()}
        try:
            run = fleet.run(jobs, "measure", plan=plan, probes=plan_probes)
        finally:
            _remember_joins(fleet.ledger, campaign.name, fleet.folder)
        if run.was_interrupted:
            break
    return run


@contextmanager
def _copied(fleet: Fleet, progress: Progress, place: str | None) -> Iterator[None]:
    """Copies the fleet's folder to a place when the block ends. Where an error ended it, that is the one to be raised,
    and that there is no copy either is only said."""
    try:
        yield
    except BaseException:
        if place:
            try:
                _copy(fleet, place)
            except Exception as error:
                progress.note(str(error))
        raise
    if place:
        _copy(fleet, place)


def _copy(fleet: Fleet, place: str) -> None:
    holder = holder_of(fleet.folder)
    if holder is None or holder.epoch != fleet.ledger.epoch:
        raise UserError(
            f"{place}: no copy was made of {fleet.folder}, since another driver has taken the campaign over; have it "
            "copied when that one ends: run the same command again"
        )
    copy_folder(fleet.folder, place, _NOT_COPIED)


def campaign_of(folder: Path) -> Campaign:
    """The campaign file that a folder was made from. Raises UserError where there is none."""
    return load_campaign(folder / CAMPAIGN_FILE)


def _plan(campaign: Campaign, fleet: Fleet, batch: int, profile: DeviceProfile) -> list[Job]:
    """A class's jobs; with adaptive sampling those of all batches up to this one."""
    name = profile.device_class
    before = note_joins_before(fleet.ledger, name)
    if campaign.measure.sampling == "random":
        return plan_jobs(campaign, profile, before)
    traces = read_traces(fleet.folder) if batch else pd.DataFrame()
    of_class = traces[traces["device_class"] == name] if batch else traces
    return plan_jobs(campaign, profile, before, adaptive_operators(campaign, profile, of_class, batch))


def _lazily(plan: JobPlanner, profile: DeviceProfile) -> Iterator[Job]:
    yield from plan(profile)


def _counts(ledger: Ledger) -> tuple[ClassCounts, ...]:
    return tuple(ClassCounts(**row) for row in ledger.counts())


def _remember_joins(ledger: Ledger, campaign: str, folder: Path) -> None:
    """Notes for later campaigns how many joins by polling were checked here."""
    if not (folder / "traces").is_dir():
        return  # nothing was measured
    traces = read_traces(folder, kind="sync")
    measured = traces[traces["purpose"] == "measure"]
    for device_class, of_class in measured.groupby("device_class"):
        checked = checked_joins(of_class)
        if checked != CheckedJoins():
            remember(str(device_class), ledger.owner, campaign, checked)


def _unfinished(fleet: Fleet) -> dict[str, DeviceProfile]:
    """The classes that were begun and have jobs left: their phones may come back."""
    open_classes = {
        row["device_class"]
        for row in fleet.ledger.counts()
        if row["purpose"] == "measure" and row["done"] + row["rejected"] < row["jobs"]
    }
    return {name: profile for name, profile in fleet.known_profiles().items() if name in open_classes}


def _check_unchanged(campaign: Campaign, file: Path, folder: Path) -> None:
    """Two campaigns must not be mixed in one folder; only [phones], [fleet] and [publish] may change."""
    try:
        with Ledger(folder, read_only=True) as ledger:
            before = ledger.get("campaign_id")
    except UserError:
        return  # nothing was begun here, or only just
    if before is not None and before != campaign.id:
        raise UserError(
            f"{file} is not the campaign that {folder} was begun with (its copy is {folder / CAMPAIGN_FILE}): only "
            "[phones], [fleet] and [publish] may change. Undo the change, or give another folder: --out FOLDER"
        )


def _copy_sources(campaign: Campaign, folder: Path) -> None:
    """Copies the campaign file and what it includes, so that the folder stands on its own."""
    first, *included = campaign.sources
    for name in (first, *included):
        with new_file(folder / (CAMPAIGN_FILE if name == first else name)) as file:
            file.write(campaign.sources[name].encode("utf-8"))
