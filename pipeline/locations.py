"""Where files may lie: local paths, and URLs that fsspec knows (memory://, s3:// with s3fs) for what is only data.

A campaign itself needs a folder of a file system: its lease is a hard link, which exactly one of two drivers can make,
and its journal is appended to and synced. fsspec promises neither (exclusive writing is on trial there, and object
stores cannot append), so a campaign on a URL is refused; a copy of its folder may lie anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec

from splitfleet.kernels.errors import UserError

_FILE = "file://"


def is_url(place: Path | str) -> bool:
    """Whether a place is neither a path nor a file:// URL."""
    return "://" in str(place) and not str(place).startswith(_FILE)


def local_folder(place: Path | str) -> Path:
    """The path of a campaign's folder. Raises UserError for a URL that is no file://."""
    if is_url(place):
        raise UserError(
            f"{place}: a campaign needs a folder of a file system: for its lease, which only one of two drivers may "
            "get, and for its journal, which is appended to; object stores promise neither. Run it in a local or NFS "
            f"folder, and let a copy be kept there: --copy-to {place}"
        )
    return Path(str(place).removeprefix(_FILE))


def file_system(place: Path | str) -> tuple[Any, str]:
    """fsspec's file system of a place, and the place's path in it. Raises UserError for a URL that it does not know."""
    try:
        return fsspec.core.url_to_fs(str(place))  # type: ignore[no-any-return]
    except (ValueError, ImportError) as error:
        raise UserError(f"{place}: {error}; install what this kind of URL needs, or name a folder") from None


def read_text(folder: Path | str, name: str) -> str | None:
    """The text of a file in a folder; None where there is none."""
    system, root = file_system(folder)
    try:
        return str(system.cat_file(f"{root}/{name}").decode("utf-8"))
    except FileNotFoundError:
        return None


@contextmanager
def new_file(place: Path | str) -> Iterator[IO[bytes]]:
    """A file to be written; on a local disk it shows up whole or not at all, elsewhere as its store does it.

    Raises UserError where it cannot be written.
    """
    try:
        if is_url(place):
            system, path = file_system(place)
            with system.open(path, "wb") as file:
                yield file
            return
        target = local_folder(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}.{os.getpid()}.new")
        try:
            with unfinished.open("wb") as file:
                yield file
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{place}: cannot be written ({error}); name another place") from error


def copy_folder(folder: Path, place: str, leave_out: frozenset[str]) -> None:
    """Makes `place` a copy of a folder: what is not in it is removed there. `leave_out` are names at its top.

    Raises UserError where the place cannot be written.
    """
    system, root = file_system(place)
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    wanted = {
        str(path.relative_to(folder)): path for path in files if path.relative_to(folder).parts[0] not in leave_out
    }
    try:
        for name, path in wanted.items():
            target = f"{root}/{name}"
            system.makedirs(target.rpartition("/")[0], exist_ok=True)
            system.put_file(str(path), target)
        for found in system.find(root):
            if found.removeprefix(root).lstrip("/") not in wanted:
                system.rm_file(found)
    except OSError as error:
        raise UserError(f"{place}: the copy of {folder} is not complete ({error}); {folder} itself is whole") from error
