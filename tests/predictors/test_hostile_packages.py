"""Files that are no packages, or were made to do harm: each gets one UserError, and nothing is unpacked or kept."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitfleet.kernels.errors import UserError
from splitfleet.predictors.any_package import open_any, open_or_none
from splitfleet.predictors.archive import MANIFEST, canonical_json, pack, unpack
from splitfleet.predictors.litert_package import read_litert_package, write_litert_package
from splitfleet.predictors.litert_train import train_litert
from splitfleet.predictors.package import open_package
from splitfleet.predictors.package_diff import diff_packages

from .test_litert_models import traces_of

_FEW = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_MEMORY_BYTES = 64 << 20

NAMES = st.one_of(
    st.sampled_from(
        [MANIFEST, "golden.json", "models/a.txt", "../../etc/x", "/x", "C:\\x", "a/../../x", "models/", ""]
    ),
    st.text(st.characters(blacklist_categories=("Cs",)), max_size=20),
)


OTHERS: list[Any] = [None, 0, -1, 0.5, 1e308, 2**70, True, "x", [], ["x"], [1], {}, {"a": 1}]
"""What may stand in a package in place of anything else."""


@pytest.fixture(scope="module")
def litert_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_litert_package(train_litert(traces_of(40, 1), seed=3), tmp_path_factory.mktemp("litert") / "made.zip")


def contents(package: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """A package's files, and the fields of its manifest, from which `pack` makes one with hashes that agree."""
    files, manifest = unpack(package, lambda name: True)
    return files, {name: manifest[name] for name in manifest.keys() - {"schema", "files", "manifest_sha256"}}


