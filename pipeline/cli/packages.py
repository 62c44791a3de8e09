"""`splitfleet package list | download | verify | diff | import | sign | keygen`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splitfleet.kernels.errors import UserError

from .output import JsonFlag, print_json, print_table

if TYPE_CHECKING:
    from splitfleet.predictors.any_package import AnyPackage

app = typer.Typer(help="Predictor packages: list, download, compare, verify, import, sign.", no_args_is_help=True)

_PACKAGE = typer.Argument(help="A predictor package (zip).", show_default=False)
PublicKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--public-key",
        envvar="SPLITFLEET_PUBLIC_KEY",
        help="Refuse packages that are not signed with this key. [default: ~/.splitfleet/package.pub, if it is there]",
        show_default=False,
    ),
]
SigningKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--sign",
        envvar="SPLITFLEET_SIGNING_KEY",
        metavar="KEY",
        help="Sign packages with this secret key (splitfleet package keygen, or minisign -G -W).",
        show_default=False,
    ),
]
OlderFlag = Annotated[bool, typer.Option("--allow-older", help="Let an older package take the place of a newer one.")]


@app.command("list", epilog="Example: splitfleet package list --json")
def list_(json: JsonFlag = False) -> None:
    """List the packages of every device class in the MLflow registry, the newest version first."""
    from splitfleet.predictors.registry import list_packages

    versions = list_packages()
    if json:
        print_json([asdict(version) for version in versions])
        return
    print_table(
        "Packages",
        ["device class ", "version", "alias ", "campaign ", "published, UTC ", "GPU MAPE", "CPU MAPE", "speed-up"],
        [
            [
                version.device_class,
                str(version.version),
                ", ".join(version.aliases),
                version.campaign,
                version.published,
                _percent(version.gpu_mape),
                _percent(version.cpu_mape),
                "-" if version.speedup is None else f"{version.speedup:.2f}x",
            ]
            for version in versions
        ],
    )
    for version in versions:
        if "challenger" in version.aliases:
            typer.echo(f"{version.device_class}: version {version.version} is no champion: {version.reason}")


@app.command(epilog="Example: splitfleet package download virtual-a-1b2c3d4e -o phone.zip")
def download(
    device: Annotated[
        str | None, typer.Argument(help="A device class, as `package list` shows it.", show_default=False)
    ] = None,
    phone: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="The class of this attached phone instead; `usb` for the one on USB."),
    ] = None,
    version: Annotated[int | None, typer.Option(help="This version instead of the champion.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File or folder to write to.")] = None,
    public_key: PublicKeyOption = None,
    allow_older: OlderFlag = False,
) -> None:
    """Download a package of a device class, the champion by default. A signature is put beside it."""
    from splitfleet.pipeline.public_key import public_key_file
    from splitfleet.predictors.package_transfer import download_package

    if (device is None) == (phone is None):
        raise UserError("name a device class, or a phone with --phone HOST:PORT")
    if phone is not None:
        from splitfleet.pipeline.attached_class import class_of_phone

        device = class_of_phone(phone)
    found = download_package(
        str(device),
        output or Path(),
        version=version,
        public_key=public_key_file(public_key),
        allow_older=allow_older,
    )
    typer.echo(found.path)
    if found.signed:
        typer.echo(f"signed with the key {found.signed.key_id} ({found.signed.comment})", err=True)
    elif found.version.signed_by:
        typer.echo(f"signed with the key {found.version.signed_by}, not checked: no public key was given", err=True)


@app.command(epilog="Example: splitfleet package verify virtual-a-1b2c3d4e.zip")
def verify(package: Annotated[Path, _PACKAGE], public_key: PublicKeyOption = None) -> None:
    """Check every file of a package, its golden vectors and, where there is a public key, its signature."""
    from splitfleet.pipeline.public_key import public_key_file
    from splitfleet.predictors.any_package import open_any
    from splitfleet.predictors.signing import check_signature

    key = public_key_file(public_key)
    if key is not None:
        signed = check_signature(package, key)
        typer.echo(f"{package}: signed with the key {signed.key_id} ({signed.comment})")
    open_any(package)
    typer.echo(f"{package}: every file agrees with the manifest, every golden vector with the models")


@app.command(epilog="Example: splitfleet package diff virtual-a-1b2c3d4e@1 virtual-a-1b2c3d4e")
def diff(
    first: Annotated[str, typer.Argument(help="A package file, or DEVICE@VERSION, DEVICE@ALIAS, DEVICE (champion).")],
    second: Annotated[str, typer.Argument(help="Another one.")],
    json: JsonFlag = False,
) -> None:
    """Show what changed from one package to another: origin, errors, and the split table."""
    from splitfleet.predictors.package_diff import diff_packages

    found = diff_packages(_package(first), _package(second))
    if json:
        print_json(found.to_json())
        return
    from .package_diff import show_diff

    show_diff(found, first, second)


@app.command("import", epilog="Example: splitfleet package import phone.zip")
def import_(
    package: Annotated[Path, _PACKAGE], public_key: PublicKeyOption = None, allow_older: OlderFlag = False
) -> None:
    """Register a package file in the registry of MLFLOW_TRACKING_URI, wherever it comes from."""
    from splitfleet.pipeline.public_key import public_key_file
    from splitfleet.predictors.package_transfer import import_package

    found = import_package(package, public_key=public_key_file(public_key), allow_older=allow_older)
    typer.echo(f"{found.device_class}: version {found.version}, {found.alias}: {found.reason}")


@app.command(epilog="Example: splitfleet package sign phone.zip --sign package.key")
def sign(package: Annotated[Path, _PACKAGE], key: SigningKeyOption = None) -> None:
    """Sign a package: writes <package>.minisig beside it, which minisign -V checks too."""
    from splitfleet.predictors.any_package import open_any
    from splitfleet.predictors.signing import sign_package

    if key is None:
        raise UserError("name the secret key: --sign KEY, or SPLITFLEET_SIGNING_KEY")
    open_any(package)
    typer.echo(sign_package(package, key))


@app.command(epilog="Example: splitfleet package keygen --secret package.key --public package.pub")
def keygen(
    secret: Annotated[Path, typer.Option(help="File for the secret key: keep it where packages are published.")],
    public: Annotated[Path, typer.Option(help="File for the public key: give it to those who use packages.")],
) -> None:
    """Make a pair of keys for signing packages, in minisign's files."""
    from splitfleet.predictors.signing import generate_keys

    key_id = generate_keys(secret, public)
    typer.echo(f"key {key_id}: {secret} signs, {public} checks; as ~/.splitfleet/package.pub it is used by default")


def _package(reference: str) -> AnyPackage:
    from splitfleet.predictors.any_package import open_any
    from splitfleet.predictors.registry import find_version, package_file

    if Path(reference).is_file():
        return open_any(Path(reference))
    return open_any(package_file(find_version(reference)))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} %"
