"""Copies of a campaign's folder and files that are written beside it: nothing else is removed, nothing half is left."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from rich.console import Console

from splitfleet.kernels.errors import DeviceError, UserError
from splitfleet.pipeline import campaign_run
from splitfleet.pipeline.campaign_run import run_campaign
from splitfleet.pipeline.campaign_status import campaign_status, stop_campaign
from splitfleet.pipeline.fleet import RunSummary
from splitfleet.pipeline.ledger import Ledger
from splitfleet.pipeline.ledger.lease import LeaseLost
from splitfleet.pipeline.locations import copy_folder, new_file, read_text
from splitfleet.pipeline.progress import PlainProgress

from .campaigns import write_campaign
from .limits import files_up_to

LEFT_OUT = frozenset({"lease"})


class NoCredentials(Exception):
    """As a store's library raises it: no OSError."""


class NoPhones:
    """Stands for a fleet: holds the folder's ledger, and measures what `measure` writes there."""

    measure: Callable[[NoPhones], None]

    def __init__(self, phones: object, folder: Path, progress: object, **_: object) -> None:
        self.folder = folder

    def __enter__(self) -> NoPhones:
        self.ledger = Ledger(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        self.ledger.close()

    def profiles(self) -> dict[str, Any]:
        return {}

    known_profiles = profiles

    def run(self, *_: object, **__: object) -> RunSummary:
        type(self).measure(self)
        return RunSummary(False, {}, (), {})


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[NoPhones], None]], None]:
    """Says what runs of campaigns do in place of measuring."""

    def be(measure: Callable[[NoPhones], None]) -> None:
        monkeypatch.setattr(NoPhones, "measure", measure, raising=False)
        monkeypatch.setattr(campaign_run, "Fleet", NoPhones)

    be(lambda fleet: pytest.fail("phones are used"))
    return be


@pytest.fixture
def store() -> Iterator[str]:
    """An empty place of a store that is no file system."""
    system = fsspec.filesystem("memory")
    yield "memory://locations"
    if system.exists("/locations"):
        system.rm("/locations", recursive=True)


def begin(folder: Path, *traces: str) -> Path:
    """A campaign's folder with some traces."""
    with Ledger(folder) as ledger:
        ledger.put("campaign_name", "tiny")
    for name in traces:
        (folder / "traces").mkdir(exist_ok=True)
        (folder / "traces" / name).write_text(name)
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def copied_names(folder: Path) -> list[str]:
    return [name for name in names_in(folder) if not name.startswith("lease/")]


# What a copy may take the place of


def somebodys_files(runs: Path) -> Path:
    (runs / "mine").mkdir()
    (runs / "mine" / "thesis.txt").write_text("years of work")
    return runs / "mine"


def a_file(runs: Path) -> Path:
    return somebodys_files(runs) / "thesis.txt"


def the_folder_itself(runs: Path) -> Path:
    return runs / "tiny"


def the_folder_by_another_name(runs: Path) -> Path:
    (runs / "link").symlink_to(runs / "tiny")
    return runs / "link"


def a_folder_in_it(runs: Path) -> Path:
    return runs / "tiny" / "copy"


def the_folder_of_all_campaigns(runs: Path) -> Path:
    return runs


def another_campaign(runs: Path) -> Path:
    return begin(runs / "other", "b.parquet")


def a_copy_of_another_campaign(runs: Path) -> Path:
    copy_folder(begin(runs / "other", "b.parquet"), str(runs / "copy"), LEFT_OUT)
    return runs / "copy"


def where_a_copy_of_it_went_on(runs: Path) -> Path:
    copy_folder(runs / "tiny", str(runs / "fetched"), LEFT_OUT)
    return begin(runs / "fetched", "b.parquet")


OVERLAPS = [the_folder_itself, the_folder_by_another_name, a_folder_in_it, the_folder_of_all_campaigns]
OTHERS = [somebodys_files, a_file, another_campaign, a_copy_of_another_campaign, where_a_copy_of_it_went_on]


@pytest.mark.parametrize("place", [*OVERLAPS, *OTHERS])
def test_a_place_with_anything_else_is_refused_before_phones_are_used(
    place: Callable[[Path], Path], tmp_path: Path, measuring: object
) -> None:
    runs = tmp_path / "runs"
    folder = begin(runs / "tiny", "a.parquet")
    there = place(runs)
    words = "is, holds or lies in the folder" if place in OVERLAPS else "is not empty, and holds no copy"
    before = names_in(tmp_path)
    for where in (str(there), f"file://{there}"):
        with pytest.raises(UserError, match=f"^{re.escape(where)}: {words}.*[Nn]ame an empty"):
            copy_folder(folder, where, LEFT_OUT)
        assert names_in(tmp_path) == before
        with pytest.raises(UserError, match=f"^{re.escape(where)}: {words}"):
            run_campaign(write_campaign(tmp_path, "127.0.0.1:1"), folder, copy_to=where)
        (tmp_path / "tiny.toml").unlink()
        assert names_in(tmp_path) == before


