"""What was fitted for a device class, kept beside its traces, so that nobody trains it twice.

It is an archive like a package: models as text, a hash of every file. It says what it was trained on and by which code;
with other data, seed or code it is not used.

| file | content |
|---|---|
| manifest.json | kind `fitted`, SHA-256 of every training set by predictor, seed, training code |
| models/<predictor>.txt, .json | as in a package |
| held_out/<predictor>.json | predictions of shapes held out, bounds, whether they lie outside; the learning curve |
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from splitfleet.kernels.errors import UserError

from .archive import canonical_json, pack, unpack
from .code_key import training_code
from .fit_sets import Fitted, fit_sets
from .fitting import HeldOut
from .observations import TrainingSet
from .predictor import Predictor

_KIND = "fitted"


def fit_to_bytes(sets: Mapping[str, TrainingSet], seed: int, workers: int) -> bytes:
    """Fits the training sets of a device class and returns the file's bytes, which follow from sets, seed and code."""
    files = {}
    for name, fitted in fit_sets(sets, seed, workers).items():
        for file, content in fitted.predictor.to_files().items():
            files[f"models/{name}{PurePosixPath(file).suffix}"] = content
        files[f"held_out/{name}.json"] = canonical_json(_held_out_json(fitted))
    return pack(files, _manifest(sets, seed))


def read_fitted(path: Path, sets: Mapping[str, TrainingSet], seed: int) -> dict[str, Fitted] | None:
    """What was fitted on these training sets with this seed by this code; None where the file is absent or of others.

    Raises UserError where the file is damaged.
    """
    if not path.exists():
        return None
    files, manifest = unpack(path, lambda name: name.startswith(("models/", "held_out/")))
    if any(manifest.get(key) != value for key, value in _manifest(sets, seed).items()):
        return None
    return {name: _fitted(name, files, path) for name in sets}


def _manifest(sets: Mapping[str, TrainingSet], seed: int) -> dict[str, Any]:
    data = {name: one.sha256 for name, one in sets.items()}
    return {"kind": _KIND, "training_data_sha256": data, "seed": seed, "code": training_code()}


def _held_out_json(fitted: Fitted) -> dict[str, Any]:
    held_out = fitted.held_out
    return {
        "time_us": held_out.time_us.tolist(),
        "low_us": held_out.low_us.tolist(),
        "high_us": held_out.high_us.tolist(),
        "outside": held_out.outside.tolist(),
        "learning": [list(point) for point in fitted.learning],
    }


def _fitted(name: str, files: Mapping[str, bytes], path: Path) -> Fitted:
    where = f"{path}: models/{name}.json"
    try:
        text, description = files[f"models/{name}.txt"].decode(), json.loads(files[f"models/{name}.json"])
        data = json.loads(files[f"held_out/{name}.json"])
        time_us, low_us, high_us = (np.array(data[key], np.float64) for key in ("time_us", "low_us", "high_us"))
        held_out = HeldOut(time_us, low_us, high_us, np.array(data["outside"], np.bool_))
        learning = tuple((int(shapes), float(mape)) for shapes, mape in data["learning"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where}: damaged ({error!r}); remove {path} and train again") from error
    return Fitted(Predictor.from_json(description, text, where), held_out, learning)
