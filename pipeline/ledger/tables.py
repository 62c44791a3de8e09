"""The tables of a ledger, and how those of earlier versions become them."""

from __future__ import annotations

LEDGER_SCHEMA = 3
TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE phones (
    label TEXT PRIMARY KEY, serial TEXT NOT NULL UNIQUE, model TEXT NOT NULL, device_class TEXT NOT NULL,
    address TEXT NOT NULL, revision INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE programs (id TEXT PRIMARY KEY, source TEXT NOT NULL, options TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, purpose TEXT NOT NULL, device_class TEXT NOT NULL, kind TEXT NOT NULL,
    body TEXT NOT NULL, programs TEXT NOT NULL, UNIQUE (id, purpose));
CREATE INDEX jobs_of_class ON jobs (device_class, purpose);
CREATE TABLE batches (
    id TEXT PRIMARY KEY, phone TEXT NOT NULL REFERENCES phones, purpose TEXT NOT NULL,
    offset INTEGER NOT NULL DEFAULT 0, agent TEXT, temperature_before_c REAL, temperature_after_c REAL,
    telemetry_before TEXT, telemetry_after TEXT) WITHOUT ROWID;
CREATE TABLE attempts (
    number INTEGER PRIMARY KEY, job TEXT NOT NULL, phone TEXT NOT NULL REFERENCES phones, purpose TEXT NOT NULL,
    attempt INTEGER NOT NULL, batch TEXT NOT NULL REFERENCES batches,
    state TEXT NOT NULL CHECK (state IN ('leased', 'done', 'failed')), reason TEXT,
    accepted INTEGER NOT NULL DEFAULT 0, status TEXT, result TEXT,
    UNIQUE (job, phone, purpose, attempt), FOREIGN KEY (job, purpose) REFERENCES jobs (id, purpose));
CREATE UNIQUE INDEX one_accepted_trace ON attempts (phone, purpose, job) WHERE accepted = 1;
CREATE INDEX probes ON attempts (phone, purpose, job) WHERE state = 'done' AND purpose = 'probe';
CREATE INDEX failed_attempts ON attempts (purpose, job, reason) WHERE state = 'failed';
CREATE INDEX attempts_of_batch ON attempts (batch, job);
CREATE INDEX leased_attempts ON attempts (batch) WHERE state = 'leased'
"""
# Wide rows are kept in the order in which they come: ids are hashes, and in their order each new row would touch
# another page.

_TO_2 = """
ALTER TABLE batches ADD COLUMN telemetry_before TEXT;
ALTER TABLE batches ADD COLUMN telemetry_after TEXT
"""
_TO_3 = """
ALTER TABLE phones ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs RENAME TO jobs_2;
ALTER TABLE attempts RENAME TO attempts_2;
DROP INDEX one_accepted_trace;
DROP INDEX attempts_of_batch;
{tables};
INSERT INTO jobs (id, purpose, device_class, kind, body, programs)
    SELECT id, purpose, device_class, kind, body, programs FROM jobs_2;
INSERT INTO attempts (job, phone, purpose, attempt, batch, state, reason, accepted, status, result)
    SELECT job, phone, purpose, attempt, batch, state, reason, accepted, json_extract(result, '$.status'), result
    FROM attempts_2;
DROP TABLE attempts_2;
DROP TABLE jobs_2
"""


def statements_from(schema: int) -> list[str]:
    """The SQL statements that bring a ledger of this schema (0: an empty one) to `LEDGER_SCHEMA`."""
    if schema == 0:
        text = TABLES
    else:
        new = [part for part in TABLES.split(";") if " jobs (" in part or " attempts (" in part]
        text = (f"{_TO_2};" if schema == 1 else "") + (_TO_3.format(tables=";".join(new)) if schema < 3 else "")
    return [part.strip() for part in text.split(";") if part.strip()]
