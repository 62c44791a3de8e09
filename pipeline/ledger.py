"""The ledger of a campaign: which jobs there are, who measured them, and what came out. The truth about a campaign.

A job is planned for a device class; an attempt at it belongs to one phone and is leased, done or failed. Results are
stored in the transaction that ends their attempt, so ingesting the same lines again changes nothing. At most one
attempt for each (job, phone, purpose) is accepted. One process owns a ledger at a time.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.programs import Program

from .jobs import Job
from .readings import Readings
from .scheduling import PROBE

LEDGER_SCHEMA = 2
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE phones (
    label TEXT PRIMARY KEY, serial TEXT NOT NULL UNIQUE, model TEXT NOT NULL, device_class TEXT NOT NULL,
    address TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE programs (id TEXT PRIMARY KEY, source TEXT NOT NULL, options TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE jobs (
    id TEXT NOT NULL, purpose TEXT NOT NULL, device_class TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
    programs TEXT NOT NULL, PRIMARY KEY (id, purpose)) WITHOUT ROWID;
CREATE TABLE batches (
    id TEXT PRIMARY KEY, phone TEXT NOT NULL REFERENCES phones, purpose TEXT NOT NULL,
    offset INTEGER NOT NULL DEFAULT 0, agent TEXT, temperature_before_c REAL, temperature_after_c REAL,
    telemetry_before TEXT, telemetry_after TEXT) WITHOUT ROWID;
CREATE TABLE attempts (
    job TEXT NOT NULL, phone TEXT NOT NULL REFERENCES phones, purpose TEXT NOT NULL, attempt INTEGER NOT NULL,
    batch TEXT NOT NULL REFERENCES batches, state TEXT NOT NULL CHECK (state IN ('leased', 'done', 'failed')),
    reason TEXT, result TEXT, accepted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job, phone, purpose, attempt), FOREIGN KEY (job, purpose) REFERENCES jobs (id, purpose)) WITHOUT ROWID;
CREATE UNIQUE INDEX one_accepted_trace ON attempts (job, phone, purpose) WHERE accepted = 1;
CREATE INDEX attempts_of_batch ON attempts (batch);
"""


@dataclass(frozen=True)
class OpenBatch:
    """A batch with leased jobs: whose it is, how far its results were read, and the jobs without a result, each with
    its purpose."""

    id: str
    phone: str
    offset: int
    jobs: tuple[str, ...]
    purposes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AcceptedAttempt:
    """Who has measured a job, in which batch, and the status of its trace."""

    job: str
    purpose: str
    phone: str
    batch: str
    status: str


