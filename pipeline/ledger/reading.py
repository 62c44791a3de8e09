"""What a ledger tells; for who only looks on as for the driver."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from splitfleet.kernels.programs import Program

from ..jobs import Job
from ..scheduling import PROBE
from .database import Database, Parameters


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


class LedgerReader:
    """The questions that a ledger answers."""

    _writing: Database | None
    _reading: sqlite3.Connection | None

    @property
    def _database(self) -> Database:
        assert self._writing, "closed, or opened to be read"
        return self._writing

    def _query(self, sql: str, parameters: Parameters = ()) -> sqlite3.Cursor:
        if self._reading:
            return self._reading.execute(sql, parameters)
        return self._database.query(sql, parameters)

    @property
    def owner(self) -> str:
        """Marks this campaign's batches on phones."""
        return self.get("owner") or ""

    def get(self, key: str) -> str | None:
        row = self._query("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def phones(self) -> list[dict[str, str]]:
        names = ("label", "serial", "model", "device_class", "address")
        rows = self._query(f"SELECT {', '.join(names)} FROM phones ORDER BY label")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def settled(self, purpose: str) -> dict[str, str]:
        """The jobs that have their accepted trace, and its status."""
        rows = self._query("SELECT job, status FROM attempts WHERE accepted = 1 AND purpose = ?", (purpose,))
        return dict(rows.fetchall())

    def failures(self, purpose: str) -> dict[str, int]:
        """How many attempts at each job have failed; those whose results were invalidated did not."""
        rows = self._query(
            "SELECT job, COUNT(*) FROM attempts WHERE state = 'failed' AND reason NOT LIKE 'superseded%' "
            "AND reason NOT LIKE 'invalid: %' AND purpose = ? GROUP BY job",
            (purpose,),
        )
        return dict(rows.fetchall())

    def repeats(self, purpose: str) -> dict[str, int]:
        """How often each job's accepted result was invalidated."""
        rows = self._query(
            "SELECT job, COUNT(*) FROM attempts WHERE state = 'failed' AND reason LIKE 'invalid: %' AND purpose = ? "
            "GROUP BY job",
            (purpose,),
        )
        return dict(rows.fetchall())

    def accepted_of(self, device_class: str, purpose: str) -> Iterator[AcceptedAttempt]:
        """Who has measured the jobs of a device class for this purpose."""
        rows = self._query(
            "SELECT job, attempts.purpose, phone, batch, status FROM jobs "
            "CROSS JOIN attempts ON job = jobs.id AND attempts.purpose = jobs.purpose AND accepted = 1 "
            "WHERE device_class = ? AND jobs.purpose = ?",
            (device_class, purpose),
        )
        for row in rows:
            yield AcceptedAttempt(*row)

    def jobs_of(self, tasks: Iterable[tuple[str, str]]) -> Iterator[Job]:
        """The jobs of these ids and purposes, in their order."""

        @cache
        def program(key: str) -> Program:
            return Program(*self._query("SELECT source, options FROM programs WHERE id = ?", (key,)).fetchone())

        for task in tasks:
            body, ids = self._query("SELECT body, programs FROM jobs WHERE id = ? AND purpose = ?", task).fetchone()
            yield Job(task[0], json.loads(body), tuple(map(program, json.loads(ids))))

    @property
    def next_batch(self) -> int:
        """A number that no batch's id has yet."""
        return int(self._query("SELECT COUNT(*) + 1 FROM batches").fetchone()[0])

    def open_batches(self, purpose: str) -> list[OpenBatch]:
        """The batches of this purpose that have leased jobs."""
        rows = self._query(
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

    def offset(self, batch: str) -> int:
        """How far (bytes) the batch's results have been read."""
        return int(self._query("SELECT offset FROM batches WHERE id = ?", (batch,)).fetchone()[0])

    def phone_of(self, batch: str) -> str:
        return str(self._query("SELECT phone FROM batches WHERE id = ?", (batch,)).fetchone()[0])

    def revisions(self) -> dict[str, int]:
        """For each phone with traces, a number that grows whenever they change."""
        rows = self._query(
            "SELECT label, revision FROM phones "
            "WHERE EXISTS (SELECT 1 FROM attempts WHERE phone = label AND accepted = 1) ORDER BY label"
        )
        return dict(rows.fetchall())

    def accepted(self, phone: str | None = None) -> Iterator[dict[str, Any]]:
        """Every accepted attempt, or those of one phone, with its job, batch and phone, in a fixed order."""
        return self._attempts("accepted = 1", phone)

    def probes(self, phone: str) -> Iterator[dict[str, Any]]:
        """Every probe of the phone that counts, the accepted one among them, as `accepted` gives it."""
        return self._attempts(f"state = 'done' AND purpose = '{PROBE}'", phone)

    def _attempts(self, condition: str, phone: str | None) -> Iterator[dict[str, Any]]:
        of_phone = "" if phone is None else " AND phone = :phone"
        # Only the keys are sorted, so that memory does not grow with what was measured.
        cursor = self._query(
            "SELECT attempts.job, attempts.phone, attempts.purpose, attempts.attempt, attempts.result, "
            "jobs.device_class, jobs.kind, jobs.body, batches.temperature_before_c, batches.temperature_after_c, "
            "batches.telemetry_before, batches.telemetry_after FROM ("
            f"SELECT number, phone, purpose, job, attempt FROM attempts WHERE {condition}{of_phone} "
            "ORDER BY phone, purpose, job, attempt LIMIT -1) AS keys "
            "CROSS JOIN attempts ON attempts.number = keys.number "
            "CROSS JOIN jobs ON jobs.id = attempts.job AND jobs.purpose = attempts.purpose "
            "CROSS JOIN batches ON batches.id = attempts.batch",
            {} if phone is None else {"phone": phone},
        )
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield dict(zip(names, row, strict=True))

    def tallies(self) -> list[dict[str, Any]]:
        """For each device class and purpose: `jobs`, and `settled`: the number of jobs with a trace, by its status.

        Probes, of which every phone has its own, are not counted.
        """
        rows = self._query(
            "SELECT jobs.device_class, jobs.purpose, status, COUNT(*) "
            "FROM jobs LEFT JOIN attempts ON job = id AND attempts.purpose = jobs.purpose AND accepted = 1 "
            f"WHERE jobs.purpose != '{PROBE}' "
            "GROUP BY jobs.device_class, jobs.purpose, status ORDER BY jobs.device_class, jobs.purpose"
        )
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for device_class, purpose, status, count in rows:
            new = {"device_class": device_class, "purpose": purpose, "jobs": 0, "settled": {}}
            tally = found.setdefault((device_class, purpose), new)
            tally["jobs"] += count
            if status is not None:
                tally["settled"][status] = count
        return list(found.values())

    def counts(self) -> list[dict[str, Any]]:
        """For each device class and purpose: jobs, done (accepted and ok), rejected (accepted with another status)."""
        counts = []
        for tally in self.tallies():
            settled = tally.pop("settled")
            done = settled.pop("ok", 0)
            counts.append({**tally, "done": done, "rejected": sum(settled.values())})
        return counts
