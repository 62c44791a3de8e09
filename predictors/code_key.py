"""Which code trains here: what it trained is used again only by the same code and the same libraries."""

from __future__ import annotations

import platform
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

_FOLDERS = ("kernels", "predictors")
_LIBRARIES = ("lightgbm", "numpy", "pandas", "scipy")


@cache
def training_code() -> str:
    """A hash of the sources that lower and train, of searched settings, of the libraries below them, and of the
    machine's architecture."""
    root = Path(__file__).parents[1]
    digest = sha256(platform.machine().encode())
    for name in _LIBRARIES:
        digest.update(f"{name}=={version(name)}\n".encode())
    for folder in _FOLDERS:
        for path in sorted([*(root / folder).rglob("*.py"), *(root / folder).rglob("*.json")]):
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
