"""Where this user's keys and agent builds are kept."""

from __future__ import annotations

import os
from pathlib import Path


def splitfleet_home() -> Path:
    """$SPLITFLEET_HOME, or ~/.splitfleet."""
    return Path(os.environ.get("SPLITFLEET_HOME") or Path.home() / ".splitfleet")
