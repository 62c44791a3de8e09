"""Files that this host writes into a campaign folder: whole or not at all, and with a reason where there is no room."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from splitfleet.kernels.errors import HarnessError


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file that shows up whole or not at all. Raises OSError where it cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        unfinished.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", "utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Turns an OSError inside the block into a HarnessError that names the file and says what to do."""
    try:
        yield
    except OSError as error:
        raise HarnessError(
            f"{error.filename or folder}: cannot be written ({error.strerror or error}); what was measured is kept in "
            "the ledger. Make room or mend the folder, and run the same command again"
        ) from error
