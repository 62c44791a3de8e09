"""A ledger's SQLite database on this host's disk, kept in step with the journal in the campaign folder.

The journal is the truth; the database is what is worked with, and is made again from the journal wherever it is missing
or does not agree. SQLite is unsafe on folders that hosts share, and a commit there is slow; an append is neither. A
transaction is executed here, appended to the journal and synced there, and then committed here. A process killed in
between has journalled more than the database has: it is taken in at the next opening.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from splitfleet.kernels.errors import HarnessError, UserError

from ..home import splitfleet_home
from .journal import (
    SEGMENT_BYTES,
    Change,
    JournalWriter,
    Position,
    Segment,
    is_at,
    journal_bytes,
    last_number,
    remove_before,
    remove_snapshot,
    segments_of,
    snapshot_changes,
    transactions_since,
    write_snapshot,
)
from .lease import Lease, holder_of

Parameters = tuple[Any, ...] | dict[str, Any]
_FEW_SEGMENTS = 16
_ROWS_AT_ONCE = 500
_TRANSACTIONS_AT_ONCE = 1000
_READ_TRIES = 5
_READ_S = 120.0
_BRIEFLY_S = 0.2
_ALLOWED = {
    sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_ALTER_TABLE,
    sqlite3.SQLITE_DROP_TABLE, sqlite3.SQLITE_DROP_INDEX, sqlite3.SQLITE_REINDEX, sqlite3.SQLITE_TRANSACTION,
}  # fmt: skip


class LocalCopy:
    """The place of a ledger's database on this host: one process at a time may change it."""

    def __init__(self, owner: str) -> None:
        self.folder = splitfleet_home() / "ledgers" / owner
        self.path = self.folder / "ledger.sqlite"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(self.folder / "ledger.lock")

    def remove(self) -> None:
        for name in ("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"):
            (self.folder / name).unlink(missing_ok=True)

    def connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, isolation_level=None)
        database.execute("PRAGMA journal_mode = WAL")
        # The journal is synced; what a power cut takes from here is taken in from there.
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA cache_size = -65536")
        database.execute("PRAGMA foreign_keys = ON")
        return database

    def catch_up(self, folder: Path) -> sqlite3.Connection:
        """A connection to a database that has all that the journal has. The caller holds the lock."""
        for attempt in range(_READ_TRIES):
            database = self.connect()
            try:
                _catch_up(database, segments_of(folder))
                return database
            except FileNotFoundError:  # the journal was compacted meanwhile
                database.close()
                if attempt == _READ_TRIES - 1:
                    raise
            except sqlite3.DatabaseError as error:
                database.close()
                self.remove()
                if attempt == _READ_TRIES - 1:
                    raise HarnessError(f"{self.path}: cannot be made again from the journal: {error}") from error
            except _NotOfThisJournal:
                database.close()
                self.remove()
        raise HarnessError(f"{folder}: its journal changes faster than it can be read; try again")


class _NotOfThisJournal(Exception):
    """The database does not hold what the journal does."""


