"""Champions and challengers, and packages out of the registry and into another, on a real MLflow with SQLite."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from splitfleet.kernels.errors import UserError
from splitfleet.predictors import registry
from splitfleet.predictors.any_package import open_any
from splitfleet.predictors.package import build_package
from splitfleet.predictors.package_diff import diff_packages
from splitfleet.predictors.package_transfer import download_package, import_package
from splitfleet.predictors.signing import generate_keys, sign_package, signature_path
from splitfleet.predictors.split_table import SplitTable
from splitfleet.predictors.train import ClassModels

from . import synthetic

# MLflow and SQLAlchemy use what they themselves deprecate.
pytestmark = pytest.mark.filterwarnings(
    "default::DeprecationWarning", "default::PendingDeprecationWarning", "default::FutureWarning"
)

NAME = synthetic.DEVICE_CLASS
DAY_US = 86_400_000_000


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("keys")
    generate_keys(folder / "a.key", folder / "a.pub")
    return folder / "a.key", folder / "a.pub"


@pytest.fixture(scope="module")
def packages(
    trained: ClassModels, table: SplitTable, keys: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Packages of one class: of day 10, a worse one of day 11, a newer one of day 12 as good as the first, signed."""
    folder = tmp_path_factory.mktemp("packages")
    held_out = trained.held_out
    worse = held_out.assign(predicted_us=1.15 * held_out["predicted_us"])
    fewer = SplitTable.of(NAME, table.backend, table.entries[1:], table.precision)
    made = {
        "first": (replace(trained, newest_trace_us=10 * DAY_US), table),
        "worse": (replace(trained, held_out=worse, newest_trace_us=11 * DAY_US), table),
        "newer": (replace(trained, newest_trace_us=12 * DAY_US), fewer),
    }
    found = {name: build_package(models, of, folder / f"{name}.zip") for name, (models, of) in made.items()}
    sign_package(found["newer"], keys[0])
    return found


@pytest.fixture(scope="module")
def versions(
    packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, registry.Registered]]:
    """All three, registered one after the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}")
        yield {name: registry.register_package(path) for name, path in packages.items()}


def test_a_version_that_is_worse_becomes_the_challenger(versions: dict[str, registry.Registered]) -> None:
    assert [(one.version, one.alias) for one in versions.values()] == [
        (1, "champion"),
        (2, "challenger"),
        (3, "champion"),
    ]
    assert versions["worse"].reason.startswith("worse on the shapes that both hold out: ")
    assert versions["worse"].reason.endswith("points are allowed (version 1)")
    assert versions["newer"].reason.startswith("not worse on the 60 shapes that both hold out: MAPE ")
    # the challenger is none any more, since a later version beat the champion
    listed = registry.list_packages()
    assert [(one.version, one.aliases) for one in listed] == [(3, ("champion",)), (2, ()), (1, ())]
    assert listed[1].reason == versions["worse"].reason
    assert registry.champion_package(NAME).read_bytes() == registry.package_file(listed[0]).read_bytes()


def test_versions_are_found_by_number_and_alias(versions: dict[str, registry.Registered]) -> None:
    assert registry.find_version(NAME).version == 3
    assert registry.find_version(f"{NAME}@1").version == 1
    assert registry.find_version(f"{NAME}@champion").version == 3
    with pytest.raises(UserError, match=r"has no version 'challenger'; there are 3 \(champion\), 2, 1\."):
        registry.find_version(f"{NAME}@challenger")
    with pytest.raises(UserError, match=rf"unknown device class 'synthetic-ffffffff'; nearest: {NAME}\."):
        registry.find_version("synthetic-ffffffff")


def test_download_checks_the_signature_and_keeps_it(
    versions: dict[str, registry.Registered], packages: dict[str, Path], keys: tuple[Path, Path], tmp_path: Path
) -> None:
    found = download_package(NAME, tmp_path, public_key=keys[1])
    assert found.path.read_bytes() == packages["newer"].read_bytes()
    assert signature_path(found.path).read_bytes() == signature_path(packages["newer"]).read_bytes()
    assert found.signed is not None
    assert found.signed.key_id == found.version.signed_by
    with pytest.raises(UserError, match="it is not signed"):
        download_package(NAME, tmp_path / "old.zip", version=1, public_key=keys[1])
    generate_keys(tmp_path / "b.key", tmp_path / "b.pub")
    with pytest.raises(UserError, match=r"signed with the key .*, not with .*; do not trust this package"):
        download_package(NAME, tmp_path / "other.zip", public_key=tmp_path / "b.pub")
    assert sorted(path.name for path in tmp_path.glob("*.zip")) == [f"{NAME}.zip"]


def test_download_does_not_step_back_by_itself(
    versions: dict[str, registry.Registered],
    packages: dict[str, Path],
    trained: ClassModels,
    table: SplitTable,
    tmp_path: Path,
) -> None:
    path = build_package(replace(trained, newest_trace_us=14 * DAY_US), table, tmp_path / "mine.zip")
    kept = path.read_bytes()
    with pytest.raises(UserError, match=r"mine\.zip holds a package .* measured 2\.0 days later than this one's"):
        download_package(NAME, path)
    assert path.read_bytes() == kept
    assert download_package(NAME, path, allow_older=True).version.version == 3
    # the registry knows both: its numbers count
    assert download_package(NAME, path, version=1).version.version == 1
    assert download_package(NAME, path).version.version == 3
    text = tmp_path / "notes.txt"
    text.write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt is there and is no package"):
        download_package(NAME, text)
    assert text.read_text() == "mine"


def test_import_into_another_registry(
    versions: dict[str, registry.Registered],
    packages: dict[str, Path],
    keys: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = os.environ["MLFLOW_TRACKING_URI"]
    again = import_package(packages["newer"])
    assert (again.version, again.reason) == (3, "it is registered already")
    with pytest.raises(UserError, match=r"the registry's champion is version 3 .*, and this is version 1"):
        import_package(packages["first"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert import_package(packages["newer"], public_key=keys[1]).alias == "champion"
    with pytest.raises(UserError, match=r"the registry's champion is a package .* measured 2\.0 days later"):
        import_package(packages["first"])
    with pytest.raises(UserError, match="it is not signed"):
        import_package(packages["worse"], public_key=keys[1], allow_older=True)
    assert [one.version for one in registry.list_packages()] == [1]
    assert import_package(packages["worse"], allow_older=True).alias == "challenger"
    assert download_package(NAME, tmp_path).version.signed_by
    monkeypatch.setenv("MLFLOW_TRACKING_URI", here)


def test_diff_says_what_changed(packages: dict[str, Path], table: SplitTable) -> None:
    first, worse, newer = (open_any(packages[name]) for name in ("first", "worse", "newer"))
    same = diff_packages(first, first)
    assert (same.origin, same.decisions) == ({}, ())
    assert not same.common.is_worse
    assert same.layers == (len(table.entries), len(table.entries))
    found = diff_packages(first, worse)
    assert list(found.origin) == ["newest trace (us since 1970)"]
    assert found.common.is_worse
    for change in found.errors:
        assert change.mape[0] is not None
        assert change.mape[1] is not None
        assert change.mape[1] > change.mape[0]
    [gone] = diff_packages(first, newer).decisions
    assert gone.operator == table.entries[0].decision.operator.label
    assert gone.decision[1] is None
