"""Predictor packages: all that one device class's predictions need, in one checked zip file without any pickle.

| file | content |
|---|---|
| manifest.json | schema, device class, what it was made from, versions, SHA-256 of every other file |
| profile.json, operating_point.json | the device, without a serial, and the conditions its times hold for |
| models/<target>.txt, .json | LightGBM's model text; cost model, features, kernels |
| constants.json | joining costs and error quantiles |
| split_table.json, split_table.bin | the decisions, for people and for a runtime |
| proof.json | what was measured of them on the phone, before corrections, and the times of the searches |
| golden.json | shapes with their features, raw scores and times |
| metrics.json | errors on held-out shapes |
| held_out.json | each shape that was held out: measured and predicted time |
| include/splitfleet/*.hpp | the C++17 reader of split_table.bin |
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files as files_of
from pathlib import Path
from typing import Any

import pandas as pd

from splitfleet.kernels import Device, Operator, describe_many, lower_many
from splitfleet.kernels.errors import HarnessError, UserError

from .archive import canonical_json, check_origin, check_texts, pack, reading, unpack, write_package
from .golden import check_golden, golden_vectors
from .held_out import HELD_OUT, held_out_file, held_out_rows
from .models import DeviceModels
from .planner import plan_operator
from .predictor import Predictor, threads_of
from .split_table import SplitDecision, SplitTable
from .split_table_binary import decode_split_table, encode_split_table
from .train import ClassModels

_FIXED = ("profile", "operating_point", "constants", "split_table", "golden", "metrics", "held_out", "proof")
_MODEL = re.compile(r"models/([a-z0-9_]+)\.(txt|json)")
_HEADERS = "include/splitfleet"
_HEADER = re.compile(rf"{_HEADERS}/[a-z0-9_]+\.hpp")
_LIBRARIES = ("splitfleet", "lightgbm", "numpy", "pandas", "scipy")


@dataclass(frozen=True)
class Prediction:
    """Predicted times of one whole operator in us. `times_us` is by target; `gpu_us` is dispatch, execution and wait.

    `known_kernel` is False when training has not seen the kernel: the figures then come from its family.
    """

    operator: Operator
    kernel: str
    known_kernel: bool
    times_us: dict[str, float]
    gpu_us: float

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "operator": self.operator.to_json(), "label": self.operator.label}


@dataclass(frozen=True)
class Package:
    """A package that was read and found whole."""

    path: Path
    manifest: dict[str, Any]
    profile: dict[str, Any]
    operating_point: dict[str, Any]
    models: DeviceModels
    split_table: SplitTable
    metrics: dict[str, dict[str, Any]]
    golden: list[dict[str, Any]]
    held_out: pd.DataFrame
    proof: dict[str, Any]

    @property
    def device_class(self) -> str:
        return self.models.device_class

    @cached_property
    def device(self) -> Device:
        return Device.from_capabilities(self.profile["capabilities"])

    def predict(self, operator: Operator) -> Prediction:
        """Predicted times of the whole operator. Raises UserError for a type of operator not trained on."""
        self.models.require(operator.type)
        launches = lower_many([operator], self.device, precision=self.models.precision, tuned=self.models.tuning)
        shapes = describe_many([operator])
        times, known = {}, True
        for target, predictor in sorted(self.models.predictors.items()):
            table = launches if threads_of(target) is None else shapes
            times[target] = float(predictor.predict_table_us(table)[0])
            known = known and bool(predictor.known_kernels(table)[0])
        gpu_us = times["gpu_dispatch"] + times["gpu_execution"] + self.models.costs.gpu_wait()[1]
        return Prediction(operator, str(launches["kernel"].iloc[0]), known, times, gpu_us)

    def plan(self, operator: Operator, step: int | None = None) -> SplitDecision:
        """The split of an operator: from the table where it is in there, else planned now.

        `step` asks for a new plan over cuts at multiples of it.
        """
        found = self.split_table.find(operator, "exact")
        if found is not None and found.entry is not None and step is None:
            return found.entry.decision
        return plan_operator(operator, self.models, self.device, step)


def build_package(
    trained: ClassModels,
    table: SplitTable,
    path: Path,
    provisional: Mapping[str, Any] | None = None,
    proof: Mapping[str, Any] | None = None,
) -> Path:
    """Writes and verifies the package of one device class; it appears at `path` whole or not at all.

    `provisional` says what an adopted phone's models were transferred from; it goes into the manifest. `proof` is what
    was measured of the table's decisions, as JSON; nothing where none was proved. The same
    arguments give the same bytes. Raises UserError when the table is another class's or when the operators' features
    are no longer those of the traces, HarnessError when the profile carries a serial.
    """
    models = trained.models
    if table.device_class != models.device_class:
        raise UserError(f"{path}: the split table is of {table.device_class}, the models of {models.device_class}")
    if _has_key(trained.profile, "serial"):
        raise HarnessError(f"{path}: the device profile carries a serial; a package must not")
    data = {name: {"sha256": data.sha256, "shapes": len(data.shapes)} for name, data in trained.training.items()}
    manifest = {
        "device_class": models.device_class,
        "created_from": {
            "campaigns": list(trained.campaigns),
            "newest_trace_us": trained.newest_trace_us,
            "seed": trained.seed,
            "training": data,
        },
        "versions": {name: _version(name) for name in _LIBRARIES},
        **({"provisional": dict(provisional)} if provisional else {}),
    }
    return write_package(path, pack(_files(trained, table, proof or {}), manifest), verify_package)


def open_package(path: Path) -> Package:
    """Reads a package and checks every byte of it against its manifest.

    Raises UserError for a package of another kind, or naming the file that is damaged, missing, unknown, twice there or
    too large.
    """
    files, manifest = unpack(path, _is_allowed, kind="")
    with reading(path):
        return _package(path, files, manifest)


def _package(path: Path, files: Mapping[str, bytes], manifest: dict[str, Any]) -> Package:
    check_origin(manifest, "campaigns")
    where = {name: f"{path}: {name}" for name in files}
    content = {}
    for name in (f"{stem}.json" for stem in _FIXED):
        content[name] = _json(files, name, path)
    predictors = {target: _predictor(files, target, path) for target in _targets(files)}
    models = DeviceModels.from_json(content["constants.json"], predictors, where["constants.json"])
    table = SplitTable.from_json(content["split_table.json"], where["split_table.json"])
    if "split_table.bin" not in files:
        raise UserError(f"{path}: split_table.bin is missing; get the package again")
    if decode_split_table(files["split_table.bin"], where["split_table.bin"]) != table:
        raise UserError(f"{where['split_table.bin']} says otherwise than split_table.json; get the package again")
    if not manifest.get("device_class") == models.device_class == table.device_class:
        raise UserError(f"{path}: manifest.json, constants.json and split_table.json name different device classes")
    if (table.backend, table.precision) != (models.backend, models.precision):
        raise UserError(f"{path}: constants.json and split_table.json name different backends or precisions")
    held_out = held_out_rows(content["held_out.json"], where["held_out.json"])
    check_texts(HELD_OUT, [*held_out["target"], *held_out["shape"]])
    return Package(
        path,
        manifest,
        content["profile.json"],
        content["operating_point.json"],
        models,
        table,
        content["metrics.json"]["targets"],
        content["golden.json"]["vectors"],
        held_out,
        content["proof.json"],
    )


def verify_package(path: Path) -> Package:
    """As `open_package`, and computes every golden vector again: features, raw scores bit for bit, times to 1 ulp.

    Raises UserError naming the file that differs.
    """
    package = open_package(path)
    with reading(path):
        check_golden(package.golden, package.models, package.device, f"{path}: golden.json")
    return package


def _files(trained: ClassModels, table: SplitTable, proof: Mapping[str, Any]) -> dict[str, bytes]:
    """All files of a package but the manifest."""
    models = trained.models
    files = {
        "profile.json": canonical_json(trained.profile),
        "operating_point.json": canonical_json(trained.operating_point),
        "constants.json": canonical_json(models.constants_json()),
        "split_table.json": canonical_json(table.to_json()),
        "split_table.bin": encode_split_table(table),
        "golden.json": canonical_json(golden_vectors(models.predictors, trained.training)),
        "metrics.json": canonical_json({"schema": 1, "targets": trained.metrics}),
        HELD_OUT: held_out_file(trained.held_out),
        "proof.json": canonical_json({"schema": 1, **proof}),
    }
    files |= _headers()
    for predictor in models.predictors.values():
        files |= {f"models/{name}": data for name, data in predictor.to_files().items()}
    return files


def _is_allowed(name: str) -> bool:
    fixed = {"split_table.bin", *(f"{stem}.json" for stem in _FIXED)}
    return name in fixed or bool(_MODEL.fullmatch(name) or _HEADER.fullmatch(name))


def _headers() -> dict[str, bytes]:
    """The table's reader for runtimes, which the agent uses itself."""
    folder = files_of("splitfleet.agent").joinpath(_HEADERS)
    return {f"{_HEADERS}/{file.name}": file.read_bytes() for file in folder.iterdir() if file.name.endswith(".hpp")}


def _targets(files: Mapping[str, bytes]) -> list[str]:
    return sorted({match[1] for name in files if (match := _MODEL.fullmatch(name))})


def _predictor(files: Mapping[str, bytes], target: str, path: Path) -> Predictor:
    prefix = f"models/{target}"
    if f"{prefix}.txt" not in files:
        raise UserError(f"{path}: {prefix}.txt is missing; get the package again")
    description = _json(files, f"{prefix}.json", path)
    return Predictor.from_json(description, files[f"{prefix}.txt"].decode(), f"{path}: {prefix}.json")


def _json(files: Mapping[str, bytes], name: str, path: Path) -> dict[str, Any]:
    if name not in files:
        raise UserError(f"{path}: {name} is missing; get the package again")
    data = json.loads(files[name])
    if not isinstance(data, dict):
        raise UserError(f"{path}: {name} is damaged; get the package again")
    return data


def _has_key(data: Any, key: str) -> bool:
    if isinstance(data, dict):
        return key in data or any(_has_key(value, key) for value in data.values())
    return isinstance(data, list) and any(_has_key(value, key) for value in data)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
