"""The container of a predictor package: a zip file whose bytes follow from its content, and whose content is checked.

Members are stored, not compressed, in a fixed order with a fixed time, so the same content gives the same bytes
whatever zlib is installed. A package must be exactly those bytes: a flipped byte anywhere, in a header too, is found.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from splitfleet.kernels.errors import SplitfleetError, UserError

MANIFEST = "manifest.json"
SCHEMA_VERSION = 2
MAX_PACKAGE_BYTES = 256 << 20
_SELF = "manifest_sha256"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LOCAL_HEADER_BYTES, _DIRECTORY_HEADER_BYTES = 30, 46
_AGAIN = "get the package again"


def canonical_json(data: Any) -> bytes:
    """JSON with sorted keys: the same data gives the same bytes. NaN and infinity are refused (ValueError)."""
    return (json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def pack(files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> bytes:
    """The package's bytes: `files`, and a manifest of these fields, the files' hashes, and a hash of its own."""
    listed = {name: {"bytes": len(data), "sha256": _sha256(data)} for name, data in files.items()}
    content = {**manifest, "schema": SCHEMA_VERSION, "files": listed}
    content[_SELF] = _sha256(canonical_json(content))
    return _zip({**files, MANIFEST: canonical_json(content)})


def write_package(path: Path, data: bytes, check: Callable[[Path], object]) -> Path:
    """Writes a package's bytes; they appear at `path` whole, once `check` has read them, or not at all.

    Raises UserError where the file cannot be written, and what `check` raises.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        check(temporary)
        temporary.replace(path)
    except OSError as error:
        why = error.strerror or error
        raise UserError(f"{path}: cannot write the package ({why}); make room or mend the folder") from error
    finally:
        # Below a file there is nothing to remove, which is no FileNotFoundError.
        with suppress(OSError):
            temporary.unlink()
    return path


