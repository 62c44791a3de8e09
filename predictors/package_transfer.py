"""Packages out of the registry and into another one: checked, signed where a key is given, and never a step back.

**A step back** is a package in place of a newer one of the same device class. Which is newer: where the registry knows
both files, the one with the higher version; else the one whose newest trace was measured later. Where neither tells,
neither is newer.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from splitfleet.kernels.errors import UserError

from .any_package import AnyPackage, open_any, open_or_none
from .registry import (
    CHAMPION,
    Registered,
    Version,
    find_version,
    list_packages,
    package_file,
    register_package,
    signature_file,
)
from .signing import Signed, check_signature, signature_path


@dataclass(frozen=True)
class Downloaded:
    """Where a package lies now, which version it is, and its signature, where that was checked."""

    path: Path
    version: Version
    signed: Signed | None


def download_package(
    device: str,
    out: Path,
    *,
    version: int | None = None,
    public_key: Path | None = None,
    allow_older: bool = False,
) -> Downloaded:
    """Copies a version's package, the champion's by default, to `out`: a file, or a folder (`<device class>.zip`).

    A signature is put beside it. With a public key, a package without a fitting signature is refused. So is one that
    would take the place of a newer file, unless its version is named or `allow_older`.

    Raises UserError for these, for what the registry does not have (naming the nearest), for a damaged package, and
    when the store cannot be used. Nothing is written then.
    """
    found = find_version(device, version)
    target = out / f"{found.device_class}.zip" if out.is_dir() else out
    with tempfile.TemporaryDirectory(prefix="splitfleet-") as folder:
        package = open_any(package_file(found, Path(folder)))
        signature = signature_file(found, Path(folder))
        signed = (
            check_signature(package.path, public_key, signature or signature_path(package.path)) if public_key else None
        )
        if target.exists() and not (allow_older or version is not None or "@" in device):
            _refuse_step_back(package, _existing(target), f"{target} holds")
        _put(package.path, target)
        beside = signature_path(target)
        if signature is not None:
            _put(signature, beside)
        else:
            beside.unlink(missing_ok=True)
    return Downloaded(target, found, signed)


def import_package(path: Path, *, public_key: Path | None = None, allow_older: bool = False) -> Registered:
    """Registers a package file, from whatever registry it comes, with the signature beside it.

    One that is registered already is not registered again. A package older than the champion is refused unless
    `allow_older`; then too it becomes the champion only if it is not worse.

    Raises UserError for a damaged or unsigned package, a step back, and when the store cannot be used.
    """
    package = open_any(path)
    if public_key is not None:
        check_signature(path, public_key)
    versions = [one for one in list_packages() if one.device_class == package.device_class]
    champion = next((one for one in versions if CHAMPION in one.aliases), None)
    if champion is not None and champion.package_sha256 != package.sha256 and not allow_older:
        with tempfile.TemporaryDirectory(prefix="splitfleet-") as folder:
            present = open_or_none(package_file(champion, Path(folder)))
            if present is not None:
                _refuse_step_back(package, present, "the registry's champion is")
    for one in versions:
        if one.package_sha256 == package.sha256:
            alias = ", ".join(one.aliases) or "without an alias"
            return Registered(one.device_class, one.version, alias, "it is registered already")
    return register_package(path, tags={"imported_from": path.name})


def _existing(path: Path) -> AnyPackage:
    """The package that a file holds. Raises UserError where it is something else, which is not to be overwritten."""
    try:
        return open_any(path)
    except UserError as error:
        raise UserError(f"{path} is there and is no package that can be read; name another file ({error})") from None


def _refuse_step_back(offered: AnyPackage, present: AnyPackage, what: str) -> None:
    """Raises UserError where `offered` is older than `present`."""
    if offered.device_class != present.device_class:
        raise UserError(f"{what} a package of {present.device_class}, not of {offered.device_class}; name another file")
    numbers = {one.package_sha256: one.version for one in list_packages() if one.device_class == offered.device_class}
    first, second = numbers.get(offered.sha256), numbers.get(present.sha256)
    advice = "to step back on purpose: --allow-older"
    if first is not None and second is not None:
        if first < second:
            raise UserError(f"{what} version {second} of {present.device_class}, and this is version {first}; {advice}")
        return
    old, new = offered.newest_trace_us, present.newest_trace_us
    if old is not None and new is not None and old < new:
        days = (new - old) / 86_400e6
        raise UserError(
            f"{what} a package of {present.device_class} whose newest trace was measured {days:.1f} days later than "
            f"this one's; {advice}"
        )


def _put(source: Path, target: Path) -> None:
    """Copies a file; it appears whole or not at all."""
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, unfinished)
        unfinished.replace(target)
    except OSError as error:
        raise UserError(f"{target}: cannot write the package: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