def test_a_new_campaign_takes_no_place_of_an_older_one(tmp_path: Path, store: str, measuring: object) -> None:
    """Not even of one with the same file: its measurements may be nowhere else."""
    copy_folder(begin(tmp_path / "older", "a.parquet"), f"{store}/copy", LEFT_OUT)
    with pytest.raises(UserError, match=r"copy: is not empty, and holds no copy of the campaign in .*newer"):
        run_campaign(write_campaign(tmp_path, "127.0.0.1:1"), tmp_path / "newer", copy_to=f"{store}/copy")
    assert fsspec.filesystem("memory").exists("/locations/copy/traces/a.parquet")
    assert not (tmp_path / "newer").exists()


def test_a_copy_is_renewed(tmp_path: Path) -> None:
    folder = begin(tmp_path / "tiny", "a.parquet", "b.parquet")
    (tmp_path / "copy" / "empty").mkdir(parents=True)
    copy_folder(folder, str(tmp_path / "copy"), LEFT_OUT)
    assert names_in(tmp_path / "copy") == copied_names(folder)
    (folder / "traces" / "a.parquet").unlink()
    begin(folder, "c.parquet")
    copy_folder(folder, f"file://{tmp_path}/copy/", LEFT_OUT)
    assert names_in(tmp_path / "copy") == copied_names(folder)
    assert (tmp_path / "copy" / "traces" / "c.parquet").read_text() == "c.parquet"


