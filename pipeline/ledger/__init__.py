"""The ledger: SQLite on this host's disk, a journal in the campaign folder, and a lease on who may write."""

from .ledger import Ledger
from .reading import AcceptedAttempt, OpenBatch
from .tables import LEDGER_SCHEMA

__all__ = ["LEDGER_SCHEMA", "AcceptedAttempt", "Ledger", "OpenBatch"]
