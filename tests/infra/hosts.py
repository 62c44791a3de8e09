"""The host's side in tests: adb-shell as it comes from PyPI."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adb_shell.adb_device import AdbDeviceTcp
from adb_shell.auth.keygen import keygen
from adb_shell.auth.sign_cryptography import CryptographySigner

from .phones import RunningPhone


def make_key(folder: Path, name: str = "adbkey") -> CryptographySigner:
    """A new key pair, in the files NAME and NAME.pub."""
    file = folder / name
    keygen(str(file))
    return CryptographySigner(str(file))


@contextmanager
def host(phone: RunningPhone, *keys: CryptographySigner, auth_timeout_s: float = 5) -> Iterator[AdbDeviceTcp]:
    """A connected host."""
    device = AdbDeviceTcp("127.0.0.1", phone.port, default_transport_timeout_s=10)
    try:
        device.connect(rsa_keys=list(keys), auth_timeout_s=auth_timeout_s)
        yield device
    finally:
        device.close()


def shell(device: AdbDeviceTcp, command: str) -> tuple[str, int]:
    """Output and exit code, in the way that adb-shell's users get one."""
    output = device.shell(f"{command}; echo rc=$?")
    match = re.search(r"rc=(\d+)\n\Z", output)
    assert match, output
    return output[: match.start()], int(match.group(1))
