"""The model registry: every device class is a registered model, its versions are its packages.

The alias `champion` is the version in use; a version that may not take its place is the `challenger`, with the reason
in a tag. What `splitfleet adopt` made is `provisional` and takes nobody's place. Signatures lie in the runs that the
versions came from.
"""

from __future__ import annotations

import difflib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from splitfleet.kernels.errors import UserError

from .any_package import AnyPackage, open_any, open_or_none
from .champions import Comparison, compare
from .signing import signature_path, signer_of
from .tracking_notes import registered_note
from .tracking_store import connect, experiment_id, is_empty_store, rounded, store_errors, tracking_uri

CHAMPION = "champion"
CHALLENGER = "challenger"
PROVISIONAL = "provisional"
_ALIASES = (CHAMPION, CHALLENGER, PROVISIONAL)
KIND_TAG = "splitfleet.kind"
SHA256_TAG = "package_sha256"
_SIGNATURES = "signature"
_PAGE = 1000
_NUMBER_TAGS = ("gpu_mape", "cpu_mape", "speedup_median")


@dataclass(frozen=True)
class Version:
    """A registered version of a device class's packages. `speedup` is the median of those measured, None without any.

    `published` is UTC; MAPEs are percent, of all held-out shapes; None where the package does not predict it.
    """

    device_class: str
    version: int
    aliases: tuple[str, ...]
    kind: str
    campaign: str
    published: str
    gpu_mape: float | None
    cpu_mape: float | None
    speedup: float | None
    signed_by: str
    reason: str
    package_sha256: str
    run_id: str


@dataclass(frozen=True)
class Registered:
    """Which version a package became, under which alias, and why under that one."""

    device_class: str
    version: int
    alias: str
    reason: str


def register_package(
    path: Path,
    *,
    run_id: str | None = None,
    metrics: Mapping[str, float] | None = None,
    tags: Mapping[str, str] | None = None,
) -> Registered:
    """Registers a package as the next version of its device class's model, as champion or as challenger.

    The first version is the champion; a later one only if it is not worse on the shapes that both hold out
    (`champions.compare`). A package that says of itself that it is provisional is neither. `run_id` is the device
    class's training run, under which the package's own run is put; `metrics` go into that run, `tags` onto the version.
    A signature beside the package goes along.

    Raises UserError when the package is damaged or the store cannot be used.
    """
    package = open_any(path)
    name, mlflow = package.device_class, connect()
    comparison, alias, reason = _judge(mlflow, package)
    note = registered_note(package, alias, reason)
    with (
        store_errors(),
        mlflow.start_run(
            experiment_id=experiment_id(mlflow), run_name="package", parent_run_id=run_id, description=note
        ),
    ):
        mlflow.set_tags({"device_class": name, "level": "package", "campaign": package.source, "alias": alias})
        mlflow.log_metrics(rounded({**(metrics or {}), **_comparison_metrics(comparison)}))
        _log_files(mlflow, package, comparison)
        info = _log_package(mlflow, package)
        client = mlflow.MlflowClient()
        if not client.search_registered_models(filter_string=f"name = '{name}'"):
            client.create_registered_model(name, tags={KIND_TAG: package.kind})
        version = client.create_model_version(
            name,
            info.model_uri,
            run_id=info.run_id,
            model_id=info.model_id,
            tags={**_version_tags(package), f"{alias}_reason": reason, **(tags or {})},
            description=note,
        )
        client.set_registered_model_alias(name, alias, version.version)
        if alias == CHAMPION:
            _describe_model(client, package, note)
    return Registered(name, int(version.version), alias, reason)


def list_packages() -> list[Version]:
    """Every registered version: by device class, the newest first. Raises UserError when the store cannot be used."""
    if is_empty_store():
        return []
    client = connect().MlflowClient()
    with store_errors():
        models = {model.name: model for model in _pages(client.search_registered_models)}
        ours = {name: model.aliases for name, model in models.items() if KIND_TAG in model.tags}
        found = [
            _version(item, ours[item.name], models[item.name].tags[KIND_TAG])
            for item in _pages(client.search_model_versions)
            if item.name in ours
        ]
    return sorted(found, key=lambda version: (version.device_class, -version.version))


