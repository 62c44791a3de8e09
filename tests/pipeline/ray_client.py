"""Somebody who talks to Ray from outside, with one token or another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_ASK = """
import sys
from ray._raylet import GcsClient
try:
    print(len(GcsClient(address=sys.argv[1]).get_all_node_info(timeout=5)))
except Exception as error:
    sys.exit(f"refused: {error}")
"""


def ask(address: str, token: Path | None) -> subprocess.CompletedProcess[str]:
    """Asks the head at this address for its nodes, with the token of a file, or as one who knows of no tokens."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    if token is None:
        environment["RAY_AUTH_MODE"] = "disabled"
    else:
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    return subprocess.run(
        [sys.executable, "-c", _ASK, address], env=environment, capture_output=True, text=True, timeout=120
    )


def is_refused(address: str, token: Path | None) -> bool:
    asked = ask(address, token)
    return asked.returncode != 0 and "InvalidAuthToken" in asked.stderr
