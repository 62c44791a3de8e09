"""What Ray reads from the environment, and the token without which nobody may talk to it."""

from __future__ import annotations

import ipaddress
import os
import secrets
from pathlib import Path

from filelock import FileLock

from splitfleet.kernels.errors import UserError

from .home import splitfleet_home

OBJECT_STORE_BYTES = 80 * 1024 * 1024  # the least that Ray accepts is 75 MB; messages here are small

_ALWAYS = {
    # Whoever can talk to Ray can run code as its user: only holders of the token may.
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_DEFAULTS = {
    # A node that is its own cluster has the address 127.0.0.1, and then all of Ray's servers listen there only;
    # Ray does so by itself on macOS and Windows, and on Linux when told that clusters are not wanted.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray would run the broker, and an agent on this host with it, at a lower priority than everything else.
    "RAY_worker_niceness": "0",
}


def token_path() -> Path:
    """Where the token of this host's cluster is: $RAY_AUTH_TOKEN_PATH, else in the home folder."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or splitfleet_home() / "cluster-token")


def ensure_token() -> Path:
    """The token's file, made with mode 0600 where there is none yet."""
    path = token_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(path.with_name(f"{path.name}.lock")):
        if not path.exists():
            unfinished = path.with_name(f"{path.name}.new")
            unfinished.touch(mode=0o600)
            unfinished.write_text(secrets.token_hex(32), "utf-8")
            unfinished.replace(path)
    return path


def require_token(cluster: str) -> Path:
    """The token's file. Raises UserError where there is none, or others may read it."""
    path = token_path()
    if not path.is_file():
        raise UserError(
            f"no token for the cluster at {cluster}: copy the head's, ~/.splitfleet/cluster-token, to {path} with mode "
            "0600 (scp -p)"
        )
    if path.stat().st_mode & 0o077:
        raise UserError(f"{path} may be read by others of this host, and who has it can run code: chmod 600 {path}")
    return path


def ray_environment(address: str, token: Path) -> dict[str, str]:
    """The variables for a Ray process whose cluster is at HOST:PORT (on loopback where that is empty)."""
    defaults = {name: os.environ.get(name, value) for name, value in _DEFAULTS.items()}
    if not is_loopback(address):
        defaults["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "1"
    return {**defaults, **_ALWAYS, "RAY_AUTH_TOKEN_PATH": str(token)}


def is_loopback(address: str) -> bool:
    """Whether HOST:PORT, or HOST, is this host itself; an empty address is."""
    host = (address.rpartition(":")[0] or address).strip("[]")
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
