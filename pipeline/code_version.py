"""Which code this is: hosts of a cluster exchange objects, so they must run the same."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path

_FOLDERS = ("kernels", "pipeline")


@cache
def code_version() -> str:
    """A hash of Splitfleet's sources as they are installed here; equal where two hosts have the same release."""
    root = Path(__file__).parents[1]
    digest = sha256()
    for folder in _FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
