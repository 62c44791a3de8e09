"""Held-out predictions as a file of a package: two versions can then be compared on the shapes that both hold.

Each row is a shape that was predicted by a model which had not seen it, for one target (or, of LiteRT's models, one
type of operator).
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from splitfleet.kernels.errors import UserError

from .archive import canonical_json

HELD_OUT = "held_out.json"
SCHEMA_VERSION = 1
_COLUMNS = ("target", "shape", "measured_us", "predicted_us")


def held_out_file(rows: pd.DataFrame) -> bytes:
    """The file's bytes from a frame with the columns target, shape (operator JSON text), measured_us, predicted_us.

    Times have six significant digits.
    """
    times = {name: [float(f"{value:.6g}") for value in rows[name]] for name in _COLUMNS[2:]}
    columns = {name: list(map(str, rows[name])) for name in _COLUMNS[:2]}
    return canonical_json({"schema": SCHEMA_VERSION, **columns, **times})


def held_out_rows(data: dict[str, Any], where: str) -> pd.DataFrame:
    """The frame of `held_out_file`, from its JSON. Raises UserError naming `where` for anything else."""
    if data.get("schema") != SCHEMA_VERSION:
        raise UserError(
            f"{where}: schema {data.get('schema')!r} is not known here; this version reads {SCHEMA_VERSION}"
        )
    try:
        rows = pd.DataFrame({name: data[name] for name in _COLUMNS})
        rows = rows.astype({"measured_us": float, "predicted_us": float})
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where}: damaged: {error}; get the package again") from error
    if not (rows[["measured_us", "predicted_us"]] > 0).all(axis=None) or rows.duplicated(["target", "shape"]).any():
        raise UserError(f"{where}: damaged: a time is not positive, or a shape is there twice; get the package again")
    return rows
