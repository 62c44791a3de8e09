"""The ledger of a campaign: which jobs there are, who measured them, and what came out. The truth about a campaign.

A job is planned for a device class; an attempt at it belongs to one phone and is leased, done or failed. Results are
stored in the transaction that ends their attempt, so ingesting the same lines again changes nothing. At most one
attempt for each (job, phone, purpose) is accepted. One driver owns a ledger at a time, on whichever host (lease.py).
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from ..host_files import writing_into
from ..jobs import Job
from ..readings import Readings
from ..scheduling import PROBE
from .database import Database, adopt, forget_stale_copies
from .journal import last_epoch, segments_of
from .lease import Lease, take_lease
from .opening import OLD_LEDGER, look_at, old_ledger, other_schema, version_statement, without_old_driver
from .reading import AcceptedAttempt, LedgerReader
from .tables import LEDGER_SCHEMA, statements_from

_JOBS_AT_ONCE = 1000


class Ledger(LedgerReader):
    """An open ledger. Not shared between threads or processes; use as a context manager."""

    def __init__(self, folder: Path, *, read_only: bool = False, take_over: bool = False) -> None:
        """Opens or begins the ledger of a campaign folder, under its lease. `take_over` does not mind who holds it.

        `read_only` is for looking on, also while another driver works: it needs no lease, but an existing ledger.
        Raises UserError while another driver works, with its host and process, and for a ledger of another version;
        HarnessError where the folder cannot be written.
        """
        self._changed_phones: set[str] = set()
        self._lease: Lease | None = None
        self._writing: Database | None = None
        self._reading: sqlite3.Connection | None = None
        if read_only:
            self._reading = look_at(folder)
            return
        with writing_into(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lease = take_lease(folder, above=last_epoch(folder), take_over=take_over)
            try:
                self._open(folder, self._lease)
            except BaseException:
                self.close()
                raise

    def _open(self, folder: Path, lease: Lease) -> None:
        segments = segments_of(folder)
        old = folder / OLD_LEDGER
        if not segments and old.exists():
            with without_old_driver(folder):
                owner, schema = old_ledger(folder)
                adopt(folder, old, lease, [*statements_from(schema), version_statement()], owner)
            segments = segments_of(folder)
        if old.exists():
            old.replace(folder / f"{OLD_LEDGER}.old")
        owner = segments[0].owner if segments else secrets.token_hex(4)
        self._writing = Database(folder, owner, lease, self._raise_revisions)
        version = self._query("PRAGMA user_version").fetchone()[0]
        if version > LEDGER_SCHEMA:
            raise other_schema(folder, version)
        if version < LEDGER_SCHEMA:
            with self.transaction():
                for statement in (*statements_from(version), version_statement()):
                    self._database.write(statement)
                if version == 0:
                    self.put("owner", owner)
        self._writing.compact_if_due()
        forget_stale_copies(owner)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for opened in (self._writing, self._reading):
            if opened:
                opened.close()
        if self._lease:
            self._lease.release()
        self._writing = self._reading = self._lease = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; what is inside is on the disk when it ends. Within another one, when that ends."""
        with self._database.transaction():
            yield

    def _raise_revisions(self) -> None:
        changed, self._changed_phones = sorted(self._changed_phones), set()
        self._database.insert(
            "UPDATE phones SET revision = revision + 1 WHERE label = ?", [(label,) for label in changed]
        )

    # What the campaign is

    @property
    def epoch(self) -> int:
        """The epoch of our lease; 0 for who only looks on."""
        return self._lease.epoch if self._lease else 0

    def put(self, key: str, value: str) -> None:
        if self.get(key) != value:
            self._database.write("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def label_phone(self, serial: str, model_slug: str, device_class: str, address: str, model: str) -> str:
        """The phone's label within the campaign: `<model-slug>-<n>`, the same at every visit."""
        found = self._query("SELECT label, device_class, address FROM phones WHERE serial = ?", (serial,)).fetchone()
        if found is not None:
            if found[1:] != (device_class, address):
                update = "UPDATE phones SET device_class = ?, address = ? WHERE label = ?"
                self._database.write(update, (device_class, address, found[0]))
            return str(found[0])
        taken = {label for (label,) in self._query("SELECT label FROM phones")}
        label = next(name for n in range(1, len(taken) + 2) if (name := f"{model_slug}-{n}") not in taken)
        self._database.write(
            "INSERT INTO phones (label, serial, model, device_class, address) VALUES (?, ?, ?, ?, ?)",
            (label, serial, model, device_class, address),
        )
        return label

    # Jobs and attempts

    def plan(self, jobs: Iterable[Job], device_class: str, purpose: str) -> None:
        """Adds jobs; those that are known already stay as they are."""
        remaining = iter(jobs)
        while some := list(islice(remaining, _JOBS_AT_ONCE)):
            programs = {program.id: program for job in some for program in job.programs}
            with self.transaction():
                self._database.insert(
                    "INSERT OR IGNORE INTO programs VALUES (?, ?, ?)",
                    [(key, program.source, program.options) for key, program in programs.items()],
                )
                self._database.insert(
                    "INSERT OR IGNORE INTO jobs (id, purpose, device_class, kind, body, programs) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    [self._job_row(job, device_class, purpose) for job in self._unknown(some, purpose)],
                )

    def _unknown(self, jobs: list[Job], purpose: str) -> Iterator[Job]:
        """Those that are not planned yet: the journal must not grow by what it holds."""
        for job in jobs:
            if not self._query("SELECT 1 FROM jobs WHERE id = ? AND purpose = ?", (job.id, purpose)).fetchone():
                yield job

    @staticmethod
    def _job_row(job: Job, device_class: str, purpose: str) -> tuple[str, ...]:
        programs = json.dumps([program.id for program in job.programs])
        return (job.id, purpose, device_class, job.kind, json.dumps(job.body, sort_keys=True), programs)

    def lease(
        self, batch: str, jobs: Iterable[str], phone: str, purpose: str, others: Mapping[str, str] | None = None
    ) -> None:
        """Leases jobs to a phone as a new batch; `others` gives the purposes of those that have another one."""
        with self.transaction():
            self._database.write("INSERT INTO batches (id, phone, purpose) VALUES (?, ?, ?)", (batch, phone, purpose))
            # A job for a second phone becomes one of its own the first time that it is leased.
            self._database.insert(
                "INSERT OR IGNORE INTO jobs (id, purpose, device_class, kind, body, programs) "
                "SELECT id, ?, device_class, kind, body, programs FROM jobs WHERE id = ? AND purpose = ?",
                [(other, job, purpose) for job, other in (others or {}).items() if other != purpose],
            )
            self._database.insert(
                "INSERT INTO attempts (job, phone, purpose, attempt, batch, state) SELECT ?1, ?2, ?3, "
                "COALESCE(MAX(attempt), 0) + 1, ?4, 'leased' FROM attempts "
                "WHERE job = ?1 AND phone = ?2 AND purpose = ?3",
                [(job, phone, (others or {}).get(job, purpose), batch) for job in jobs],
            )

    def release(self, batch: str) -> None:
        """Gives back the batch's leased jobs as if they had not been leased."""
        self._database.write("DELETE FROM attempts WHERE batch = ? AND state = 'leased'", (batch,))

    def record(self, batch: str, result: dict[str, Any], *, accept: bool) -> bool:
        """Ends a leased attempt with its result line: accepted as the job's trace, or failed with its status.

        Returns False, and changes nothing, where the batch has no such leased job. A job that another phone has
        settled meanwhile keeps that trace. Of a phone's probes all are done, and the first one is its trace.
        """
        job = result["id"]
        row = self._query(
            "SELECT phone, purpose FROM attempts WHERE batch = ? AND job = ? AND state = 'leased'", (batch, job)
        ).fetchone()
        if row is None:
            return False
        phone, purpose = row
        others = {
            name
            for (name,) in self._query(
                "SELECT phone FROM attempts WHERE job = ? AND purpose = ? AND accepted = 1", (job, purpose)
            )
        }
        is_trace = accept
        if accept and purpose == PROBE:
            state, reason, is_trace = "done", None, phone not in others
        elif others and purpose != PROBE:
            state, reason, is_trace = "failed", f"superseded by {min(others)}", False
        elif accept:
            state, reason = "done", None
        else:
            state, reason = "failed", result["status"]
        if state == "done":
            self._changed_phones.add(phone)
        self._database.write(
            "UPDATE attempts SET state = ?, reason = ?, status = ?, result = ?, accepted = ? "
            "WHERE batch = ? AND job = ? AND state = 'leased'",
            (state, reason, result["status"], json.dumps(result, sort_keys=True), int(is_trace), batch, job),
        )
        return True

    def invalidate(self, batch: str, jobs: Iterable[tuple[str, str]], reason: str) -> list[AcceptedAttempt]:
        """The batch's results of these jobs (id, purpose) do not count any more: the attempts are failed, their results
        are kept. Returns those that were accepted."""
        found = []
        text = reason if reason.startswith("superseded") else f"invalid: {reason}"
        with self.transaction():
            for job, purpose in jobs:
                row = self._query(
                    "SELECT phone, status, accepted FROM attempts "
                    "WHERE batch = ? AND job = ? AND purpose = ? AND state = 'done'",
                    (batch, job, purpose),
                ).fetchone()
                if row is None:
                    continue
                self._database.write(
                    "UPDATE attempts SET state = 'failed', accepted = 0, reason = ? "
                    "WHERE batch = ? AND job = ? AND purpose = ?",
                    (text, batch, job, purpose),
                )
                self._changed_phones.add(row[0])
                if row[2]:
                    found.append(AcceptedAttempt(job, purpose, row[0], batch, row[1]))
        return found

    def mark(self, batch: str, jobs: Iterable[tuple[str, str]], reason: str) -> None:
        """The batch's results of these jobs (id, purpose) are doubtful, but count."""
        self._database.insert(
            "UPDATE attempts SET reason = ? WHERE batch = ? AND job = ? AND purpose = ? AND accepted = 1",
            [(reason, batch, job, purpose) for job, purpose in jobs],
        )

    def set_offset(self, batch: str, offset: int) -> None:
        self._database.write("UPDATE batches SET offset = ? WHERE id = ?", (offset, batch))

    def set_agent(self, batch: str, line: dict[str, Any]) -> None:
        """Stores the first line of the batch's results, which describes the agent."""
        self._database.write("UPDATE batches SET agent = ? WHERE id = ?", (json.dumps(line, sort_keys=True), batch))

    def set_telemetry(self, batch: str, line: dict[str, Any]) -> None:
        """Stores what the agent read of the phone when a batch began or ended. An agent that was started again on the
        batch tells its start again: the first one counts."""
        text = json.dumps(line, sort_keys=True)
        new = "before = COALESCE(telemetry_before, ?)" if line.get("when") == "start" else "after = ?"
        self._set_of_batch(batch, f"UPDATE batches SET telemetry_{new} WHERE id = ?", text)

    def set_readings(self, batch: str, before: Readings, after: Readings) -> None:
        self._set_of_batch(
            batch,
            "UPDATE batches SET temperature_before_c = ?, temperature_after_c = ? WHERE id = ?",
            before.hottest_c,
            after.hottest_c,
        )

    def _set_of_batch(self, batch: str, sql: str, *values: object) -> None:
        """Changes what the traces of a batch's jobs tell of it."""
        self._changed_phones.add(self.phone_of(batch))
        self._database.write(sql, (*values, batch))
