"""Where files may lie: local paths, and URLs that fsspec knows (memory://, s3:// with s3fs) for what is only data.

A campaign itself needs a folder of a file system: its lease is a hard link, which exactly one of two drivers can make,
and its journal is appended to and synced. fsspec promises neither (exclusive writing is on trial there, and object
stores cannot append), so a campaign on a URL is refused; a copy of its folder may lie anywhere.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from gzip import BadGzipFile
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from splitfleet.kernels.errors import UserError

from .ledger.journal import JOURNAL

_FILE = "file://"
_HEADER_BYTES = 4096
_NO_HEADER = (FileNotFoundError, BadGzipFile, EOFError, zlib.error, ValueError, KeyError, TypeError)
"""How reading the header of a segment ends that is torn, was compacted meanwhile, or is none at all."""


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
    """fsspec's file system of a place, and the place's path in it. Raises UserError for a URL that it cannot use."""
    with _telling(f"{place}: cannot be used", "install what this kind of URL needs, or name a folder"):
        system, root = fsspec.core.url_to_fs(str(place))
    return system, root


def read_text(folder: Path | str, name: str) -> str | None:
    """The text of a file in a folder; None where there is none. Raises UserError where it cannot be read."""
    system, root = file_system(folder)
    next_step = "get the right to read it, or name another place"
    with _telling(f"{folder}/{name}: cannot be read", next_step), suppress(FileNotFoundError):
        return str(system.cat_file(f"{root}/{name}").decode("utf-8"))
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
        if target.is_dir():
            raise UserError(f"{place}: cannot be written, for it is a folder; name a file in it")
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}.{os.getpid()}.new")
        try:
            with unfinished.open("wb") as file:
                yield file
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{place}: cannot be written ({error}); make room there, or name another place") from error


def check_copy(folder: Path, place: str, leave_out: frozenset[str]) -> None:
    """Whether `copy_folder` may and can use a place: one that is empty, or holds a copy of this very campaign.

    Raises UserError where it is anything else, as a part of the folder, or cannot be reached.
    """
    system, root = file_system(place)
    if isinstance(system, LocalFileSystem):
        here, there = folder.resolve(), Path(root).resolve()
        if here.is_relative_to(there) or there.is_relative_to(here):
            raise UserError(f"{place}: is, holds or lies in the folder {folder} itself; name an empty one elsewhere")
    with _telling(f"{place}: cannot be looked at", "get the right to use it, or name another place"):
        system.invalidate_cache()
        is_fit = _is_empty(system, root) or _is_copy(system, root, folder, leave_out)
    if not is_fit:
        raise UserError(
            f"{place}: is not empty, and holds no copy of the campaign in {folder}; a copy would remove what is there. "
            "Name an empty folder or URL"
        )


def copy_folder(folder: Path, place: str, leave_out: frozenset[str]) -> None:
    """Makes a place a copy of a campaign's folder: what the folder has not got is removed there. `leave_out` are names
    at its top.

    Raises UserError as `check_copy` does, and where the place cannot be written.
    """
    check_copy(folder, place, leave_out)
    system, root = file_system(place)
    with _telling(
        f"{place}: the copy of {folder} is not complete",
        f"{folder} itself is whole. Mend the place, and run the same command again",
    ):
        files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
        wanted = {
            str(path.relative_to(folder)): path for path in files if path.relative_to(folder).parts[0] not in leave_out
        }
        # The journal first: by it a copy that was broken off is known again.
        for name in sorted(wanted, key=lambda name: not name.startswith(f"{JOURNAL}/")):
            _put(wanted[name], system, f"{root}/{name}")
        for found in system.find(root):
            if found.removeprefix(root).lstrip("/") not in wanted:
                system.rm_file(found)


def _put(path: Path, system: Any, target: str) -> None:
    if isinstance(system, LocalFileSystem):
        with new_file(target) as file, path.open("rb") as source:
            shutil.copyfileobj(source, file)
    else:
        system.makedirs(target.rpartition("/")[0], exist_ok=True)
        system.put_file(str(path), target)


def _is_empty(system: Any, root: str) -> bool:
    """Whether there is no file; folders without any do not count, nor what stores keep as the mark of a folder."""
    try:
        found = any(name for _, _, names in system.walk(root, on_error="raise") for name in names)
    except FileNotFoundError:
        return True
    return not (found or system.isfile(root))


def _is_copy(system: Any, root: str, folder: Path, leave_out: frozenset[str]) -> bool:
    """Whether a place holds a copy of a campaign's folder, and not a folder in which the campaign itself went on: that
    has what is left out of copies, its lease first of all, and perhaps measurements that this folder lacks."""
    owner = _owner(LocalFileSystem(), str(folder))
    is_ours = owner is not None and _owner(system, root) == owner
    return is_ours and not any(system.exists(f"{root}/{name}") for name in leave_out)


def _owner(system: Any, root: str) -> str | None:
    """The mark that a campaign's journal has from its beginning, in every copy; None where there is no journal."""
    try:
        names = system.ls(f"{root}/{JOURNAL}", detail=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    for name in sorted(names):
        with suppress(*_NO_HEADER), system.open(name, "rb", compression="infer") as file:
            return str(json.loads(file.readline(_HEADER_BYTES))["owner"])
    return None


@contextmanager
def _telling(what: str, next_step: str) -> Iterator[None]:
    """Turns any error inside the block into a UserError that says what went wrong, why, and what to do."""
    try:
        yield
    except Exception as error:  # stores raise errors of their own libraries, as that there are no credentials
        raise UserError(f"{what} ({str(error) or type(error).__name__}); {next_step}") from error
