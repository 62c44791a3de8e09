"""`splitfleet package list | download | verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .output import JsonFlag, print_json, print_table

app = typer.Typer(help="Predictor packages: list, download, verify.", no_args_is_help=True)


@app.command("list", epilog="Example: splitfleet package list --json")
def list_(json: JsonFlag = False) -> None:
    """List the packages of every device class in the MLflow registry."""
    from splitfleet.predictors.tracking import list_packages

    packages = list_packages()
    if json:
        print_json(packages)
        return
    print_table(
        "Packages",
        ["device class ", "version", "alias ", "campaign ", "published ", "GPU MAPE", "CPU MAPE"],
        [
            [
                package["device_class"],
                str(package["version"]),
                ", ".join(package["aliases"]),
                package["campaign"],
                package["published"],
                _percent(package["gpu_execution_mape"]),
                _percent(package["cpu_mape"]),
            ]
            for package in packages
        ],
    )


@app.command(epilog="Example: splitfleet package download virtual-a-1b2c3d4e -o phone.zip")
def download(
    device: Annotated[str, typer.Argument(help="A device class, as `package list` shows it.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File or folder to write to.")] = None,
) -> None:
    """Download the champion package of a device class."""
    from splitfleet.predictors.tracking import download_package

    typer.echo(download_package(device, output or Path()))


@app.command(epilog="Example: splitfleet package verify virtual-a-1b2c3d4e.zip")
def verify(
    package: Annotated[Path, typer.Argument(help="A predictor package (zip).")],
) -> None:
    """Check every file of a package against its manifest, and its golden vectors against its models."""
    from splitfleet.predictors.package import verify_package

    verify_package(package)
    typer.echo(f"{package}: every file agrees with the manifest, every golden vector with the models")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} %"
