"""The small files that a phone's state lies in; programs of the phone read them while it writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

STATE_FOLDER = ".phone"


def write_all(folder: Path, values: Mapping[str, str]) -> None:
    """Writes one file for each value, each with a line end."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        write_value(folder / name, value)


def write_value(file: Path, value: str) -> None:
    """A reader sees the old value or the new one, never half of it."""
    unfinished = file.with_name(f".{file.name}.new")
    unfinished.write_text(f"{value}\n")
    unfinished.replace(file)
