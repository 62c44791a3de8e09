"""Opening a ledger to look at it, and those of earlier versions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from splitfleet.kernels.errors import UserError

from .database import open_to_read
from .journal import segments_of
from .tables import LEDGER_SCHEMA, statements_from

OLD_LEDGER = "ledger.sqlite"


def look_at(folder: Path) -> sqlite3.Connection:
    """A read-only connection to a ledger that exists."""
    if segments := segments_of(folder):
        database = open_to_read(folder, segments)
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version == LEDGER_SCHEMA:
            return database
        database.close()
        if version:
            raise other_schema(folder, version)
    elif (folder / OLD_LEDGER).is_file():
        _, schema = old_ledger(folder)
        database = sqlite3.connect(":memory:", isolation_level=None)
        source = sqlite3.connect(f"{(folder / OLD_LEDGER).absolute().as_uri()}?mode=ro", uri=True)
        source.backup(database)
        source.close()
        for statement in statements_from(schema):
            database.execute(statement)
        return database
    raise UserError(
        f"{folder}: no campaign of this version here; begin one: splitfleet campaign run FILE --out {folder}"
    )


def old_ledger(folder: Path) -> tuple[str, int]:
    """The owner mark and schema of a ledger that lies in the campaign folder itself, of schema 1 or 2."""
    database = sqlite3.connect(folder / OLD_LEDGER)
    try:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version not in (1, 2):
            raise other_schema(folder, version)
        return str(database.execute("SELECT value FROM meta WHERE key = 'owner'").fetchone()[0]), version
    finally:
        database.close()


@contextmanager
def without_old_driver(folder: Path) -> Iterator[None]:
    """Raises UserError while a driver of an earlier version of Splitfleet works in the folder."""
    lock = FileLock(folder / "ledger.lock")
    try:
        with lock.acquire(timeout=0):
            yield
    except Timeout:
        raise UserError(
            f"{folder}: this campaign is being worked on by an earlier version of Splitfleet; wait, or end it there"
        ) from None


def version_statement() -> str:
    return f"PRAGMA user_version = {LEDGER_SCHEMA}"


def other_schema(folder: Path, version: int) -> UserError:
    return UserError(
        f"{folder}: its ledger has schema {version}; this version reads {LEDGER_SCHEMA}: use the version of Splitfleet "
        "that wrote it, or begin the campaign anew in another folder"
    )
