"""`splitfleet campaign run | status | stop | list | export`."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .host import ClusterOption
from .output import JsonFlag, print_json, print_table

if TYPE_CHECKING:
    from splitfleet.pipeline.campaign_status import CampaignStatus, ClassCounts

app = typer.Typer(help="Fleet profiling campaigns: run, status, stop, list, export.", no_args_is_help=True)

PhoneOption = Annotated[
    list[str] | None,
    typer.Option("--phone", metavar="HOST:PORT", help="Use this phone instead of those named in the campaign."),
]


class _Form(StrEnum):
    PARQUET = "parquet"
    CSV = "csv"


FolderArgument = Annotated[Path, typer.Argument(help="A campaign's folder, as runs/demo.", show_default=False)]
PlaceArgument = Annotated[
    str, typer.Argument(help="A campaign's folder, or the URL of a copy of it.", metavar="FOLDER", show_default=False)
]


@app.command(epilog="Example: splitfleet campaign run examples/demo.toml --phone 192.168.1.20:5555")
def run(
    file: Annotated[Path, typer.Argument(help="A campaign file (TOML), see docs/campaign-file.md.")],
    out: Annotated[str | None, typer.Option(help="The campaign's folder. [default: runs/NAME]")] = None,
    phone: PhoneOption = None,
    cluster: ClusterOption = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Go on with a campaign whose driver on another host is dead or cut off.")
    ] = False,
    copy_to: Annotated[
        str | None,
        typer.Option(metavar="URL", help="When the run ends, copy the folder to this folder or URL (as s3://...)."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Measure every job of a campaign on its phones. The same command again goes on where it stopped, on any host that
    sees the folder."""
    from splitfleet.pipeline.campaign import load_campaign, phones_at
    from splitfleet.pipeline.campaign_run import run_campaign
    from splitfleet.pipeline.locations import local_folder

    folder = local_folder(out) if out else Path("runs") / load_campaign(file).name
    phones = phones_at(phone) if phone else None
    summary = run_campaign(file, folder, phones=phones, take_over=take_over, copy_to=copy_to)
    if json:
        print_json({**asdict(summary), "folder": str(summary.folder)})
    else:
        _show_counts(f"Campaign {summary.name} in {summary.folder}", summary.counts)
        for trouble in summary.troubles:
            typer.echo(f"not used: {trouble}")
        for note in summary.notes:
            typer.echo(note)
    if summary.was_interrupted:
        sys.exit(130)


@app.command(epilog="Example: splitfleet campaign status runs/demo --json")
def status(folder: PlaceArgument, json: JsonFlag = False) -> None:
    """Show how far a campaign is and how its phones are; also from a second terminal while it runs."""
    from splitfleet.pipeline.campaign_status import campaign_status

    found = campaign_status(folder)
    if json:
        print_json(asdict(found))
        return
    driver = f", {found.driver}" if found.state in ("running", "stopping") else ""
    changed = f"{_ago(found.changed_unix_s)} ago"
    _show_counts(f"Campaign {found.name} in {found.folder}: {found.state}{driver}, {changed}", found.counts)
    if found.rejected:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(found.rejected.items()))
        typer.echo(f"rejected jobs: {reasons}")
    if found.phones:
        _show_phones(found)


@app.command(epilog="Example: splitfleet campaign stop runs/demo --wait")
def stop(
    folder: FolderArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Return only when the campaign has stopped.")] = False,
    json: JsonFlag = False,
) -> None:
    """Let a running campaign finish the batches at work and start nothing new. Nothing measured is lost."""
    from splitfleet.pipeline.campaign_status import stop_campaign

    holder = stop_campaign(folder, wait=wait)
    if json:
        print_json({"folder": str(folder), "host": holder.host, "pid": holder.pid, "has_stopped": wait})
    elif wait:
        typer.echo(f"{folder}: stopped; the same `campaign run` goes on")
    else:
        typer.echo(
            f"{folder}: asked process {holder.pid} on host {holder.host} to stop: it starts nothing new, and ends when "
            f"the batches at work are done. To see it: splitfleet campaign status {folder}"
        )


@app.command("list", epilog="Example: splitfleet campaign list runs")
def list_campaigns(
    folder: Annotated[Path, typer.Argument(help="A folder of campaign folders.")] = Path("runs"),
    json: JsonFlag = False,
) -> None:
    """List campaigns: state, jobs done, phones, last change."""
    from splitfleet.pipeline.campaign_status import campaigns_in

    found = campaigns_in(folder)
    if json:
        print_json([asdict(campaign) for campaign in found])
        return
    print_table(
        f"Campaigns in {folder}",
        ["name ", "folder ", "state ", "done", "rejected", "phones", "last change"],
        [
            [
                campaign.name,
                campaign.folder,
                campaign.state,
                f"{campaign.settled}/{campaign.jobs}",
                str(sum(campaign.rejected.values())),
                str(len(campaign.phones)),
                f"{_ago(campaign.changed_unix_s)} ago",
            ]
            for campaign in found
        ],
    )
    for campaign in found:
        if campaign.trouble:
            typer.echo(campaign.trouble)


@app.command(epilog="Example: splitfleet campaign export runs/demo --format csv -o demo.csv")
def export(
    folder: PlaceArgument,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="The file or URL to write.")],
    form: Annotated[_Form, typer.Option("--format")] = _Form.PARQUET,
    json: JsonFlag = False,
) -> None:
    """Write a campaign's traces as one flat file, a row per job; docs/traces.md names the columns."""
    from splitfleet.pipeline.export import export_traces

    rows = export_traces(folder, output, "csv" if form is _Form.CSV else "parquet")
    if json:
        print_json({"output": output, "format": form.value, "rows": rows})
    else:
        typer.echo(f"{output}: {rows} rows")


def _show_counts(title: str, counts: tuple[ClassCounts, ...]) -> None:
    print_table(
        title,
        ["device class ", "purpose ", "jobs", "done", "rejected", "left"],
        [
            [c.device_class, c.purpose, str(c.jobs), str(c.done), str(c.rejected), str(c.jobs - c.done - c.rejected)]
            for c in counts
        ],
    )


def _show_phones(found: CampaignStatus) -> None:
    is_live = found.state in ("running", "stopping")
    print_table(
        "Phones" if is_live else "Phones, when the last run ended",
        ["phone ", "address ", "state ", "done", "rate", "temp", "left", "last trouble "],
        [_phone_cells(phone) for phone in found.phones],
    )


def _phone_cells(phone: dict[str, Any]) -> list[str]:
    from splitfleet.pipeline.progress import duration

    temperature = phone["temperature_c"]
    return [
        phone["phone"],
        phone["address"],
        phone["state"],
        f"{phone['done']}/{phone['total']}" if phone["total"] else "",
        f"{phone['rate_per_minute']:.0f}/min" if phone["rate_per_minute"] else "",
        "" if temperature is None else f"{temperature:.0f} C",
        duration(phone["left_s"]),
        phone["trouble"],
    ]


def _ago(unix_s: float) -> str:
    from splitfleet.pipeline.progress import duration

    return duration(max(time.time() - unix_s, 0.0))
