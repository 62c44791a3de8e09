"""How much room the phone's storage has left."""

from __future__ import annotations

import errno
import os
from pathlib import Path


class Storage:
    """The folders /data/local/tmp and /sdcard of a phone, with a capacity, and the fault of a full disk."""

    def __init__(self, root: Path, capacity_bytes: int | None) -> None:
        self._folders = (root / "data/local/tmp", root / "sdcard")
        self._capacity_bytes = capacity_bytes
        self.broken_full = False

    def free_bytes(self) -> int | None:
        """Bytes that may still be written; None without a limit."""
        if self.broken_full:
            return 0
        if self._capacity_bytes is None:
            return None
        return max(0, self._capacity_bytes - sum(_used_bytes(folder) for folder in self._folders))

    def is_full(self) -> bool:
        """Whether nothing more fits."""
        return self.free_bytes() == 0

    def require(self, count: int) -> None:
        """Raises OSError (ENOSPC) unless so many more bytes fit."""
        free = self.free_bytes()
        if free is not None and count > free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _used_bytes(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(parent, name).lstat().st_size
            except FileNotFoundError:  # a program removed it meanwhile
                continue
    return total