class Database:
    """A ledger that this process writes. Not shared between threads."""

    def __init__(self, folder: Path, owner: str, lease: Lease, before_commit: Callable[[], None]) -> None:
        """Takes in what the journal has, and begins a segment of the journal. `before_commit` is called at the end of
        each transaction, and may write more. Raises UserError where another process of this host works with a copy of
        the same campaign."""
        self._before_commit = before_commit
        self._folder = folder
        self._owner = owner
        self._lease = lease
        copy = LocalCopy(owner)
        self._lock = copy.lock
        try:
            self._lock.acquire(timeout=5)
        except Timeout:
            raise UserError(
                f"{folder}: another process of this host is working on a copy of this campaign; wait until it ends"
            ) from None
        self._changes: list[Change] = []
        self._depth = 0
        self._is_doomed = False
        self._is_broken = False
        try:
            self._db = copy.catch_up(folder)
            self._writer = self._new_segment(_position(self._db))
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        self._writer.close()
        self._db.close()
        self._lock.release()

    def query(self, sql: str, parameters: Parameters = ()) -> sqlite3.Cursor:
        return self._db.execute(sql, parameters)

    def write(self, sql: str, *rows: tuple[Any, ...]) -> int:
        """Executes a statement for each row of parameters, or once without any; returns how many rows it changed."""
        if not self._depth:
            with self.transaction():
                return self.write(sql, *rows)
        cursor = self._db.executemany(sql, rows) if rows else self._db.execute(sql)
        if self._changes and rows and self._changes[-1][0] == sql:
            self._changes[-1][1].extend(map(list, rows))
        else:
            self._changes.append((sql, [list(row) for row in rows]))
        return cursor.rowcount

    def insert(self, sql: str, rows: list[tuple[Any, ...]]) -> None:
        """As `write`, for any number of rows."""
        if rows:
            self.write(sql, *rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; what is inside is journalled and synced when the outermost one ends.

        Raises LeaseLost where another driver has taken over, HarnessError where the campaign folder or the database
        cannot be written.
        """
        if self._is_broken:
            raise HarnessError(f"{self._folder}: the ledger was closed by an earlier error; run the same command again")
        if self._depth == 0:
            self._db.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
            if self._depth == 1:
                self._before_commit()
                self._commit()
        except sqlite3.OperationalError as error:
            self._is_doomed = True
            raise HarnessError(
                f"{self._folder}: the ledger's database below {splitfleet_home()} cannot be written ({error}); what "
                "was measured before is kept, and phones keep the rest. Make room there, and run the same command again"
            ) from error
        except BaseException:
            self._is_doomed = True
            raise
        finally:
            self._depth -= 1
            if self._depth == 0:
                is_doomed, self._is_doomed = self._is_doomed, False
                self._changes.clear()
                if is_doomed and self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def _commit(self) -> None:
        if self._is_doomed:
            raise HarnessError(f"{self._folder}: a part of this transaction has failed")
        if not self._changes:
            self._db.execute("COMMIT")
            return
        try:
            self._lease.check()
            position = self._writer.append(self._changes)
        except OSError as error:
            raise HarnessError(
                f"{self._folder}: the journal cannot be written ({error.strerror}); what was measured before is kept, "
                "and phones keep the rest. Make room or mend the folder, and run the same command again"
            ) from error
        # From here on the journal has it, so the database must get it, now or at the next opening.
        self._is_broken = True
        self._lease.check()
        _set_position(self._db, position)
        self._db.execute("COMMIT")
        self._is_broken = False
        if self._writer.bytes > SEGMENT_BYTES:
            self._rotate()

    def compact(self) -> None:
        """Writes all rows into a snapshot, and removes the journal before it."""
        before = self._writer
        at = _position(self._db)
        number = last_number(self._folder, self._lease.epoch) + 1
        place = write_snapshot(self._folder, self._owner, self._lease.epoch, number, at, _dump(self._db))
        self._lease.check()
        try:
            self._writer = self._new_segment(place)
        except OSError:
            # The old segment goes on, and behind a snapshot nobody would read it.
            remove_snapshot(self._folder, place)
            raise
        before.close()
        with _plain_transaction(self._db):
            _set_position(self._db, self._writer.position)
        remove_before(self._folder, place.segment)

    def compact_if_due(self) -> None:
        """Keeps the journal below twice the size of the database, a segment more, and in few files."""
        pages, free, size = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        many = len(segments_of(self._folder)) > _FEW_SEGMENTS + journal_bytes(self._folder) // SEGMENT_BYTES
        if many or journal_bytes(self._folder) > 2 * (pages - free) * size + SEGMENT_BYTES:
            self.compact()

    def _rotate(self) -> None:
        full = self._writer
        # Where there is no room for it now, the old segment only grows longer.
        with suppress(OSError):
            self._writer = self._new_segment(full.position)
            full.close()
            self.compact_if_due()

    def _new_segment(self, after: Position | None) -> JournalWriter:
        number = last_number(self._folder, self._lease.epoch) + 1
        return JournalWriter(self._folder, self._owner, self._lease.epoch, number, after)


def open_to_read(folder: Path, segments: list[Segment]) -> sqlite3.Connection:
    """A read-only connection to the ledger as it is now; where a driver works on this host, to its own.

    Raises UserError where another process has not finished making the database in time.
    """
    copy = LocalCopy(segments[0].owner)
    holder = holder_of(folder)
    is_driven_here = holder is not None and holder.is_here and not holder.is_gone
    try:
        with copy.lock.acquire(timeout=_BRIEFLY_S if is_driven_here else _READ_S):
            copy.catch_up(folder).close()
    except Timeout:  # a driver has the lock all the time, and the database then has all that it committed
        if not (is_driven_here and copy.path.exists()):
            raise UserError(f"{folder}: another process of this host is reading its journal; try again later") from None
    return sqlite3.connect(f"{copy.path.absolute().as_uri()}?mode=ro", uri=True)


def adopt(folder: Path, old: Path, lease: Lease, migrate: list[str], owner: str) -> None:
    """Makes the journal of a ledger that lay in the campaign folder itself, as those of schema 1 and 2 did."""
    copy = LocalCopy(owner)
    with copy.lock.acquire(timeout=5):
        copy.remove()
        source = sqlite3.connect(old)
        database = copy.connect()
        source.backup(database)
        source.close()
        database.execute("PRAGMA foreign_keys = OFF")
        with _plain_transaction(database):
            for statement in migrate:
                database.execute(statement)
        place = write_snapshot(folder, owner, lease.epoch, 0, None, _dump(database))
        with _plain_transaction(database):
            _set_position(database, place)
        database.close()


def forget_stale_copies(used: str) -> None:
    """Removes this host's databases of campaigns that were not opened for 30 days; each is made again when it is."""
    for folder in (splitfleet_home() / "ledgers").glob("*"):
        path = folder / "ledger.sqlite"
        if folder.name == used or not path.exists() or time.time() - path.stat().st_mtime < 30 * 86400:
            continue
        with suppress(Timeout), FileLock(folder / "ledger.lock").acquire(timeout=0):
            shutil.rmtree(folder)


def _catch_up(database: sqlite3.Connection, segments: list[Segment]) -> None:
    position = _position(database)
    if position is None or not is_at(segments, position):
        is_empty = not database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
        if not is_empty:
            raise _NotOfThisJournal
        if not segments:
            return
        position = segments[0].start
        if segments[0].is_snapshot:
            with _plain_transaction(database):
                _replay(database, snapshot_changes(segments[0]))
                _set_position(database, position)
    waiting = transactions_since(segments, position)
    while some := list(islice(waiting, _TRANSACTIONS_AT_ONCE)):
        with _plain_transaction(database):
            for place, changes in some:
                _replay(database, iter(changes))
                position = place
            _set_position(database, position)


def _replay(database: sqlite3.Connection, changes: Iterator[Change]) -> None:
    """A journal comes from a shared folder: its statements may change the tables, and reach nothing else."""
    database.set_authorizer(_authorize)
    try:
        for sql, rows in changes:
            if rows:
                database.executemany(sql, rows)
            else:
                database.execute(sql)
    finally:
        database.set_authorizer(None)


def _authorize(action: int, first: str | None, _second: str | None, _database: str | None, _source: str | None) -> int:
    is_version = action == sqlite3.SQLITE_PRAGMA and first == "user_version"
    return sqlite3.SQLITE_OK if action in _ALLOWED or is_version else sqlite3.SQLITE_DENY


@contextmanager
def _plain_transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _dump(database: sqlite3.Connection) -> Iterator[Change]:
    """The statements that make the tables and rows."""
    version = database.execute("PRAGMA user_version").fetchone()[0]
    yield f"PRAGMA user_version = {version}", []
    schema = database.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid"
    ).fetchall()
    tables = [(name, sql) for kind, name, sql in schema if kind == "table" and name != "position"]
    for _, sql in tables:
        yield sql, []
    # Rows that others refer to come first.
    order = ["meta", "phones", "programs", "jobs", "batches", "attempts"]
    for name, _ in sorted(tables, key=lambda table: order.index(table[0]) if table[0] in order else -1):
        cursor = database.execute(f"SELECT * FROM {name}")
        columns = [column[0] for column in cursor.description]
        insert = f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        while rows := cursor.fetchmany(_ROWS_AT_ONCE):
            yield insert, [list(row) for row in rows]
    for kind, _, sql in schema:
        if kind == "index":
            yield sql, []


def _position(database: sqlite3.Connection) -> Position | None:
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'position'").fetchone():
        return None
    row = database.execute("SELECT number, crc32, segment, line_offset FROM position").fetchone()
    return Position(*row) if row else None


def _set_position(database: sqlite3.Connection, position: Position) -> None:
    database.execute(
        "CREATE TABLE IF NOT EXISTS position (id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL, "
        "crc32 INTEGER NOT NULL, segment TEXT NOT NULL, line_offset INTEGER NOT NULL)"
    )
    values = (position.transaction, position.crc32, position.segment, position.line_offset)
    database.execute("INSERT OR REPLACE INTO position VALUES (1, ?, ?, ?, ?)", values)