class Ledger:
    """An open ledger. Not shared between threads or processes; use as a context manager."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        """Opens or makes `<folder>/ledger.sqlite`. Raises UserError while another process owns it.

        `read_only` is for looking on, also while another process works: it needs no ownership, but an existing ledger.
        """
        if read_only:
            self._lock = None
            self._db = _look_at(folder)
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _own(folder)
        self._db = sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._prepare(folder)

    def _prepare(self, folder: Path) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            with self.transaction():
                for statement in filter(None, map(str.strip, _TABLES.split(";"))):
                    self._db.execute(statement)
                self._db.execute("INSERT INTO meta VALUES ('owner', ?)", (secrets.token_hex(4),))
                self._db.execute(f"PRAGMA user_version = {LEDGER_SCHEMA}")
        elif version == 1:
            with self.transaction():
                for name in ("telemetry_before", "telemetry_after"):
                    self._db.execute(f"ALTER TABLE batches ADD COLUMN {name} TEXT")
                self._db.execute(f"PRAGMA user_version = {LEDGER_SCHEMA}")
        elif version != LEDGER_SCHEMA:
            self.close()
            raise UserError(
                f"{folder}/ledger.sqlite has schema {version}; this version reads {LEDGER_SCHEMA}: use the version "
                "of Splitfleet that began the campaign, or begin it anew in another folder"
            )

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()
        if self._lock:
            self._lock.release()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; what is inside is on the disk when the outermost one ends."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # What the campaign is

    @property
    def owner(self) -> str:
        """Marks this campaign's batches on phones."""
        return self.get("owner") or ""

    def get(self, key: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def label_phone(self, serial: str, model_slug: str, device_class: str, address: str, model: str) -> str:
        """The phone's label within the campaign: `<model-slug>-<n>`, the same at every visit."""
        row = self._db.execute("SELECT label FROM phones WHERE serial = ?", (serial,)).fetchone()
        if row is not None:
            self._db.execute(
                "UPDATE phones SET device_class = ?, address = ? WHERE label = ?", (device_class, address, row[0])
            )
            return str(row[0])
        taken = {label for (label,) in self._db.execute("SELECT label FROM phones")}
        label = next(name for n in range(1, len(taken) + 2) if (name := f"{model_slug}-{n}") not in taken)
        self._db.execute("INSERT INTO phones VALUES (?, ?, ?, ?, ?)", (label, serial, model, device_class, address))
        return label

    def phones(self) -> list[dict[str, str]]:
        names = ("label", "serial", "model", "device_class", "address")
        rows = self._db.execute(f"SELECT {', '.join(names)} FROM phones ORDER BY label")
        return [dict(zip(names, row, strict=True)) for row in rows]

    # Jobs and attempts

    def plan(self, jobs: Iterable[Job], device_class: str, purpose: str) -> None:
        """Adds jobs; those that are known already stay as they are."""
        with self.transaction():
            for job in jobs:
                programs = [program.id for program in job.programs]
                row = (job.id, purpose, device_class, job.kind, json.dumps(job.body, sort_keys=True))
                self._db.execute("INSERT OR IGNORE INTO jobs VALUES (?, ?, ?, ?, ?, ?)", (*row, json.dumps(programs)))
                self._db.executemany(
                    "INSERT OR IGNORE INTO programs VALUES (?, ?, ?)",
                    [(program.id, program.source, program.options) for program in job.programs],
                )

    def settled(self, purpose: str) -> dict[str, str]:
        """The jobs that have their accepted trace, and its status."""
        rows = self._db.execute(
            "SELECT job, json_extract(result, '$.status') FROM attempts WHERE accepted = 1 AND purpose = ?", (purpose,)
        )
        return dict(rows.fetchall())

    def failures(self, purpose: str) -> dict[str, int]:
        """How many attempts at each job have failed; those whose results were invalidated did not."""
        rows = self._db.execute(
            "SELECT job, COUNT(*) FROM attempts WHERE state = 'failed' AND reason NOT LIKE 'superseded%' "
            "AND reason NOT LIKE 'invalid: %' AND purpose = ? GROUP BY job",
            (purpose,),
        )
        return dict(rows.fetchall())

    def repeats(self, purpose: str) -> dict[str, int]:
        """How often each job's accepted result was invalidated."""
        rows = self._db.execute(
            "SELECT job, COUNT(*) FROM attempts WHERE state = 'failed' AND reason LIKE 'invalid: %' AND purpose = ? "
            "GROUP BY job",
            (purpose,),
        )
        return dict(rows.fetchall())

    def accepted_of(self, device_class: str, purpose: str) -> Iterator[AcceptedAttempt]:
        """Who has measured the jobs of a device class for this purpose."""
        rows = self._db.execute(
            "SELECT job, attempts.purpose, phone, batch, json_extract(result, '$.status') FROM attempts "
            "JOIN jobs ON jobs.id = job AND jobs.purpose = attempts.purpose "
            "WHERE accepted = 1 AND attempts.purpose = ? AND device_class = ?",
            (purpose, device_class),
        )
        for row in rows:
            yield AcceptedAttempt(*row)

    def job(self, job_id: str, purpose: str) -> Job:
        body, ids = self._db.execute(
            "SELECT body, programs FROM jobs WHERE id = ? AND purpose = ?", (job_id, purpose)
        ).fetchone()
        programs = tuple(
            Program(*self._db.execute("SELECT source, options FROM programs WHERE id = ?", (key,)).fetchone())
            for key in json.loads(ids)
        )
        return Job(job_id, json.loads(body), programs)

    @property
    def next_batch(self) -> int:
        """A number that no batch's id has yet."""
        return int(self._db.execute("SELECT COUNT(*) + 1 FROM batches").fetchone()[0])

    def lease(
        self, batch: str, jobs: Iterable[str], phone: str, purpose: str, others: Mapping[str, str] | None = None
    ) -> None:
        """Leases jobs to a phone as a new batch; `others` gives the purposes of those that have another one."""
        with self.transaction():
            self._db.execute("INSERT INTO batches (id, phone, purpose) VALUES (?, ?, ?)", (batch, phone, purpose))
            for job in jobs:
                of = (others or {}).get(job, purpose)
                # A job for a second phone becomes one of its own the first time that it is leased.
                self._db.execute(
                    "INSERT OR IGNORE INTO jobs SELECT id, ?, device_class, kind, body, programs FROM jobs "
                    "WHERE id = ? AND purpose = ?",
                    (of, job, purpose),
                )
                self._db.execute(
                    "INSERT INTO attempts (job, phone, purpose, attempt, batch, state) SELECT ?, ?, ?, "
                    "COALESCE(MAX(attempt), 0) + 1, ?, 'leased' FROM attempts "
                    "WHERE job = ? AND phone = ? AND purpose = ?",
                    (job, phone, of, batch, job, phone, of),
                )

    def open_batches(self, purpose: str) -> list[OpenBatch]:
        """The batches of this purpose that have leased jobs."""
        rows = self._db.execute(
            "SELECT batches.id, batches.phone, batches.offset, json_group_array(attempts.job), "
            "json_group_array(attempts.purpose) FROM attempts "
            "JOIN batches ON batches.id = attempts.batch WHERE attempts.state = 'leased' AND batches.purpose = ? "
            "GROUP BY batches.id ORDER BY batches.id",
            (purpose,),
        )
        return [
            OpenBatch(name, phone, offset, tuple(json.loads(jobs)), tuple(json.loads(purposes)))
            for name, phone, offset, jobs, purposes in rows
        ]

    def release(self, batch: str) -> None:
        """Gives back the batch's leased jobs as if they had not been leased."""
        self._db.execute("DELETE FROM attempts WHERE batch = ? AND state = 'leased'", (batch,))

    def record(self, batch: str, result: dict[str, Any], *, accept: bool) -> bool:
        """Ends a leased attempt with its result line: accepted as the job's trace, or failed with its status.

        Returns False, and changes nothing, where the batch has no such leased job. A job that another phone has
        settled meanwhile keeps that trace. Of a phone's probes all are done, and the first one is its trace.
        """
        row = self._db.execute(
            "SELECT phone, purpose FROM attempts WHERE batch = ? AND job = ? AND state = 'leased'",
            (batch, result["id"]),
        ).fetchone()
        if row is None:
            return False
        key, where = [result["id"], row[1]], "job = ? AND purpose = ? AND accepted = 1"
        if row[1] == PROBE:
            key, where = [*key, row[0]], f"{where} AND phone = ?"
        other = self._db.execute(f"SELECT phone FROM attempts WHERE {where}", key).fetchone()
        if row[1] == PROBE and accept:
            state, reason, accept = "done", None, other is None
        elif row[1] != PROBE and other is not None:
            state, reason, accept = "failed", f"superseded by {other[0]}", False
        elif accept:
            state, reason = "done", None
        else:
            state, reason = "failed", result["status"]
        self._db.execute(
            "UPDATE attempts SET state = ?, reason = ?, result = ?, accepted = ? "
            "WHERE batch = ? AND job = ? AND state = 'leased'",
            (state, reason, json.dumps(result, sort_keys=True), int(accept), batch, result["id"]),
        )
        return True

    def invalidate(self, batch: str, jobs: Iterable[tuple[str, str]], reason: str) -> list[AcceptedAttempt]:
        """The batch's results of these jobs (id, purpose) do not count any more: the attempts are failed, their results
        are kept. Returns those that were accepted."""
        found = []
        for job, purpose in jobs:
            row = self._db.execute(
                "SELECT phone, json_extract(result, '$.status'), accepted FROM attempts "
                "WHERE batch = ? AND job = ? AND purpose = ? AND state = 'done'",
                (batch, job, purpose),
            ).fetchone()
            if row is None:
                continue
            self._db.execute(
                "UPDATE attempts SET state = 'failed', accepted = 0, reason = ? "
                "WHERE batch = ? AND job = ? AND purpose = ?",
                (reason if reason.startswith("superseded") else f"invalid: {reason}", batch, job, purpose),
            )
            if row[2]:
                found.append(AcceptedAttempt(job, purpose, row[0], batch, row[1]))
        return found

    def mark(self, batch: str, jobs: Iterable[tuple[str, str]], reason: str) -> None:
        """The batch's results of these jobs (id, purpose) are doubtful, but count."""
        self._db.executemany(
            "UPDATE attempts SET reason = ? WHERE batch = ? AND job = ? AND purpose = ? AND accepted = 1",
            [(reason, batch, job, purpose) for job, purpose in jobs],
        )

    def offset(self, batch: str) -> int:
        """How far (bytes) the batch's results have been read."""
        return int(self._db.execute("SELECT offset FROM batches WHERE id = ?", (batch,)).fetchone()[0])

    def phone_of(self, batch: str) -> str:
        return str(self._db.execute("SELECT phone FROM batches WHERE id = ?", (batch,)).fetchone()[0])

    def set_offset(self, batch: str, offset: int) -> None:
        self._db.execute("UPDATE batches SET offset = ? WHERE id = ?", (offset, batch))

    def set_agent(self, batch: str, line: dict[str, Any]) -> None:
        """Stores the first line of the batch's results, which describes the agent."""
        self._db.execute("UPDATE batches SET agent = ? WHERE id = ?", (json.dumps(line, sort_keys=True), batch))

    def set_telemetry(self, batch: str, line: dict[str, Any]) -> None:
        """Stores what the agent read of the phone when a batch began or ended. An agent that was started again on the
        batch tells its start again: the first one counts."""
        text = json.dumps(line, sort_keys=True)
        if line.get("when") == "start":
            self._db.execute(
                "UPDATE batches SET telemetry_before = COALESCE(telemetry_before, ?) WHERE id = ?", (text, batch)
            )
        else:
            self._db.execute("UPDATE batches SET telemetry_after = ? WHERE id = ?", (text, batch))

    def set_readings(self, batch: str, before: Readings, after: Readings) -> None:
        self._db.execute(
            "UPDATE batches SET temperature_before_c = ?, temperature_after_c = ? WHERE id = ?",
            (before.hottest_c, after.hottest_c, batch),
        )

    def accepted(self) -> Iterator[dict[str, Any]]:
        """Every accepted attempt with its job, batch and phone, in a fixed order; and every probe that counts."""
        cursor = self._db.execute(
            "SELECT attempts.job, attempts.phone, attempts.purpose, attempts.attempt, attempts.result, "
            "jobs.device_class, jobs.kind, jobs.body, batches.temperature_before_c, batches.temperature_after_c, "
            "batches.telemetry_before, batches.telemetry_after "
            "FROM attempts JOIN jobs ON jobs.id = attempts.job AND jobs.purpose = attempts.purpose "
            "JOIN batches ON batches.id = attempts.batch "
            "WHERE accepted = 1 OR (attempts.purpose = 'probe' AND attempts.state = 'done') "
            "ORDER BY attempts.phone, attempts.purpose, attempts.job, attempts.attempt"
        )
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield dict(zip(names, row, strict=True))

    def counts(self) -> list[dict[str, Any]]:
        """For each device class and purpose: jobs, done (accepted and ok), rejected (accepted with another status).
        Probes, of which every phone has its own, are not counted."""
        rows = self._db.execute(
            "SELECT jobs.device_class, jobs.purpose, COUNT(*), "
            "SUM(json_extract(result, '$.status') = 'ok'), SUM(json_extract(result, '$.status') != 'ok') "
            "FROM jobs LEFT JOIN attempts ON job = id AND attempts.purpose = jobs.purpose AND accepted = 1 "
            "WHERE jobs.purpose != 'probe' "
            "GROUP BY jobs.device_class, jobs.purpose ORDER BY jobs.device_class, jobs.purpose"
        )
        names = ("device_class", "purpose", "jobs", "done", "rejected")
        return [dict(zip(names, (*row[:3], row[3] or 0, row[4] or 0), strict=True)) for row in rows]


def _look_at(folder: Path) -> sqlite3.Connection:
    """A read-only connection to a ledger that exists."""
    path = folder / "ledger.sqlite"
    if path.is_file():
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        # The tables that are looked at are the same in both.
        if database.execute("PRAGMA user_version").fetchone()[0] in (1, LEDGER_SCHEMA):
            return database
        database.close()
    raise UserError(
        f"{folder}: no campaign of this version here; begin one: splitfleet campaign run FILE --out {folder}"
    )


def _own(folder: Path) -> FileLock:
    """Takes the folder's lock; the file beside it says who holds it."""
    lock = FileLock(folder / "ledger.lock")
    owner = folder / "ledger.owner.json"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"{folder}: this campaign is being worked on{_owner_text(owner)}; wait, or end it there"
        ) from None
    owner.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since_unix_s": int(time.time())}))
    return lock


def _owner_text(path: Path) -> str:
    try:
        owner = json.loads(path.read_text("utf-8"))
        return f" by process {owner['pid']} on host {owner['host']}"
    except (OSError, ValueError, KeyError):
        return ""
