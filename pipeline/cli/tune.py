"""`splitfleet tune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .campaign import PhoneOption
from .host import ClusterOption
from .output import JsonFlag, print_json, print_table

if TYPE_CHECKING:
    from splitfleet.pipeline.tuning import TunedClass


def add_verbs(app: typer.Typer) -> None:
    app.command(epilog="Example: splitfleet tune examples/demo.toml --phone 192.168.1.20:5555")(tune)


def tune(
    campaign: Annotated[Path, typer.Argument(help="A campaign file (TOML), or a campaign's folder.")],
    phone: PhoneOption = None,
    cluster: ClusterOption = None,
    json: JsonFlag = False,
) -> None:
    """Time the work-groups that each layer's kernel can have on the phones, and keep the winners for campaigns."""
    from splitfleet.pipeline.campaign import load_campaign, phones_at
    from splitfleet.pipeline.campaign_run import campaign_of
    from splitfleet.pipeline.tuning import tune_campaign

    given = campaign_of(campaign) if campaign.is_dir() else load_campaign(campaign)
    folder = campaign if campaign.is_dir() else Path("runs") / given.name
    tuned = tune_campaign(given, folder, phones=phones_at(phone) if phone else None)
    names: dict[Any, str] = {}
    for layer in given.layers:
        names.setdefault(layer.operator, layer.name)
    if json:
        print_json([{**each.tuning.to_json(), "path": str(each.path)} for each in tuned])
        return
    for each in tuned:
        _show(each, names)


def _show(tuned: TunedClass, names: dict[Any, str]) -> None:
    choices = sorted(tuned.tuning.choices, key=lambda choice: choice.time_us / choice.default_us)
    print_table(
        f"work-groups on {tuned.tuning.device_class}; GPU execution times in µs, measured again interleaved",
        ["layer ", "operator ", "kernel ", "rules' own ", "time", "winner ", "time", "ratio"],
        [
            [
                names.get(choice.operator, ""),
                choice.operator.label,
                choice.kernel,
                _size(tuned.defaults[choice.operator]),
                f"{choice.default_us:.1f}",
                _size(choice.local) if choice.local != tuned.defaults[choice.operator] else "the same",
                f"{choice.time_us:.1f}",
                f"{choice.time_us / choice.default_us:.2f}",
            ]
            for choice in choices
        ],
    )
    for family, local in sorted(tuned.tuning.families.items()):
        typer.echo(f"other operators of the family {family}: {_size(local)}")
    typer.echo(f"kept in {tuned.path}; a campaign uses it with tuned = true under [measure]")


def _size(local: tuple[int, ...]) -> str:
    return " x ".join(map(str, local))
