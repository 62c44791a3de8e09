"""Who may use the phone: RSA keys of hosts, as Android knows them.

A host signs a random token of 20 bytes (RSASSA-PKCS1-v1_5; the token stands for a SHA-1 digest). A phone that knows
none of the host's keys is sent one, and asks its owner. Layout of that key (`android_pubkey.c`
in AOSP's libcrypto_utils), little-endian: size in words (64), -1/n mod 2^32, n (256 bytes), R^2 mod n (256 bytes),
exponent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import struct
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

TOKEN_BYTES = 20
_MODULUS_BYTES = 256
_KEY = struct.Struct(f"<II{_MODULUS_BYTES}s{_MODULUS_BYTES}sI")


class HostKey:
    """A host's public key: `text` as received (base64, then a blank and a comment), without the zero byte."""

    def __init__(self, text: str) -> None:
        """Reads the key. Raises ValueError when it is no Android RSA public key of 2048 bits."""
        self.text = text.strip()
        encoded, _, self.comment = self.text.partition(" ")
        try:
            blob = base64.b64decode(encoded, validate=True)
            words, _, modulus, _, exponent = _KEY.unpack(blob)
        except (binascii.Error, struct.error, ValueError):
            raise ValueError("not a public key in Android's format") from None
        if words * 4 != _MODULUS_BYTES:
            raise ValueError(f"an RSA modulus of {words} words; Android takes {_MODULUS_BYTES // 4}")
        numbers = rsa.RSAPublicNumbers(exponent, int.from_bytes(modulus, "little"))
        self._key = numbers.public_key()
        digest = hashlib.md5(blob, usedforsecurity=False).hexdigest().upper()
        self.fingerprint = ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))
        """MD5 of the key, in the form that Android's prompt shows."""

    def signed(self, token: bytes, signature: bytes) -> bool:
        """Whether the signature over the token was made with this key's private half."""
        try:
            self._key.verify(signature, token, padding.PKCS1v15(), utils.Prehashed(hashes.SHA1()))
        except InvalidSignature:
            return False
        return True


def new_token() -> bytes:
    """A fresh token for a host to sign."""
    return os.urandom(TOKEN_BYTES)


class KeyStore:
    """The keys that the phone remembers, one per line, as in Android's /data/misc/adb/adb_keys."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = file.read_text().splitlines() if file.exists() else []
        self._keys = [HostKey(line) for line in lines if line.strip()]

    def signer(self, token: bytes, signature: bytes) -> HostKey | None:
        """The remembered key that made this signature, if any."""
        return next((key for key in self._keys if key.signed(token, signature)), None)

    def remember(self, key: HostKey) -> None:
        """Adds a key, for this and all later runs of the phone."""
        if all(known.fingerprint != key.fingerprint for known in self._keys):
            self._keys.append(key)
            self._save()

    def forget_all(self) -> None:
        """As "Revoke USB debugging authorisations" in the developer options."""
        self._keys.clear()
        self._save()

    def _save(self) -> None:
        self._file.write_text("".join(f"{key.text}\n" for key in self._keys))
        self._file.chmod(0o600)
