"""The examples in README.md and docs/*.md: indented or fenced commands, Python, C++ and TOML, with page and line."""

from __future__ import annotations

import ast
import re
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGES = ("README.md", *(f"docs/{path.name}" for path in sorted((REPOSITORY / "docs").glob("*.md"))))

_COMMAND = re.compile(
    r"([A-Z][A-Z_]*=\S+ )*([a-z0-9-]+\$ )?(\S*/)?"
    r"(splitfleet|splitfleet-agent|python3?|pip|make|adb|sudo|export|cmake|c\+\+|g\+\+|minisign|curl)\s"
)
_COMMENT = re.compile(r"\s{2,}# .*$")


@dataclass(frozen=True)
class Example:
    """`kind` is command (a line, joined where a backslash ends it), python, cpp or toml (a block)."""

    page: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text.splitlines()[0]}"


def examples(page: str) -> list[Example]:
    """All examples of a page, in its order. What is neither a command nor a program is an output, and none."""
    found = []
    for first, lines in _blocks((REPOSITORY / page).read_text("utf-8").splitlines()):
        commands = list(_commands(page, first, lines))
        if commands:
            found += commands
        elif kind := _kind("\n".join(lines)):
            found.append(Example(page, first, kind, "\n".join(lines)))
    return found


def _blocks(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Code blocks with the number of their first line: fenced, or indented by four or more after an empty line."""
    index = 0
    while index < len(lines):
        start = index
        if lines[index].lstrip().startswith("```"):
            index += 1
            while index < len(lines) and not lines[index].lstrip().startswith("```"):
                index += 1
            yield start + 2, textwrap.dedent("\n".join(lines[start + 1 : index])).splitlines()
        elif lines[index].startswith("    ") and (index == 0 or not lines[index - 1].strip()):
            while index < len(lines) and (lines[index].startswith("    ") or not lines[index].strip()):
                index += 1
            yield start + 1, textwrap.dedent("\n".join(lines[start:index])).rstrip().splitlines()
        index += 1


def _commands(page: str, first: int, lines: list[str]) -> Iterator[Example]:
    index = 0
    while index < len(lines):
        start, text = index, lines[index]
        while text.endswith("\\") and index + 1 < len(lines):
            index += 1
            text = text[:-1].rstrip() + " " + lines[index].strip()
        if _COMMAND.match(text + " "):
            yield Example(page, first + start, "command", _COMMENT.sub("", text).strip())
        index += 1


def _kind(block: str) -> str | None:
    if "#include" in block:
        return "cpp"
    try:
        tomllib.loads(block)
        return "toml"
    except tomllib.TOMLDecodeError:
        pass
    try:
        tree = ast.parse(block)
    except SyntaxError:
        return None
    calls = any(isinstance(node, ast.Call) for node in ast.walk(tree))
    return "python" if calls else None
