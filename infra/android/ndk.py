"""The pinned Android NDK: which one, and how to know that an archive is it."""

from __future__ import annotations

import zipfile
from hashlib import file_digest
from pathlib import Path

from splitfleet.kernels.errors import UserError

# r27c is a long-term-support release; r27 brought ANDROID_SUPPORT_FLEXIBLE_PAGE_SIZES, for 16-KiB pages. Google
# publishes the archive's SHA-1, 090e8083a715fdb1a3e402d0763c388abb03fb4e. Its SHA-256 is the one that Monero
# (contrib/depends) and Termux pin, who each build with it on their own.
NDK_ARCHIVE = "android-ndk-r27c-linux.zip"
NDK_URL = f"https://dl.google.com/android/repository/{NDK_ARCHIVE}"
NDK_SHA256 = "59c2f6dc96743b5daf5d1626684640b20a6bd2b1d85b13156b90333741bad5cc"
_FILE_TYPE_SHIFT = 16
_LINK, _TYPE_MASK = 0o120000, 0o170000


def check_archive(archive: Path) -> None:
    """Raises UserError unless the file is the pinned NDK, byte for byte."""
    if not archive.is_file():
        raise UserError(f"there is no file {archive}: download {NDK_URL}")
    with archive.open("rb") as file:
        found = file_digest(file, "sha256").hexdigest()
    if found != NDK_SHA256:
        raise UserError(f"{archive} is not {NDK_ARCHIVE}: its SHA-256 is {found}, expected {NDK_SHA256}; get {NDK_URL}")


def unpack_ndk(archive: Path, folder: Path) -> Path:
    """Checks and unpacks the archive; the NDK's folder. Raises UserError for any other file."""
    check_archive(archive)
    return unpack_archive(archive, folder)


def unpack_archive(archive: Path, folder: Path) -> Path:
    """Unpacks a zip that holds one folder, with the file modes and links that zipfile itself leaves out."""
    with zipfile.ZipFile(archive) as content:
        for entry in content.infolist():
            mode = entry.external_attr >> _FILE_TYPE_SHIFT
            path = folder / entry.filename
            if mode & _TYPE_MASK == _LINK:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(content.read(entry).decode())
                continue
            content.extract(entry, folder)
            if not entry.is_dir():
                path.chmod(mode & 0o777 or 0o644)
    [unpacked] = (path for path in folder.iterdir() if path.is_dir())
    return unpacked
