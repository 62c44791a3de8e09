"""Where a key of a TOML text stands, so that an error can name its line."""

from __future__ import annotations

import re

Path = tuple[str | int, ...]

_HEADER = re.compile(r"^\s*(\[{1,2})\s*([A-Za-z0-9_.\-\"' ]+?)\s*\]{1,2}\s*(?:#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_\-]+|\"[^\"]*\"|'[^']*')((?:\s*\.\s*[A-Za-z0-9_\-]+)*)\s*=")


class TomlLines:
    """The line (from 1) of each table and key of a TOML text that has been parsed without error.

    Keys inside an inline table or array have the line of the key that holds them.
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[Path, int] = {(): 1}
        arrays: dict[str, int] = {}
        table: Path = ()
        for number, line in enumerate(text.splitlines(), start=1):
            if header := _HEADER.match(line):
                table = _table_path(header.group(2), header.group(1) == "[[", arrays)
                self._lines.setdefault(table, number)
            elif key := _KEY.match(line):
                names = [key.group(1).strip("\"'"), *(part.strip() for part in key.group(2).split(".") if part.strip())]
                self._lines.setdefault((*table, *names), number)

    def line_of(self, path: Path) -> int:
        """The line of the key, or of the nearest thing around it that has one."""
        while path not in self._lines:
            path = path[:-1]
        return self._lines[path]


def _table_path(name: str, is_array: bool, arrays: dict[str, int]) -> Path:
    """The path of a table header, with the index of the last entry of each array of tables on the way."""
    path: Path = ()
    parts = [part.strip().strip("\"'") for part in name.split(".")]
    for depth in range(1, len(parts) + 1):
        prefix = ".".join(parts[:depth])
        path = (*path, parts[depth - 1])
        if is_array and depth == len(parts):
            arrays[prefix] = arrays.get(prefix, -1) + 1
        if prefix in arrays:
            path = (*path, arrays[prefix])
    return path
