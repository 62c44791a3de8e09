from __future__ import annotations

from collections.abc import Iterator

import pytest
from adb_shell.adb_device import AdbDeviceTcp
from adb_shell.auth.sign_cryptography import CryptographySigner

from .hosts import host, make_key
from .phones import RunningPhone, running_phone


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> CryptographySigner:
    return make_key(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPhone]:
    """One phone for the tests of a module that leave it as it was."""
    with running_phone(tmp_path_factory.mktemp("module") / "phone") as running:
        yield running


@pytest.fixture
def device(phone: RunningPhone, key: CryptographySigner) -> Iterator[AdbDeviceTcp]:
    """A host connected to the module's phone."""
    with host(phone, key) as connected:
        yield connected