def unpack(
    path: Path, allowed: Callable[[str], bool], kind: str | None = None
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of a package, without the manifest, and the manifest. `allowed` says which names may occur, `kind` what
    the manifest must say of itself: empty where it says nothing, as of our own kernels; None for whatever it says.

    Raises UserError for another kind, or naming the file that is damaged, missing, unknown, twice there or too large.
    """
    data = _read(path)
    files = _members(path, data)
    manifest = _manifest(path, files)
    # First the kind: a package of another one has files that do not belong here, and is whole nonetheless.
    _check_kind(path, manifest.get("kind", ""), kind)
    if unknown := [name for name in files if name != MANIFEST and not allowed(name)]:
        raise UserError(f"{path}: {unknown[0]!r} does not belong in a predictor package; {_AGAIN}")
    _check_files(path, files, manifest["files"])
    canonical = _zip(files)
    if canonical != data:
        raise UserError(f"{path}: {_place(files, canonical, data)} is damaged outside its content; {_AGAIN}")
    del files[MANIFEST]
    return files, manifest


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a package whose files agree with it, whatever they are. Raises UserError as `unpack` does."""
    return unpack(path, lambda name: True)[1]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around what reads a package's content: that is another's text, whatever its hashes say.

    What content of another form raises becomes a UserError that names the package, and so does a message without it.
    """
    try:
        yield
    except SplitfleetError as error:
        if isinstance(error, UserError) and str(path) in str(error):
            raise
        raise UserError(f"{path}: its content is damaged: {error}; {_AGAIN}") from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise UserError(f"{path}: its content is damaged ({error!r}); {_AGAIN}") from error


def check_origin(manifest: Mapping[str, Any], sources: str) -> None:
    """Raises what `reading` catches where a manifest does not say what its package was made from: `sources`, named."""
    made, about = manifest["created_from"], manifest.get("provisional")
    texts = [*made[sources], *made.get("campaigns", ()), *made.get("phones", ()), *manifest["versions"].values()]
    texts += [one["sha256"] for one in made["training"].values()]
    if about:
        texts += [*about["elders"], str(about["shapes_probed"])]
    check_texts(MANIFEST, [*texts, str(made["seed"])])
    newest = made.get("newest_trace_us")
    if not isinstance(newest, int | None):
        raise TypeError(f"{MANIFEST}: newest_trace_us is {newest!r}")


def check_texts(what: str, values: Iterable[Any]) -> None:
    """Raises TypeError, which `reading` catches, where a value is no text."""
    if wrong := [value for value in values if not isinstance(value, str)]:
        raise TypeError(f"{what}: {wrong[0]!r} is no text")


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_PACKAGE_BYTES:
            raise UserError(f"{path}: larger than {MAX_PACKAGE_BYTES} bytes; this is no predictor package")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot read the package: {error.strerror or error}") from error


def _members(path: Path, data: bytes) -> dict[str, bytes]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    # NotImplementedError is zipfile's for a file that asks for a later version of the format.
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise UserError(f"{path}: not a predictor package, or its directory is damaged ({error}); {_AGAIN}") from error
    with archive:
        names = Counter(info.filename for info in archive.infolist())
        for name, count in names.items():
            _check_name(path, name, count)
        if sum(info.file_size for info in archive.infolist()) > MAX_PACKAGE_BYTES:
            raise UserError(f"{path}: its files are larger than {MAX_PACKAGE_BYTES} bytes together; {_AGAIN}")
        return {info.filename: _member(path, archive, info) for info in archive.infolist()}


def _check_name(path: Path, name: str, count: int) -> None:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or "\\" in name or ":" in name or ".." in parts:
        raise UserError(f"{path}: {name!r} leads out of the package; do not trust this file")
    if count > 1:
        raise UserError(f"{path}: {name} is there twice; {_AGAIN}")


def _check_kind(path: Path, found: Any, kind: str | None) -> None:
    if kind is not None and found != kind:
        own = "splitfleet"
        raise UserError(f"{path}: a package of kind {found or own}; name one of kind {kind or own}")


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(info) as member:
            # The size in the directory may lie; never read more than it says.
            return member.read(info.file_size)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError) as error:
        raise UserError(f"{path}: {info.filename} is damaged ({error}); {_AGAIN}") from error


def _manifest(path: Path, files: Mapping[str, bytes]) -> dict[str, Any]:
    if MANIFEST not in files:
        raise UserError(f"{path}: {MANIFEST} is missing; {_AGAIN}")
    try:
        manifest = json.loads(files[MANIFEST])
        # Python reads NaN and infinity, which JSON does not have: the bytes are then not those of any package.
        is_canonical = canonical_json(manifest) == files[MANIFEST]
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: {MANIFEST} is damaged ({error}); {_AGAIN}") from error
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA_VERSION:
        raise UserError(
            f"{path}: {MANIFEST}: package schema {schema!r} is not known here (this version reads {SCHEMA_VERSION}); "
            "use the version of Splitfleet that wrote it"
        )
    unsigned = {key: value for key, value in manifest.items() if key != _SELF}
    sound = manifest.get(_SELF) == _sha256(canonical_json(unsigned)) and isinstance(manifest.get("files"), dict)
    if not sound or not is_canonical:
        raise UserError(f"{path}: {MANIFEST} is damaged: its hash is not the one it states; {_AGAIN}")
    return dict(manifest)


def _check_files(path: Path, files: Mapping[str, bytes], listed: Mapping[str, Any]) -> None:
    for name in sorted(listed):
        if name not in files:
            raise UserError(f"{path}: {name} is missing; {_AGAIN}")
        if listed[name] != {"bytes": len(files[name]), "sha256": _sha256(files[name])}:
            raise UserError(f"{path}: {name} differs from the manifest; {_AGAIN}")
    if unlisted := sorted(files.keys() - listed.keys() - {MANIFEST}):
        raise UserError(f"{path}: {unlisted[0]} is not in the manifest; {_AGAIN}")


def _zip(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files, key=lambda name: (name != MANIFEST, name)):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # Unix: else Python records the system it runs on
            info.external_attr = 0o100644 << 16
            archive.writestr(info, files[name])
    return buffer.getvalue()


def _place(files: Mapping[str, bytes], canonical: bytes, data: bytes) -> str:
    """Which member's bytes hold the first difference; the package file itself where none does."""
    pairs = enumerate(zip(canonical, data, strict=False))
    offset = next((i for i, (a, b) in pairs if a != b), min(len(canonical), len(data)))
    names = sorted(files, key=lambda name: (name != MANIFEST, name))
    sizes = [_LOCAL_HEADER_BYTES + len(name) + len(files[name]) for name in names]
    sizes += [_DIRECTORY_HEADER_BYTES + len(name) for name in names]
    end = 0
    for name, size in zip(names * 2, sizes, strict=True):
        end += size
        if offset < end:
            return name
    return "the package file"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
