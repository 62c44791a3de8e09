"""`splitfleet adopt` on probes that were measured elsewhere: from a file to a provisional package.

Elders are the champions of other phones, or packages and trained folders that are named. The probes lie in the output
folder as traces, so a campaign's worth of them, imported there later, trains a full model with `splitfleet train`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from splitfleet.kernels.errors import UserError
from splitfleet.predictors.litert_adopt import adopt_litert, elders_of
from splitfleet.predictors.litert_package import KIND, open_litert_package, write_litert_package
from splitfleet.predictors.litert_train import LitertModels
from splitfleet.predictors.registry import PROVISIONAL, champions, register_package
from splitfleet.predictors.signing import renew_signature
from splitfleet.predictors.traces import read_traces

from .trace_import import import_traces

ERROR_IS_OF = "folds over the probes"
_SEED = 0


@dataclass(frozen=True)
class Adopted:
    """A provisional package: its class, file and version, the elders' device classes, and its errors on the probes.

    `metrics` are by operator type or target, each from a transfer that had not seen the shape.
    """

    device_class: str
    path: Path
    version: int
    elders: tuple[str, ...]
    metrics: dict[str, dict[str, Any]]
    errors: str = ERROR_IS_OF

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path), "elders": list(self.elders), "alias": PROVISIONAL}


def adopt_probes(
    file: Path, out: Path, *, format: str, phone: str, gpu: str, elders: Sequence[Path] | None = None
) -> Adopted:
    """Imports a new phone's probes into `out`, transfers the elders' models to it, writes
    `out/models/<device class>.zip`, marked provisional, and registers it under the alias `provisional`.

    `elders` are packages or folders that were trained; without any the champions in the registry are taken. Raises
    UserError for what cannot be read, too few probes, no elder, and a store that cannot be used.
    """
    imported = import_traces(file, out, format=format, phone=phone, gpu=gpu)
    name = imported.device_class
    traces = read_traces(out)
    traces = traces[traces["device_class"] == name]
    point = json.loads(traces["operating_point"].iloc[0])
    chosen = elders_of(point, name, _models(elders))
    if not chosen:
        raise UserError(
            f"{name}: no other phone's models are there to learn from; train some (splitfleet traces import, then "
            "splitfleet train), or name packages or trained folders with --elder"
        )
    trained = adopt_litert(traces, chosen, _SEED)
    names = tuple(elder.device_class for elder in chosen)
    about = {"elders": list(names), "shapes_probed": int(traces["operator"].nunique()), "errors": ERROR_IS_OF}
    path = write_litert_package(trained, out / "models" / f"{name}.zip", about)
    renew_signature(path, None)
    version = register_package(path, tags={"errors": ERROR_IS_OF}).version
    return Adopted(name, path, version, names, trained.metrics)


def _models(elders: Sequence[Path] | None) -> list[LitertModels]:
    if not elders:
        return [open_litert_package(path) for path in champions(KIND)]
    return [open_litert_package(path) for elder in elders for path in package_files(elder)]


def package_files(elder: Path) -> list[Path]:
    """The packages that a path names: itself, or those of a folder that was trained. Raises UserError for none."""
    if elder.is_file():
        return [elder]
    found = sorted((elder / "models").glob("*.zip")) or sorted((elder / "packages").glob("*.zip"))
    found = found or sorted(elder.glob("*.zip"))
    if not found:
        raise UserError(f"{elder}: neither a package nor a folder with packages; run: splitfleet train {elder}")
    return found
