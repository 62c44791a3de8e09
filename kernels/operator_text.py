"""Operators from JSON and from the words of the command line (docs/formats.md)."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from .errors import UserError
from .operators import EPILOGUES, Conv2d, DepthwiseConv2d, Linear, Operator, Pool2d

_TYPES: dict[str, type[Linear] | type[Conv2d] | type[DepthwiseConv2d] | type[Pool2d]] = {
    cls.type: cls for cls in (Linear, Conv2d, DepthwiseConv2d, Pool2d)
}
_IMAGE: dict[str, tuple[str, ...]] = {"h": ("height",), "w": ("width",)}
_WINDOW: dict[str, tuple[str, ...]] = {"k": ("kernel_h", "kernel_w"), "stride": ("stride",), "pad": ("pad_h", "pad_w")}
_EPILOGUE: dict[str, tuple[str, ...]] = {"epilogue": ("epilogue",)}
_POOL = {**_IMAGE, "c": ("channels",), **_WINDOW}
_KEYS: dict[str, dict[str, tuple[str, ...]]] = {
    "linear": {"rows": ("rows",), "in": ("in_features",), "out": ("out_features",), **_EPILOGUE},
    "conv2d": {**_IMAGE, "in": ("in_channels",), "out": ("out_channels",), **_WINDOW, **_EPILOGUE},
    "depthwise": {**_IMAGE, "c": ("channels",), **_WINDOW, **_EPILOGUE},
    "maxpool": _POOL,
    "avgpool": _POOL,
}
_TYPE_OF = {"depthwise": "depthwise_conv2d", "maxpool": "pool2d", "avgpool": "pool2d"}
_MODE_OF = {"maxpool": "max", "avgpool": "avg"}
_DEFAULTS = {"stride": "1", "pad": "0", "epilogue": "none"}


def operator_from_json(data: dict[str, Any]) -> Operator:
    """The operator that `to_json` wrote. Raises UserError for an unknown type, a missing or unknown key, a bad size."""
    kind = data.get("type")
    if kind not in _TYPES:
        raise UserError(f"unknown operator type {kind!r}; known: {', '.join(_TYPES)}")
    cls = _TYPES[kind]
    given = {key: value for key, value in data.items() if key != "type"}
    names = {field.name: field.default is MISSING for field in fields(cls)}
    if wrong := sorted({name for name, needed in names.items() if needed} - given.keys() | given.keys() - names.keys()):
        raise UserError(f"{kind}: missing or unknown key: {', '.join(wrong)} (needs {', '.join(sorted(names))})")
    return cls(**given)


def parse_operator(text: str) -> Operator:
    """Reads `linear:rows=50,in=768,out=3072`, `conv2d:h=56,w=56,in=64,out=256,k=3,stride=1,pad=1,epilogue=relu`,
    `depthwise:h=56,w=56,c=64,k=3,pad=1`, `maxpool:h=56,w=56,c=64,k=3,stride=2,pad=1` or `avgpool:...`.

    `k` and `pad` may be given as HxW; stride defaults to 1, pad to 0, epilogue to none. Raises UserError.
    """
    kind, _, rest = text.partition(":")
    if kind not in _KEYS:
        raise UserError(f"operator {text!r}: unknown type {kind!r}; known: {', '.join(_KEYS)}")
    keys = _KEYS[kind]
    given = {key: value for key, value in _DEFAULTS.items() if key in keys}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if key not in keys or not equals:
            raise UserError(f"operator {text!r}: cannot read {part!r}; {kind} takes {', '.join(keys)}")
        given[key] = value
    if missing := [key for key in keys if key not in given]:
        raise UserError(f"operator {text!r}: {', '.join(missing)} is missing")
    values: dict[str, Any] = {"mode": _MODE_OF[kind]} if kind in _MODE_OF else {}
    if "epilogue" in given:
        values["epilogue"] = _epilogue(text, given.pop("epilogue"))
    for key, value in given.items():
        values.update(zip(keys[key], _numbers(text, key, value, len(keys[key])), strict=True))
    return _TYPES[_TYPE_OF.get(kind, kind)](**values)


def _epilogue(text: str, value: str) -> str:
    if value not in EPILOGUES:
        raise UserError(f"operator {text!r}: unknown epilogue {value!r}; known: {', '.join(EPILOGUES)}")
    return value


def _numbers(text: str, key: str, value: str, count: int) -> list[int]:
    numbers = value.split("x") if count == 2 and "x" in value else [value] * count
    if len(numbers) != count or not all(number.lstrip("-").isdecimal() for number in numbers):
        raise UserError(f"operator {text!r}: {key} must be a whole number, not {value!r}")
    return [int(number) for number in numbers]
