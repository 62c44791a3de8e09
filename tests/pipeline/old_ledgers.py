"""A ledger as earlier versions left it in the campaign folder."""

from __future__ import annotations

import sqlite3
from pathlib import Path

_SCHEMA_2 = """
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
    offset INTEGER NOT NULL DEFAULT 0, agent TEXT, temperature_before_c REAL, temperature_after_c REAL{telemetry})
    WITHOUT ROWID;
CREATE TABLE attempts (
    job TEXT NOT NULL, phone TEXT NOT NULL REFERENCES phones, purpose TEXT NOT NULL, attempt INTEGER NOT NULL,
    batch TEXT NOT NULL REFERENCES batches, state TEXT NOT NULL CHECK (state IN ('leased', 'done', 'failed')),
    reason TEXT, result TEXT, accepted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job, phone, purpose, attempt), FOREIGN KEY (job, purpose) REFERENCES jobs (id, purpose)) WITHOUT ROWID;
CREATE UNIQUE INDEX one_accepted_trace ON attempts (job, phone, purpose) WHERE accepted = 1;
CREATE INDEX attempts_of_batch ON attempts (batch);
INSERT INTO meta VALUES ('owner', 'cafe0123');
INSERT INTO meta VALUES ('campaign_name', 'old');
INSERT INTO phones VALUES ('virtual-a-1', 'SERIAL', 'Virtual A', 'class', '127.0.0.1:6010');
INSERT INTO jobs VALUES ('j0', 'measure', 'class', 'cpu', '{{"kind": "cpu"}}', '[]');
INSERT INTO jobs VALUES ('j1', 'measure', 'class', 'cpu', '{{"kind": "cpu"}}', '[]');
INSERT INTO batches (id, phone, purpose, offset) VALUES ('cafe0123-00001', 'virtual-a-1', 'measure', 77);
INSERT INTO attempts VALUES
    ('j0', 'virtual-a-1', 'measure', 1, 'cafe0123-00001', 'done', NULL, '{{"id": "j0", "status": "ok"}}', 1),
    ('j1', 'virtual-a-1', 'measure', 1, 'cafe0123-00001', 'leased', NULL, NULL, 0);
"""


def write_old_ledger(folder: Path, schema: int) -> None:
    """Two jobs, one of them done, the other leased."""
    database = sqlite3.connect(folder / "ledger.sqlite")
    telemetry = ", telemetry_before TEXT, telemetry_after TEXT" if schema > 1 else ""
    database.executescript(_SCHEMA_2.format(telemetry=telemetry))
    database.execute(f"PRAGMA user_version = {schema}")
    database.commit()
    database.close()