def test_a_copy_that_was_broken_off_is_made_whole(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, system, put = begin(tmp_path / "tiny", "a.parquet"), fsspec.filesystem("memory"), MemoryFileSystem.put_file
    files: list[str] = []

    def put_one(self: object, source: str, target: str, **words: object) -> None:
        if files:
            raise OSError("no room")
        files.append(target)
        put(system, source, target, **words)

    monkeypatch.setattr(MemoryFileSystem, "put_file", put_one)
    with pytest.raises(
        UserError, match=r"copy: the copy of .* is not complete \(no room\); .*run the same command again"
    ):
        copy_folder(folder, f"{store}/copy", LEFT_OUT)
    monkeypatch.undo()
    copy_folder(folder, f"{store}/copy", LEFT_OUT)
    assert sorted(system.find("/locations/copy")) == [f"/locations/copy/{name}" for name in copied_names(folder)]


def test_a_copy_on_a_full_disk_leaves_no_half_file(tmp_path: Path) -> None:
    folder = begin(tmp_path / "tiny", "a.parquet")
    with files_up_to(1), pytest.raises(UserError, match=r"copy: the copy of .* is not complete"):
        copy_folder(folder, str(tmp_path / "copy"), LEFT_OUT)
    assert names_in(tmp_path / "copy") == []
    copy_folder(folder, str(tmp_path / "copy"), LEFT_OUT)
    assert names_in(tmp_path / "copy") == copied_names(folder)


# When a run is copied


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("s4://bucket/run", "s4://bucket/run: .*Protocol not known.*name a folder"),
        ("s3://bucket/run", "s3://bucket/run: .*[Ii]nstall s3fs.*name a folder"),
        ("memory://locations/run", r"memory://locations/run: cannot be looked at \(no credentials\); get the right"),
    ],
)
def test_a_place_that_cannot_be_used_is_told_before_phones_are(
    place: str, words: str, tmp_path: Path, measuring: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_list(*_: object, **__: object) -> None:
        raise NoCredentials("no credentials")

    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setattr(MemoryFileSystem, "ls", no_list)
    with pytest.raises(UserError, match=words):
        run_campaign(write_campaign(tmp_path, "127.0.0.1:1"), tmp_path / "run", copy_to=place)
    assert not (tmp_path / "run").exists()


def test_a_run_is_copied_however_it_ends(
    tmp_path: Path, measuring: Callable[[Callable[[NoPhones], None]], None]
) -> None:
    file, folder, copy = write_campaign(tmp_path, "127.0.0.1:1"), tmp_path / "run", tmp_path / "copy"
    measuring(lambda fleet: (fleet.folder / "first").touch())
    run_campaign(file, folder, copy_to=str(copy))
    assert names_in(copy) == copied_names(folder)

    def fail(fleet: NoPhones) -> None:
        (fleet.folder / "second").touch()
        raise DeviceError("no phone works")

    measuring(fail)
    with pytest.raises(DeviceError, match="no phone works"):
        run_campaign(file, folder, copy_to=str(copy))
    assert names_in(copy) == copied_names(folder)
    assert "second" in names_in(copy)


def test_the_error_of_a_run_is_raised_and_that_of_its_copy_is_said(
    tmp_path: Path, measuring: Callable[[Callable[[NoPhones], None]], None]
) -> None:
    copy, output = tmp_path / "copy", StringIO()

    def fail(_: NoPhones) -> None:
        copy.mkdir()
        (copy / "theirs").touch()
        raise DeviceError("no phone works")

    measuring(fail)
    file, progress = write_campaign(tmp_path, "127.0.0.1:1"), PlainProgress(Console(file=output))
    with pytest.raises(DeviceError, match="no phone works"):
        run_campaign(file, tmp_path / "run", progress=progress, copy_to=str(copy))
    assert f"{copy}: is not empty, and holds no copy" in output.getvalue()
    assert names_in(copy) == ["theirs"]


def test_a_folder_that_another_driver_has_is_not_copied(
    tmp_path: Path, measuring: Callable[[Callable[[NoPhones], None]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, folder, output = write_campaign(tmp_path, "127.0.0.1:1"), tmp_path / "run", StringIO()
    progress = PlainProgress(Console(file=output))
    measuring(lambda fleet: None)
    run_campaign(file, folder)
    with Ledger(folder), pytest.raises(UserError, match="is being worked on by process"):
        run_campaign(file, folder, copy_to=str(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()

    def lose(fleet: NoPhones) -> None:
        monkeypatch.setenv("SPLITFLEET_HOME", str(tmp_path / "another-host"))
        with Ledger(folder, take_over=True):
            fleet.ledger.put("key", "value")

    measuring(lose)
    with pytest.raises(LeaseLost):
        run_campaign(file, folder, progress=progress, copy_to=str(tmp_path / "copy"))
    assert "another driver has taken the campaign over" in output.getvalue()
    assert not (tmp_path / "copy").exists()


# Files


@pytest.mark.parametrize("error", [PermissionError("Access Denied"), NoCredentials("Access Denied")])
def test_a_place_that_cannot_be_read_is_named(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object, **__: object) -> bytes:
        raise error

    monkeypatch.setattr(MemoryFileSystem, "cat_file", deny)
    with pytest.raises(
        UserError, match=r"memory://b/run/status\.json: cannot be read \(Access Denied\); get the right"
    ):
        campaign_status("memory://b/run")


def test_what_is_no_readable_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_bytes(b"\xff\xfe")
    (tmp_path / "folder").mkdir()
    assert read_text(tmp_path, "none") is None
    for folder, name in ((tmp_path, "status.json"), (tmp_path, "folder"), (tmp_path / "status.json", "inside")):
        with pytest.raises(UserError, match=f"{folder}/{name}: cannot be read"):
            read_text(folder, name)


@pytest.mark.parametrize("place", [".", "..", "/", "", "out", "file://out"])
def test_a_folder_is_no_file_to_be_written(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"^{place}: cannot be written, for it is a folder"), new_file(place):
        pytest.fail("it is written")
    assert [path.name for path in tmp_path.rglob("*")] == ["out"]


def test_the_copy_of_a_campaign_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, measuring: Callable[[Callable[[NoPhones], None]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, folder = write_campaign(tmp_path, "127.0.0.1:1"), tmp_path / "run"
    measuring(lambda fleet: None)
    run_campaign(file, folder)
    monkeypatch.setattr(Ledger, "put", lambda *_: None)  # the journal has room, the file has not
    before = (folder / "campaign.toml").read_text()
    file.write_text(f"{before}\n# {'a' * (2 << 20)}\n")
    with files_up_to(1 << 20), pytest.raises(UserError, match=r"campaign\.toml: cannot be written"):
        run_campaign(file, folder)
    assert (folder / "campaign.toml").read_text() == before
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_a_driver_that_cannot_be_told_to_stop(tmp_path: Path) -> None:
    with Ledger(tmp_path):
        (tmp_path / "stop.json").mkdir()
        before = sorted(tmp_path.iterdir())
        with pytest.raises(UserError, match=r"stop\.json: cannot be written \(.*press Ctrl-C where it runs"):
            stop_campaign(tmp_path)
        assert sorted(tmp_path.iterdir()) == before
