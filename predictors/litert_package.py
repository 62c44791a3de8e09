"""The predictors of a phone's GPU under LiteRT as one checked zip file of text, like a predictor package.

| file | content |
|---|---|
| manifest.json | schema, device class, kind, what it was made from, versions, SHA-256 of every other file |
| operating_point.json | runtime, GPU, precision |
| models/<group>.txt, .json | LightGBM's model text; cost model, Gaussian process, intervals, features, kernels |
| golden.json | features of some shapes, raw scores and times |
| metrics.json | errors on held-out shapes |
| held_out.json | each shape that was held out: measured and predicted time; the target is the type of operator |
| overhead.json | what whole networks take beside their operators; missing where none was measured |
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from splitfleet.kernels.errors import UserError
from splitfleet.kernels.litert.operations import operation_from_json

from .archive import canonical_json, check_origin, check_texts, pack, reading, unpack, write_package
from .golden import check_scores
from .held_out import HELD_OUT, held_out_file, held_out_rows
from .litert_train import GROUPS, LitertModels, LitertTraining
from .network_overhead import NetworkOverhead
from .predictor import Predictor

KIND = "litert"
_OVERHEAD = "overhead.json"
_FIXED = ("golden.json", "metrics.json", "operating_point.json", HELD_OUT, _OVERHEAD)
_MODEL = re.compile(rf"models/({'|'.join(GROUPS)})\.(txt|json)")
_VECTORS = 8
_LIBRARIES = ("lightgbm", "numpy", "pandas", "scipy")


def write_litert_package(trained: LitertTraining, path: Path, provisional: Mapping[str, Any] | None = None) -> Path:
    """Writes the package; it appears at `path` whole or not at all. The same training gives the same bytes.

    `provisional` says what an adopted phone's models were transferred from; it goes into the manifest.
    """
    files = {
        "operating_point.json": canonical_json(trained.models.operating_point),
        "golden.json": canonical_json({"vectors": _golden(trained)}),
        "metrics.json": canonical_json({"schema": 1, "operators": trained.metrics}),
        HELD_OUT: held_out_file(trained.held_out.rename(columns={"operator": "target"})),
    }
    if trained.models.overhead is not None:
        files[_OVERHEAD] = canonical_json(trained.models.overhead.to_json())
    for group, predictor in trained.models.predictors.items():
        for name, data in predictor.to_files().items():
            files[f"models/{group}{Path(name).suffix}"] = data
    sets = {name: {"sha256": data.sha256, "rows": len(data.shapes)} for name, data in trained.training.items()}
    manifest = {
        "kind": KIND,
        "device_class": trained.models.device_class,
        "created_from": {"phones": list(trained.phones), "seed": trained.seed, "training": sets},
        "versions": {name: version(name) for name in _LIBRARIES},
        **({"provisional": dict(provisional)} if provisional else {}),
    }
    return write_package(path, pack(files, manifest), open_litert_package)


@dataclass(frozen=True)
class LitertPackage:
    """A package that was read and found whole."""

    path: Path
    manifest: dict[str, Any]
    models: LitertModels
    metrics: dict[str, dict[str, Any]]
    held_out: pd.DataFrame


def open_litert_package(path: Path) -> LitertModels:
    """The models of a package. Raises UserError as `read_litert_package` does."""
    return read_litert_package(path).models


def read_litert_package(path: Path) -> LitertPackage:
    """Reads a package, checks every byte of it, and computes its golden vectors again.

    Raises UserError for a package of another kind, or naming the file that is damaged, missing, unknown or different.
    """
    files, manifest = unpack(path, lambda name: name in _FIXED or bool(_MODEL.fullmatch(name)), KIND)
    with reading(path):
        return _package(path, files, manifest)


def _package(path: Path, files: dict[str, bytes], manifest: dict[str, Any]) -> LitertPackage:
    check_origin(manifest, "phones")
    predictors = {}
    for group in GROUPS:
        if f"models/{group}.json" in files and f"models/{group}.txt" in files:
            text = files[f"models/{group}.txt"].decode()
            where = f"{path}: models/{group}.json"
            predictors[group] = Predictor.from_json(_json(files, f"models/{group}.json", path), text, where)
    _check_golden(path, _json(files, "golden.json", path)["vectors"], predictors)
    overhead = None
    if _OVERHEAD in files:
        overhead = NetworkOverhead.from_json(_json(files, _OVERHEAD, path), f"{path}: {_OVERHEAD}")
    point = _json(files, "operating_point.json", path)
    check_texts("operating_point.json", [point["gpu"], point["precision"]])
    held_out = held_out_rows(_json(files, HELD_OUT, path), f"{path}: {HELD_OUT}")
    check_texts(HELD_OUT, [*held_out["target"], *held_out["shape"]])
    if not [operation_from_json(json.loads(shape)) for shape in held_out["shape"]]:
        raise UserError(f"{path}: {HELD_OUT} has no shape; train again")
    return LitertPackage(
        path,
        manifest,
        LitertModels(str(manifest["device_class"]), point, predictors, overhead),
        _json(files, "metrics.json", path)["operators"],
        held_out,
    )


def _check_golden(path: Path, vectors: list[dict[str, Any]], predictors: Mapping[str, Predictor]) -> None:
    """Computes the vectors again. Raises UserError naming the first that differs."""
    by_group: dict[str, list[dict[str, Any]]] = {}
    for vector in vectors:
        by_group.setdefault(vector["group"], []).append(vector)
    for group, own in by_group.items():
        if group not in predictors:
            raise UserError(f"{path}: models/{group} is missing; train again")
        features = np.array([vector["features"] for vector in own], dtype=np.float64)
        frame = pd.DataFrame(features, columns=list(predictors[group].feature_names))
        what = [f"{path}: golden.json: {vector['operator']}" for vector in own]
        check_scores(predictors[group], frame, own, what)


def _golden(trained: LitertTraining) -> list[dict[str, Any]]:
    """Some observations of each group, spread evenly over them."""
    vectors = []
    for group, predictor in sorted(trained.models.predictors.items()):
        data = trained.training[group]
        rows = np.unique(np.linspace(0, len(data.shapes) - 1, _VECTORS).round().astype(int))
        frame = data.features.iloc[rows]
        for row, score, time_us in zip(rows, predictor.raw_score(frame), predictor.predict_us(frame), strict=True):
            vectors.append(
                {
                    "group": group,
                    "operator": data.shapes[row],
                    "features": [float(value) for value in data.features.iloc[row]],
                    "raw_score": float(score),
                    "time_us": float(time_us),
                }
            )
    return vectors


def _json(files: dict[str, bytes], name: str, path: Path) -> dict[str, Any]:
    if name not in files:
        raise UserError(f"{path}: {name} is missing; train again")
    return dict(json.loads(files[name]))