def find_version(reference: str, version: int | None = None) -> Version:
    """The version that `DEVICE`, `DEVICE@VERSION` or `DEVICE@ALIAS` names; the champion where nothing is said.

    Raises UserError for what is not there, naming the nearest, and when the store cannot be used.
    """
    name, _, wanted = reference.partition("@")
    of_class = [one for one in list_packages() if one.device_class == name]
    if not of_class:
        raise UserError(_unknown_device(name))
    if version is not None:
        wanted = str(version)
    wanted = wanted or CHAMPION
    for one in of_class:
        if wanted == str(one.version) or wanted in one.aliases:
            return one
    known = ", ".join(" ".join((str(one.version), *(f"({alias})" for alias in one.aliases))) for one in of_class)
    raise UserError(f"{name} has no version {wanted!r}; there are {known}. `splitfleet package list` shows all")


def package_file(version: Version, folder: Path | None = None) -> Path:
    """A local file with the package of a version: in the store itself where that is local, else in `folder`.

    Raises UserError where the registry holds none, or another than it says.
    """
    return _package_file(connect(), version.device_class, version.version, folder)


def signature_file(version: Version, folder: Path) -> Path | None:
    """The signature of a version, copied into `folder`; None where it is not signed."""
    if not version.signed_by:
        return None
    mlflow = connect()
    with store_errors():
        found = mlflow.artifacts.download_artifacts(
            run_id=version.run_id, artifact_path=_SIGNATURES, dst_path=str(folder)
        )
    return next(iter(sorted(Path(found).iterdir())), None)


def champions(kind: str) -> list[Path]:
    """Local files with the champions of a kind (`AnyPackage.kind`), by device class.

    Raises UserError when the store cannot be used.
    """
    return [package_file(one) for one in list_packages() if one.kind == kind and CHAMPION in one.aliases]


def champion_package(device: str) -> Path:
    """A local file with the champion package of a device class: in the store itself where that is local.

    Raises UserError for an unknown device class, naming the nearest ones, and when the store cannot be used.
    """
    return package_file(find_version(device))


def nearest_devices(device: str) -> list[str]:
    """The device classes with packages whose names are like this one: those of the same model first."""
    names = sorted({version.device_class for version in list_packages()})
    model = device.rpartition("-")[0]
    same = [name for name in names if model and name.rpartition("-")[0] == model]
    return [*same, *(name for name in difflib.get_close_matches(device, names, 3, 0.4) if name not in same)]


def _judge(mlflow: ModuleType, package: AnyPackage) -> tuple[Comparison | None, str, str]:
    """The comparison with the champion, if there is one, and which alias the package gets for which reason."""
    if about := package.manifest.get(PROVISIONAL):
        elders = ", ".join(about["elders"])
        return None, PROVISIONAL, f"{about['shapes_probed']} shapes were probed, the rest is learnt from {elders}"
    with store_errors():
        found = mlflow.MlflowClient().search_registered_models(filter_string=f"name = '{package.device_class}'")
    champion = found[0].aliases.get(CHAMPION) if found else None
    if champion is None:
        return None, CHAMPION, "there was no champion"
    with tempfile.TemporaryDirectory(prefix="splitfleet-") as folder:
        file = _package_file(mlflow, package.device_class, int(champion), Path(folder))
        reigning = open_or_none(file)
        if reigning is None:
            return None, CHAMPION, f"version {champion} cannot be read by this version of Splitfleet"
        comparison = compare(reigning.held_out, package.held_out)
    alias = CHALLENGER if comparison.is_worse else CHAMPION
    return comparison, alias, f"{comparison.reason} (version {champion})"


def _package_file(mlflow: ModuleType, name: str, version: int, folder: Path | None) -> Path:
    with store_errors():
        where = mlflow.artifacts.download_artifacts(
            artifact_uri=f"models:/{name}/{version}", dst_path=None if folder is None else str(folder)
        )
    found = sorted(Path(where).rglob("*.zip"))
    if len(found) != 1:
        raise UserError(f"{name}: version {version} holds {len(found)} packages in the registry; publish it again")
    return found[0]