def refused(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    before = sorted(item.name for item in path.parent.iterdir())
    with pytest.raises(UserError) as caught:
        open_any(path)
    assert sorted(item.name for item in path.parent.iterdir()) == before
    assert str(path) in str(caught.value)
    return str(caught.value)


@_FEW
@given(members=st.lists(st.tuples(NAMES, st.binary(max_size=60)), max_size=5), method=st.sampled_from([0, 8, 12, 14]))
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_any_zip_that_is_no_package(tmp_path: Path, members: list[tuple[str, bytes]], method: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    refused(tmp_path / "p.zip", buffer.getvalue())


@_FEW
@given(data=st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    refused(tmp_path / "p.zip", data)
    refused(tmp_path / "p.zip", b"PK\3\4" + data)


@_FEW
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_package(package_file: Path, tmp_path: Path, share: float) -> None:
    whole = package_file.read_bytes()
    refused(tmp_path / "p.zip", whole[: int(share * len(whole))])


@_FEW
@given(tail=st.binary(min_size=1, max_size=100))
def test_bytes_before_and_behind_a_package(package_file: Path, tmp_path: Path, tail: bytes) -> None:
    whole = package_file.read_bytes()
    refused(tmp_path / "p.zip", whole + tail)
    refused(tmp_path / "p.zip", tail + whole)


@_FEW
@given(
    manifest=st.dictionaries(st.text(max_size=8), st.one_of(st.none(), st.integers(), st.text(max_size=8)), max_size=4)
)
def test_a_sound_archive_with_another_manifest(tmp_path: Path, manifest: dict[str, object]) -> None:
    refused(tmp_path / "p.zip", pack({"golden.json": canonical_json({})}, manifest))


def test_a_bomb_costs_no_memory(tmp_path: Path) -> None:
    """More zeros than a package may have in half a megabyte, with the true size in the directory, then with a lie."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("models/a.txt", "w") as member:
        for _ in range(264):
            member.write(bytes(1 << 20))
    data = buffer.getvalue()
    assert len(data) < 1 << 20
    at = data.rindex(b"PK\1\2")
    lying = data[: at + 24] + struct.pack("<I", 100) + data[at + 28 :]
    tracemalloc.start()
    try:
        assert "larger than" in refused(tmp_path / "p.zip", data)
        refused(tmp_path / "p.zip", lying)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < _MEMORY_BYTES


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
def test_a_manifest_with_what_is_no_number(tmp_path: Path, number: str) -> None:
    """Python reads these, and does not write them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(MANIFEST, f'{{"schema": 2, "files": {{}}, "x": {number}}}')
    assert "manifest.json is damaged" in refused(tmp_path / "p.zip", buffer.getvalue())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", b"{}"),
        ("golden.json", b"{}"),
        ("golden.json", b'{"vectors": [1]}'),
        ("proof.json", b"{"),
        ("proof.json", b"\xff"),
        ("proof.json", b"[" * 100_000),
        ("profile.json", b'{"capabilities": {"opencl": null}}'),
        ("held_out.json", b'{"schema": 1, "target": [1], "shape": [1], "measured_us": [1], "predicted_us": [1]}'),
        ("models/cpu_t1.txt", b"\xff"),
        ("models/cpu_t1.txt", b"no trees"),
        ("models/x.txt", b""),
        ("models/x.json", b"{}"),
    ],
)
def test_content_that_its_hash_vouches_for(package_file: Path, tmp_path: Path, name: str, content: bytes) -> None:
    files, manifest = contents(package_file)
    message = refused(tmp_path / "p.zip", pack({**files, name: content}, manifest))
    assert "its hash is not" not in message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", b"{}"),
        ("golden.json", b"{}"),
        ("golden.json", b'{"vectors": [{"group": "products"}]}'),
        ("operating_point.json", b"{}"),
        ("operating_point.json", b"[1]"),
        ("held_out.json", b'{"schema": 1, "target": [], "shape": [], "measured_us": [], "predicted_us": []}'),
        ("overhead.json", b"["),
        ("models/products.txt", b"\xff"),
    ],
)
def test_content_of_litert_that_its_hash_vouches_for(
    litert_file: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    files, manifest = contents(litert_file)
    message = refused(tmp_path / "p.zip", pack({**files, name: content}, manifest))
    assert "its hash is not" not in message


@settings(_FEW, max_examples=100, derandomize=True)
@given(data=st.data())
@pytest.mark.parametrize("kind", ["own", "litert"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numbers that are no measurement
def test_a_value_in_place_of_another(
    package_file: Path, litert_file: Path, tmp_path: Path, kind: str, data: st.DataObject
) -> None:
    """With hashes that agree a package may say anything: it is refused, or can be compared with itself."""
    files, manifest = contents(package_file if kind == "own" else litert_file)
    name = data.draw(st.sampled_from([MANIFEST, *(name for name in files if name.endswith(".json"))]))
    whole = manifest if name == MANIFEST else json.loads(files[name])
    *above, last = data.draw(st.sampled_from(list(places(whole))))
    part = whole
    for step in above:
        part = part[step]
    part[last] = data.draw(st.sampled_from(OTHERS))
    path = tmp_path / "p.zip"
    path.write_bytes(pack(files if name == MANIFEST else {**files, name: canonical_json(whole)}, manifest))
    if (package := open_or_none(path)) is None:
        refused(path, path.read_bytes())
    else:
        assert package.mapes
        assert not diff_packages(package, package).decisions


def places(data: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where values stand in JSON, down to the third level, of lists the first two."""
    steps = list(data) if isinstance(data, dict) else range(min(len(data), 2)) if isinstance(data, list) else ()
    for step in steps if len(at) < 3 else ():
        yield (*at, step)
        yield from places(data[step], (*at, step))


def test_a_package_of_another_kind_is_named_as_such(package_file: Path, litert_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"synthetic\.zip: a package of kind splitfleet; name one of kind litert"):
        read_litert_package(package_file)
    files, manifest = contents(litert_file)
    path = tmp_path / "p.zip"
    path.write_bytes(pack({**files, "overhead.json": b"{}"}, manifest))  # a name that our own packages do not have
    with pytest.raises(UserError, match=r"p\.zip: a package of kind litert; name one of kind splitfleet"):
        open_package(path)
