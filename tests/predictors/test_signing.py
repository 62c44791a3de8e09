"""Signatures of packages, also with minisign itself where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from splitfleet.kernels.errors import UserError
from splitfleet.predictors.signing import check_signature, generate_keys, sign_package, signature_path, signer_of

MINISIGN = shutil.which("minisign")
peer = pytest.mark.skipif(MINISIGN is None, reason="minisign is not installed (Debian: minisign)")


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """A file, signed with the key beside it."""
    package = tmp_path / "p.zip"
    package.write_bytes(b"content")
    generate_keys(tmp_path / "a.key", tmp_path / "a.pub")
    sign_package(package, tmp_path / "a.key")
    return package


def minisign(*words: object) -> str:
    done = subprocess.run([str(MINISIGN), *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_a_signature_fits_its_package_only(signed: Path) -> None:
    found = check_signature(signed, signed.with_name("a.pub"))
    assert found.key_id == signer_of(signature_path(signed))
    assert "file:p.zip" in found.comment
    signed.write_bytes(b"Content")
    with pytest.raises(UserError, match=r"p\.zip: its signature p\.zip\.minisig does not fit; do not trust"):
        check_signature(signed, signed.with_name("a.pub"))


def test_the_comment_is_signed_too(signed: Path) -> None:
    path = signature_path(signed)
    path.write_text(path.read_text().replace("file:p.zip", "file:q.zip"))
    with pytest.raises(UserError, match="does not fit"):
        check_signature(signed, signed.with_name("a.pub"))


def test_another_key_and_no_signature_are_named(signed: Path) -> None:
    generate_keys(signed.with_name("b.key"), signed.with_name("b.pub"))
    with pytest.raises(UserError, match=r"signed with the key [0-9A-F]{16}, not with [0-9A-F]{16} of"):
        check_signature(signed, signed.with_name("b.pub"))
    signature_path(signed).unlink()
    with pytest.raises(UserError, match=r"it is not signed, or p\.zip\.minisig was not kept beside it"):
        check_signature(signed, signed.with_name("a.pub"))


@pytest.mark.parametrize("text", ["", "x", "untrusted comment: x\n????\n", "untrusted comment: x\nRWQ=\n", "\xff\xfe"])
def test_damaged_files_are_named(signed: Path, text: str) -> None:
    for name in ("a.pub", "p.zip.minisig", "a.key"):
        path = signed.with_name(name)
        kept = path.read_bytes()
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(UserError, match=name.replace(".", r"\.")):
            (sign_package if name == "a.key" else check_signature)(signed, signed.with_name(
                "a.key" if name == "a.key" else "a.pub"
            ))  # fmt: skip
        path.write_bytes(kept)


def test_a_secret_key_is_its_owners_alone(signed: Path) -> None:
    key = signed.with_name("a.key")
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)
    with pytest.raises(UserError, match=r"may be read by others .*: chmod 600"):
        sign_package(signed, key)
    with pytest.raises(UserError, match=r"a\.key: cannot write the key: File exists"):
        generate_keys(key, signed.with_name("c.pub"))


@peer
@pytest.mark.peer
def test_minisign_checks_our_signatures(signed: Path) -> None:
    assert "file:p.zip" in minisign("-V", "-m", signed, "-p", signed.with_name("a.pub"))


@peer
@pytest.mark.peer
def test_we_check_minisigns_signatures_and_use_its_keys(signed: Path, tmp_path: Path) -> None:
    minisign("-G", "-W", "-s", tmp_path / "m.key", "-p", tmp_path / "m.pub")
    signature_path(signed).unlink()
    minisign("-S", "-m", signed, "-s", tmp_path / "m.key", "-t", "by minisign")
    assert check_signature(signed, tmp_path / "m.pub").comment == "by minisign"
    sign_package(signed, tmp_path / "m.key")
    minisign("-V", "-m", signed, "-p", tmp_path / "m.pub")