def _log_files(mlflow: ModuleType, package: AnyPackage, comparison: Comparison | None) -> None:
    if package.split_table is not None:
        mlflow.log_dict(package.split_table.to_json(), "split_table.json")
    if comparison is not None:
        mlflow.log_dict(comparison.to_json(), "against_champion.json")
    signature = signature_path(package.path)
    if signature.exists():
        mlflow.log_artifact(str(signature), _SIGNATURES)


def _log_package(mlflow: ModuleType, package: AnyPackage) -> Any:
    from importlib.metadata import version

    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    with tempfile.TemporaryDirectory(prefix="splitfleet-") as folder:
        # The file in the store is named after its class, whatever it was called here.
        copy = Path(folder) / f"{package.device_class}.zip"
        shutil.copyfile(package.path, copy)
        return mlflow.pyfunc.log_model(
            name="package",
            loader_module="splitfleet.predictors.pyfunc",
            data_path=str(copy),
            signature=ModelSignature(inputs=Schema([ColSpec(DataType.string, "operator")])),
            input_example=pd.DataFrame({"operator": [package.example]}),
            pip_requirements=[f"lightgbm=={version('lightgbm')}", "splitfleet"],
        )


def _comparison_metrics(comparison: Comparison | None) -> dict[str, float]:
    pairs = () if comparison is None else comparison.pairs
    return {f"against_champion/{pair.target}/mape_difference": pair.difference for pair in pairs}


def _version_tags(package: AnyPackage) -> dict[str, str]:
    tags = {f"{name}_mape": f"{value:.3f}" for name, value in package.mapes.items()}
    tags |= {"campaign": package.source, SHA256_TAG: package.sha256}
    if package.split_table is not None:
        entries = package.split_table.entries
        split = sum(entry.decision.processor == "split" for entry in entries)
        tags |= {"layers": str(len(entries)), "layers_split": str(split)}
    if speedups := package.speedups:
        tags["speedup_median"] = f"{speedups[len(speedups) // 2]:.3f}"
    signature = signature_path(package.path)
    if signature.exists():
        tags["signed_by"] = signer_of(signature)
    return tags


def _describe_model(client: Any, package: AnyPackage, note: str) -> None:
    """What the list of models shows at a glance, of the champion; a challenger that it beat is none any more."""
    name = package.device_class
    client.update_registered_model(name, description=note)
    if CHALLENGER in client.get_registered_model(name).aliases:
        client.delete_registered_model_alias(name, CHALLENGER)
    shown = {f"{key}_mape": f"{value:.1f} %" for key, value in package.mapes.items()}
    if speedups := package.speedups:
        shown["speedup_median"] = f"{speedups[len(speedups) // 2]:.2f}x"
    for key, value in {**package.hardware, **shown}.items():
        client.set_registered_model_tag(name, key, value)


def _pages(search: Any) -> list[Any]:
    found, token = [], None
    while True:
        page = search(max_results=_PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _version(item: Any, aliases: Mapping[str, str], kind: str) -> Version:
    published = datetime.fromtimestamp(item.creation_timestamp / 1000, UTC)
    tags = item.tags
    gpu, cpu, speedup = (float(tags[key]) if key in tags else None for key in _NUMBER_TAGS)
    return Version(
        item.name,
        int(item.version),
        tuple(sorted(alias for alias, number in aliases.items() if int(number) == int(item.version))),
        kind,
        tags.get("campaign", ""),
        published.strftime("%Y-%m-%d %H:%M"),
        gpu,
        cpu,
        speedup,
        tags.get("signed_by", ""),
        next((tags[key] for alias in _ALIASES if (key := f"{alias}_reason") in tags), ""),
        tags.get(SHA256_TAG, ""),
        str(item.run_id),
    )


def _unknown_device(device: str) -> str:
    names = {version.device_class for version in list_packages()}
    if not names:
        return f"unknown device class {device!r}: no package is published in {tracking_uri()}; run `splitfleet publish`"
    near = nearest_devices(device) or sorted(names)[:3]
    return f"unknown device class {device!r}; nearest: {', '.join(near)}. `splitfleet package list` shows all"
