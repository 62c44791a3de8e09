"""Where the public key is that packages are checked with."""

from __future__ import annotations

from pathlib import Path

from splitfleet.kernels.errors import UserError

from .home import splitfleet_home

DEFAULT_NAME = "package.pub"


def public_key_file(given: Path | None) -> Path | None:
    """The key that was given, else `package.pub` in the home folder where that is there; None without any.

    Raises UserError where the one that was given is not there.
    """
    if given is not None:
        if not given.is_file():
            raise UserError(f"{given}: no such public key")
        return given
    default = splitfleet_home() / DEFAULT_NAME
    return default if default.is_file() else None
