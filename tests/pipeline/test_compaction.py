"""A journal whose compaction finds no room: nothing is lost, and nothing half-written is left."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from splitfleet.pipeline.ledger import Ledger, database
from splitfleet.pipeline.ledger.journal import JOURNAL

from .test_journal import another_host, content, jobs, measure

NO_SPACE = OSError(28, "No space left on device")


def journal(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / JOURNAL).iterdir())


def no_room(of_header: Callable[[], bool]) -> Callable[[int, bytes], int]:
    """Instead of os.write: the header of a segment does not fit where that is said."""
    real = os.write

    def write(file: int, data: bytes) -> int:
        if b'"chain"' in bytes(data) and of_header():
            raise NO_SPACE
        return real(file, data)

    return write


def test_there_is_room_for_the_snapshot_and_none_for_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    monkeypatch.setattr(database, "SEGMENT_BYTES", 500)
    tried: list[str] = []

    def is_behind_a_snapshot() -> bool:
        tried.extend(name for name in journal(folder) if "snapshot" in name)
        return bool(tried)

    with Ledger(folder) as ledger:
        ledger.plan(jobs(20), "class", "measure")
        with monkeypatch.context() as patch:
            patch.setattr(database, "_FEW_SEGMENTS", -1000)
            patch.setattr("splitfleet.pipeline.ledger.journal.os.write", no_room(is_behind_a_snapshot))
            for number in range(5):
                measure(ledger, number)
        assert tried
        assert not [name for name in journal(folder) if "snapshot" in name]
        measure(ledger, 5)
    here = content(folder)
    assert set(here["settled"]) == {f"j{2 * number:04d}" for number in range(6)}
    with another_host(tmp_path / "there"):
        assert content(folder) == here


def test_a_segment_without_room_for_its_header_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    monkeypatch.setattr(database, "SEGMENT_BYTES", 500)
    with Ledger(folder) as ledger:
        before = journal(folder)
        with monkeypatch.context() as patch:
            patch.setattr("splitfleet.pipeline.ledger.journal.os.write", no_room(lambda: True))
            ledger.plan(jobs(20), "class", "measure")
        assert journal(folder) == before


def test_half_a_snapshot_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    monkeypatch.setattr(database, "SEGMENT_BYTES", 500)
    whole, tried = database._dump, []

    def half(of: sqlite3.Connection) -> Iterator[Any]:
        tried.append(journal(folder))
        yield next(iter(whole(of)))
        raise NO_SPACE

    with Ledger(folder) as ledger:
        ledger.plan(jobs(2), "class", "measure")
        with monkeypatch.context() as patch:
            patch.setattr(database, "_FEW_SEGMENTS", -1000)
            patch.setattr(database, "_dump", half)
            ledger.plan(jobs(20), "class", "measure")
        assert tried
        assert not [name for name in journal(folder) if "snapshot" in name]
        measure(ledger, 1)
    assert set(content(folder)["settled"]) == {"j0002"}
