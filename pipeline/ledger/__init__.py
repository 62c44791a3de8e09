"""The ledger: SQLite on this host's disk, a journal in the campaign folder, and a lease on who may write."""

from .ledger import AcceptedAttempt, Ledger, OpenBatch
from .tables import LEDGER_SCHEMA

__all__ = ["LEDGER_SCHEMA", "AcceptedAttempt", "Ledger", "OpenBatch"]
