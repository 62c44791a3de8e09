"""`splitfleet adopt` on a phone: a small campaign over the listed probes, and a provisional package from it.

The probes are the same on all phones: `probes.toml`, beside this module. The output folder is a campaign's folder, so
an interrupted adoption goes on where it was left, and `splitfleet train` can train on the probes alone.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from splitfleet.kernels.errors import UserError
from splitfleet.predictors.any_package import SPLITFLEET
from splitfleet.predictors.models import DeviceModels
from splitfleet.predictors.package import build_package, open_package
from splitfleet.predictors.planner import plan_layers
from splitfleet.predictors.registry import champions, register_package
from splitfleet.predictors.signing import renew_signature
from splitfleet.predictors.traces import read_traces
from splitfleet.predictors.train import ClassModels, class_models, class_traces
from splitfleet.predictors.transfer import MOST_ELDERS, transfer_sets

from .adopting import ERROR_IS_OF, Adopted, package_files
from .campaign import COPY_NAME, Phones, phones_at
from .campaign_run import campaign_of, run_campaign
from .fleet import FleetSettings
from .layers import LAYER_TYPES
from .locations import new_file
from .profile import DeviceProfile, load_profiles
from .training import train_classes

_SEED = 0
_FILE = "adopt.toml"
_BACKEND = "eigen"
_HEAD = """# Made by splitfleet adopt: the shapes that all new phones are probed on.
name = "{name}"

[fleet]
sister_fraction = 0

[measure]
samples = {{ {samples} }}
coexec_share = 0
threads = {threads}
backend = "{backend}"
checked_joins = 1000
transfers = []

"""
_LAYER = "[[layers]]\n"


def adopt_phone(
    address: str,
    folder: Path,
    *,
    count: int,
    elders: Sequence[Path] | None = None,
    settings: FleetSettings | None = None,
) -> Adopted:
    """Measures `count` probes on the phone at HOST:PORT, transfers the elders' models to it, writes
    `folder/packages/<device class>.zip`, marked provisional, and registers it under the alias `provisional`.

    `elders` are packages, or campaign folders; without any the champions in the registry are taken. Raises UserError
    where there is no elder, or the folder or the store cannot be used, DeviceError where the phone does not work.
    """
    phones = phones_at([address])
    known = [one for one in _models(elders) if one.backend.startswith(_BACKEND) and one.precision == "fp32"]
    if not known:
        raise UserError(
            f"{address}: no other phone's models are there to learn from ({_BACKEND}, fp32); publish a campaign's, or "
            "name packages or trained campaigns with --elder"
        )
    profile = _measure(folder, phones, count, _threads(known), settings)
    name = profile.device_class
    chosen = _chosen(name, known)
    traces = read_traces(folder)
    given = class_traces(traces[traces["device_class"] == name], profile.to_json())
    fitted = transfer_sets(given.training, [elder.predictors for elder in chosen], _SEED)
    if missing := sorted(given.training.keys() - fitted.keys()):
        raise UserError(f"{name}: no elder predicts {', '.join(missing)}; name others with --elder")
    trained = class_models(given, fitted, _SEED)
    names = tuple(elder.device_class for elder in chosen)
    path = _package(trained, profile, folder, names)
    renew_signature(path, None)
    version = register_package(path, tags={"errors": ERROR_IS_OF}).version
    return Adopted(name, path, version, names, trained.metrics)


def campaign_text(name: str, count: int, threads: Sequence[int]) -> str:
    """The campaign file that measures the first `count` probes of the list."""
    listed = (files("splitfleet.pipeline") / "probes.toml").read_text("utf-8").split(_LAYER)[1:]
    probes = listed[:count]
    # As many samples as there are layers: the layers alone are measured.
    types = Counter(tomllib.loads(layer)["type"] for layer in probes)
    samples = ", ".join(f"{kind} = {types[kind]}" for kind in LAYER_TYPES)
    head = _HEAD.format(name=name, samples=samples, threads=list(threads), backend=_BACKEND)
    return head + "".join(_LAYER + layer for layer in probes)


def _measure(
    folder: Path, phones: Phones, count: int, threads: Sequence[int], settings: FleetSettings | None
) -> DeviceProfile:
    """Runs the probes' campaign, or goes on with it; returns the phone's profile."""
    file = folder / _FILE
    with new_file(file) as written:
        if not file.exists() and (folder / COPY_NAME).exists():
            raise UserError(f"{folder} belongs to a campaign; name another folder with --out")
        written.write(campaign_text(folder.name, count, threads).encode())
    if run_campaign(file, folder, phones=phones, settings=settings).was_interrupted:
        raise KeyboardInterrupt
    profiles = load_profiles(folder / "profiles")
    if len(profiles) != 1:
        raise UserError(
            f"{folder} holds measurements of {len(profiles)} device classes ({', '.join(sorted(profiles))}): was the "
            "phone or its agent updated? Adopt it into another folder with --out"
        )
    return next(iter(profiles.values()))


def _models(elders: Sequence[Path] | None) -> list[DeviceModels]:
    if not elders:
        return [open_package(path).models for path in champions(SPLITFLEET)]
    return [models for elder in elders for models in _models_at(elder)]


def _models_at(elder: Path) -> list[DeviceModels]:
    """The models of a package, of a campaign's packages, or, where nothing was published, of its traces."""
    if (elder / COPY_NAME).is_file() and not (elder / "packages").is_dir():
        return [trained.models for trained in train_classes(elder).values()]
    return [open_package(path).models for path in package_files(elder)]


def _threads(elders: Sequence[DeviceModels]) -> list[int]:
    return sorted({count for elder in elders for count in elder.thread_counts})


def _chosen(name: str, elders: Sequence[DeviceModels]) -> list[DeviceModels]:
    """Other classes than the phone's own, at most MOST_ELDERS."""
    others = sorted((one for one in elders if one.device_class != name), key=lambda one: one.device_class)
    if not others:
        raise UserError(f"{name}: the only models there are its own; a phone that was measured needs no adoption")
    return others[:MOST_ELDERS]


def _package(trained: ClassModels, profile: DeviceProfile, folder: Path, elders: Sequence[str]) -> Path:
    """The probes themselves are planned, so that the package's split table has something to show."""
    operators = [layer.operator for layer in campaign_of(folder).layers]
    table = plan_layers(operators, trained.models, profile.device)
    about = {"elders": list(elders), "shapes_probed": len(operators), "errors": ERROR_IS_OF}
    return build_package(trained, table, folder / "packages" / f"{profile.device_class}.zip", about)
