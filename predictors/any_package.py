"""A predictor package of either kind, seen as what registry, comparison and lists need of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from splitfleet.kernels import operator_from_json
from splitfleet.kernels.errors import UserError
from splitfleet.kernels.litert.operations import operation_from_json

from .archive import read_manifest
from .litert_package import KIND as LITERT
from .litert_package import LitertPackage, read_litert_package
from .metrics import error_metrics
from .package import Package, verify_package
from .split_table import SplitTable

SPLITFLEET = "splitfleet"


@dataclass(frozen=True)
class AnyPackage:
    """A package that was read and found whole, its golden vectors computed again.

    `kind` is the runtime whose kernels it predicts: `splitfleet` or `litert`. `metrics` has the held-out figures by
    target or type of operator. `split_table` is None where there is none. `example` is an operator's text that the
    package can predict.
    """

    path: Path
    kind: str
    device_class: str
    manifest: dict[str, Any]
    operating_point: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    held_out: pd.DataFrame
    split_table: SplitTable | None
    hardware: dict[str, str]
    example: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    @property
    def source(self) -> str:
        """The campaigns, or the phones of imported traces, that it was made from."""
        made = self.manifest["created_from"]
        return ", ".join(made.get("campaigns") or made.get("phones") or [])

    @property
    def newest_trace_us(self) -> int | None:
        """When the newest trace it was trained on was measured, in us since 1970 UTC; None where traces do not say."""
        newest = self.manifest["created_from"].get("newest_trace_us")
        return None if newest is None else int(newest)

    @property
    def mapes(self) -> dict[str, float]:
        """MAPE in percent of the whole on shapes held out: `gpu` and, where it predicts CPUs, `cpu`."""
        is_cpu = self.held_out["target"].str.startswith("cpu_t")
        is_dispatch = self.held_out["target"] == "gpu_dispatch"
        parts = {"gpu": self.held_out[~is_cpu & ~is_dispatch], "cpu": self.held_out[is_cpu]}
        return {
            name: error_metrics(rows["measured_us"], rows["predicted_us"])["mape"]
            for name, rows in parts.items()
            if len(rows)
        }

    @property
    def speedups(self) -> list[float]:
        """The measured speed-ups of the layers planned as split, in ascending order."""
        entries = () if self.split_table is None else self.split_table.entries
        return sorted(e.measured.speedup for e in entries if e.measured and e.decision.processor == "split")


def open_any(path: Path) -> AnyPackage:
    """Reads and verifies a package of either kind.

    Raises UserError naming the file that is damaged, missing, unknown, different or too large.
    """
    if read_manifest(path).get("kind") == LITERT:
        return _litert(read_litert_package(path))
    return _own(verify_package(path))


def open_or_none(path: Path) -> AnyPackage | None:
    """As `open_any`; None for what this version of Splitfleet cannot read."""
    try:
        return open_any(path)
    except UserError:
        return None


def _own(package: Package) -> AnyPackage:
    opencl = package.profile["capabilities"]["opencl"]
    named = {"model": package.profile.get("model"), "soc": package.profile.get("soc"), "gpu": opencl.get("device")}
    return AnyPackage(
        package.path,
        SPLITFLEET,
        package.device_class,
        package.manifest,
        package.operating_point,
        package.metrics,
        package.held_out,
        package.split_table,
        {key: str(value) for key, value in named.items() if value},
        operator_from_json(package.golden[0]["operator"]).label,
    )


def _litert(package: LitertPackage) -> AnyPackage:
    models = package.models
    return AnyPackage(
        package.path,
        LITERT,
        models.device_class,
        package.manifest,
        dict(models.operating_point),
        package.metrics,
        package.held_out,
        None,
        {"model": ", ".join(package.manifest["created_from"]["phones"]), "gpu": models.operating_point["gpu"]},
        operation_from_json(json.loads(package.held_out["shape"].iloc[0])).label,
    )
