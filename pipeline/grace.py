"""How long a job may take beside its repetitions, on phones whose driver compiles slowly (docs/agent.md)."""

from __future__ import annotations

import os

from splitfleet.kernels.errors import UserError

GRACE = "SPLITFLEET_GRACE_S"
_DEFAULT_S = 30
_MOST_S = 3600


def grace_s() -> int:
    """The agent's grace in seconds, which campaigns hand on to phones. Raises UserError for what is no such number."""
    text = os.environ.get(GRACE, str(_DEFAULT_S))
    if not (text.isdecimal() and 1 <= int(text) <= _MOST_S):
        raise UserError(f"{GRACE}={text}: no number of seconds from 1 to {_MOST_S}; correct it")
    return int(text)
