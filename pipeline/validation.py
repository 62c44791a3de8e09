"""Turns pydantic's errors into one message that names file, line, key and what to do."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .toml_lines import Path as KeyPath
from .toml_lines import TomlLines


def explain(error: ValidationError, path: Path, lines: TomlLines, model: type[BaseModel], root: KeyPath = ()) -> str:
    """One line an error, `FILE:LINE: KEY: what is wrong; what to do`. `root` is where the model's table stands."""
    messages: dict[tuple[int, str], str] = {}
    for details in error.errors():
        keys = _keys(details["loc"], model)
        line = lines.line_of((*root, *keys))
        name = ".".join(str(key) for key in keys if not isinstance(key, int))
        messages.setdefault((line, name), f"{path}:{line}: {name}: {_what(details, model, keys)}")
    return "\n".join(messages[key] for key in sorted(messages))


def _keys(loc: tuple[str | int, ...], model: type[BaseModel]) -> KeyPath:
    """The keys of the file in an error's location; pydantic also puts names of union members there."""
    keys: KeyPath = ()
    current: type[BaseModel] | None = model
    for part in loc:
        if isinstance(part, int):
            keys = (*keys, part)
        elif current is not None:
            keys = (*keys, part)
            current = _section(current, part)
    return keys


def _what(details: ErrorDetails, model: type[BaseModel], keys: KeyPath) -> str:
    if details["type"] == "extra_forbidden":
        known = _names(model, keys[:-1])
        near = get_close_matches(str(keys[-1]), known, n=1)
        return "unknown key; " + (f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}")
    if details["type"] == "missing":
        return "is missing; add it"
    message = details["msg"].removeprefix("Value error, ")
    given: Any = details["input"]
    return message if details["type"] == "value_error" else f"{message}, not {given!r}"


def _names(model: type[BaseModel], path: KeyPath) -> list[str]:
    current: type[BaseModel] = model
    for key in path:
        current = (_section(current, key) if isinstance(key, str) else None) or current
    return sorted(field.alias or name for name, field in current.model_fields.items())


def _section(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    field = model.model_fields.get(key)
    annotation = field.annotation if field else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
