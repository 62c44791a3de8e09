"""Signatures of packages: Ed25519, in minisign's files, so that `minisign -V` checks them too.

The signature lies beside the package, as `<package>.minisig`. Formats: https://jedisct1.github.io/minisign/ ("Signature
format", "Public key format", "Secret key format"). Secret keys are not encrypted (`minisign -G -W`, or `splitfleet
package keygen`): they are files that only their owner may read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from splitfleet.kernels.errors import UserError

SUFFIX = ".minisig"
_KEY, _PREHASHED, _CHECKSUM, _PLAIN = b"Ed", b"ED", b"B2", b"\0\0"
# Salt, opslimit, memlimit and, at the end, a checksum: zero where a key is not encrypted.
_KDF_BYTES, _CHECKSUM_BYTES = 32 + 8 + 8, 32
_UNTRUSTED, _TRUSTED = "untrusted comment: ", "trusted comment: "
_MOST_BYTES = 4096


@dataclass(frozen=True)
class Signed:
    """A signature that fits: the key's id, as minisign prints it, and the comment that is signed along."""

    key_id: str
    comment: str


def signature_path(package: Path) -> Path:
    """Where the signature of a package lies."""
    return package.with_name(package.name + SUFFIX)


def generate_keys(secret: Path, public: Path) -> str:
    """Writes a new pair of keys, the secret one with mode 0600; returns its id. Raises UserError where one exists."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    key_id = secrets.token_bytes(8)
    raw_public = key.public_key().public_bytes_raw()
    pair = key_id + key.private_bytes_raw() + raw_public
    content = _KEY + _PLAIN + _CHECKSUM + bytes(_KDF_BYTES) + pair + bytes(_CHECKSUM_BYTES)
    name = _id_text(key_id)
    _write_new(secret, f"splitfleet secret key {name}", content, 0o600)
    try:
        _write_new(public, f"minisign public key {name}", _KEY + key_id + raw_public, 0o644)
    except UserError:
        secret.unlink()
        raise
    return name


def sign_package(package: Path, secret_key: Path) -> Path:
    """Writes `<package>.minisig`. Raises UserError for a key that cannot be used."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key_id, private = _secret_key(secret_key)
    key = Ed25519PrivateKey.from_private_bytes(private)
    signature = key.sign(_digest(_read(package)))
    comment = f"timestamp:{int(time.time())}\tfile:{package.name}\thashed"
    lines = [
        f"{_UNTRUSTED}signature of a Splitfleet package",
        _text(_PREHASHED + key_id + signature),
        f"{_TRUSTED}{comment}",
        _text(key.sign(signature + comment.encode())),
    ]
    path = signature_path(package)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        unfinished.write_text("\n".join(lines) + "\n", "utf-8")
        unfinished.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot write the signature: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def renew_signature(package: Path, secret_key: Path | None) -> None:
    """Signs a package that was just written; without a key, removes the signature of what was there before."""
    if secret_key is not None:
        sign_package(package, secret_key)
    else:
        signature_path(package).unlink(missing_ok=True)


def check_signature(package: Path, public_key: Path, signature: Path | None = None) -> Signed:
    """What the signature beside a package says, once it fits the package and this key.

    Raises UserError where there is none, where it is another key's or damaged, and where it does not fit.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key_id, raw_public = _public_key(public_key)
    path = signature or signature_path(package)
    if not path.exists():
        raise UserError(
            f"{package}: it is not signed, or {path.name} was not kept beside it; packages are checked here since "
            f"there is a public key, {public_key}"
        )
    signer, raw, comment, whole = _signature(path)
    if signer != key_id:
        raise UserError(
            f"{path}: signed with the key {_id_text(signer)}, not with {_id_text(key_id)} of {public_key}; do not "
            "trust this package"
        )
    key = Ed25519PublicKey.from_public_bytes(raw_public)
    try:
        key.verify(raw, _digest(_read(package)))
        key.verify(whole, raw + comment.encode())
    except InvalidSignature:
        raise UserError(f"{package}: its signature {path.name} does not fit; do not trust this package") from None
    return Signed(_id_text(key_id), comment)


def signer_of(signature: Path) -> str:
    """The id of the key that a signature names. Raises UserError for what is no signature. Nothing is checked by it."""
    return _id_text(_signature(signature)[0])


def _signature(path: Path) -> tuple[bytes, bytes, str, bytes]:
    """Key id, signature, trusted comment, signature of both."""
    lines = _lines(path)
    if len(lines) != 4 or not lines[2].startswith(_TRUSTED):
        raise UserError(f"{path}: no minisign signature")
    raw, whole = _bytes(lines[1], path, 2 + 8 + 64), _bytes(lines[3], path, 64)
    if raw[:2] != _PREHASHED:
        raise UserError(f"{path}: not a signature of the hashed file; sign with minisign 0.10 or newer, without -l")
    return raw[2:10], raw[10:], lines[2].removeprefix(_TRUSTED), whole


def _public_key(path: Path) -> tuple[bytes, bytes]:
    raw = _bytes(_lines(path)[-1], path, 2 + 8 + 32)
    if raw[:2] != _KEY:
        raise UserError(f"{path}: no minisign public key")
    return raw[2:10], raw[10:]


def _secret_key(path: Path) -> tuple[bytes, bytes]:
    """Key id and the private key's 32 bytes."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if path.exists() and path.stat().st_mode & 0o077:
        raise UserError(f"{path} may be read by others of this host, and who has it can sign: chmod 600 {path}")
    raw = _bytes(_lines(path)[-1], path, 6 + _KDF_BYTES + 8 + 64 + _CHECKSUM_BYTES)
    if raw[:2] != _KEY or raw[4:6] != _CHECKSUM:
        raise UserError(f"{path}: no minisign secret key")
    if raw[2:4] != _PLAIN:
        raise UserError(f"{path}: the key is encrypted; make one without a password: minisign -G -W, or package keygen")
    pair = raw[6 + _KDF_BYTES : -_CHECKSUM_BYTES]
    public = Ed25519PrivateKey.from_private_bytes(pair[8:40]).public_key().public_bytes_raw()
    if public != pair[40:]:
        raise UserError(f"{path}: the key is damaged")
    return pair[:8], pair[8:40]


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    lines = text.splitlines()
    if not lines:
        raise UserError(f"{path}: empty")
    return lines


def _bytes(line: str, path: Path, count: int) -> bytes:
    try:
        raw = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != count:
        raise UserError(f"{path}: not one of minisign's files, or damaged")
    return raw


def _write_new(path: Path, comment: str, content: bytes, mode: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
            file.write(f"{_UNTRUSTED}{comment}\n{_text(content)}\n")
    except OSError as error:
        raise UserError(f"{path}: cannot write the key: {error.strerror or error}") from error


def _read(package: Path) -> bytes:
    try:
        return package.read_bytes()
    except OSError as error:
        raise UserError(f"{package}: cannot read the package: {error.strerror or error}") from error


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=64).digest()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _id_text(key_id: bytes) -> str:
    """As minisign prints it: a little-endian number in hexadecimal digits."""
    return f"{int.from_bytes(key_id, 'little'):016X}"
