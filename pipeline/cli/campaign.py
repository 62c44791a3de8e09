"""`splitfleet campaign run | status`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .output import JsonFlag, print_json, print_table

if TYPE_CHECKING:
    from splitfleet.pipeline.campaign_run import CampaignSummary

app = typer.Typer(help="Fleet profiling campaigns: run, status.", no_args_is_help=True)

PhoneOption = Annotated[
    list[str] | None,
    typer.Option("--phone", metavar="HOST:PORT", help="Use this phone instead of those named in the campaign."),
]


@app.command(epilog="Example: splitfleet campaign run examples/demo.toml --phone 192.168.1.20:5555")
def run(
    file: Annotated[Path, typer.Argument(help="A campaign file (TOML), see docs/campaign-file.md.")],
    out: Annotated[Path | None, typer.Option(help="The campaign's folder. [default: runs/NAME]")] = None,
    phone: PhoneOption = None,
    json: JsonFlag = False,
) -> None:
    """Measure every job of a campaign on its phones. The same command again goes on where it stopped."""
    from splitfleet.pipeline.campaign import load_campaign, phones_at
    from splitfleet.pipeline.campaign_run import run_campaign

    folder = out or Path("runs") / load_campaign(file).name
    summary = run_campaign(file, folder, phones=phones_at(phone) if phone else None)
    _show(summary, json)
    if summary.was_interrupted:
        sys.exit(130)


@app.command(epilog="Example: splitfleet campaign status runs/demo --json")
def status(
    folder: Annotated[Path, typer.Argument(help="A campaign's folder, as runs/demo.")],
    json: JsonFlag = False,
) -> None:
    """Show how far a campaign is; also from a second terminal while it runs."""
    from splitfleet.pipeline.campaign_run import campaign_status

    _show(campaign_status(folder), json)


def _show(summary: CampaignSummary, json: bool) -> None:
    if json:
        print_json({**asdict(summary), "folder": str(summary.folder)})
        return
    print_table(
        f"Campaign {summary.name} in {summary.folder}",
        ["device class ", "purpose ", "jobs", "done", "rejected", "left"],
        [
            [c.device_class, c.purpose, str(c.jobs), str(c.done), str(c.rejected), str(c.jobs - c.done - c.rejected)]
            for c in summary.counts
        ],
    )
    for trouble in summary.troubles:
        typer.echo(f"not used: {trouble}")
    for note in summary.notes:
        typer.echo(note)
