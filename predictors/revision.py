"""Which state of Splitfleet's sources this is, for runs and registered versions."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@cache
def git_revision() -> str:
    """The commit of the sources, with `-dirty` where they were changed since; else the release that is installed."""
    source = Path(__file__).resolve()
    try:
        # Sources may lie in an environment below some other repository: then they are not tracked in it.
        _git(source, "ls-files", "--error-unmatch", source.name)
        commit = _git(source, "rev-parse", "HEAD")
        return f"{commit}-dirty" if _git(source, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        pass
    try:
        return f"release {version('splitfleet')}"
    except PackageNotFoundError:
        return "unknown"


def _git(source: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(source.parent), *words], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
