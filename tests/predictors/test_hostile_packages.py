"""Files that are no packages, or were made to do harm: each gets one UserError, and nothing is unpacked or kept."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitfleet.kernels.errors import UserError
from splitfleet.predictors.any_package import open_any
from splitfleet.predictors.archive import MANIFEST, canonical_json, pack

_FEW = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_MEMORY_BYTES = 64 << 20

NAMES = st.one_of(
    st.sampled_from(
        [MANIFEST, "golden.json", "models/a.txt", "../../etc/x", "/x", "C:\\x", "a/../../x", "models/", ""]
    ),
    st.text(st.characters(blacklist_categories=("Cs",)), max_size=20),
)


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
