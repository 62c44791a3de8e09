"""The pinned NDK: an archive that is another is refused, and modes and links survive unpacking."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from splitfleet.infra.android.ndk import NDK_SHA256, check_archive, unpack_archive, unpack_ndk
from splitfleet.kernels.errors import UserError


def test_another_archive_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "ndk.zip"
    with pytest.raises(UserError, match=r"there is no file .*ndk\.zip: download https://"):
        check_archive(archive)
    archive.write_bytes(b"another")
    with pytest.raises(UserError, match=f"its SHA-256 is [0-9a-f]{{64}}, expected {NDK_SHA256}"):
        unpack_ndk(archive, tmp_path / "ndk")
    assert not (tmp_path / "ndk").exists()


def test_modes_and_links_survive(tmp_path: Path) -> None:
    archive = tmp_path / "ndk.zip"
    with zipfile.ZipFile(archive, "w") as content:
        for name, mode, text in (
            ("ndk/bin/clang-18", 0o100755, "program"),
            ("ndk/bin/clang++", 0o120777, "clang-18"),
            ("ndk/NOTICE", 0o100644, "text"),
        ):
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            content.writestr(entry, text)
    ndk = unpack_archive(archive, tmp_path / "unpacked")
    assert ndk.name == "ndk"
    assert (ndk / "bin/clang++").read_text() == "program"
    assert (ndk / "bin/clang++").is_symlink()
    assert (ndk / "bin/clang-18").stat().st_mode & 0o777 == 0o755
    assert (ndk / "NOTICE").stat().st_mode & 0o777 == 0o644
