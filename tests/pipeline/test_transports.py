"""One suite for every Transport, and what only ADB has."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from splitfleet.kernels.errors import DeviceError, UserError
from splitfleet.pipeline.adb_transport import AdbTransport
from splitfleet.pipeline.local_transport import LocalTransport
from splitfleet.pipeline.transport import (
    READ_LIMIT_BYTES,
    CommandResult,
    CommandTimeout,
    Deadlines,
    PhoneStorageFull,
    PhoneUnauthorized,
    PhoneUnreachable,
    Transport,
)

from ..infra.phones import PHONE, RunningPhone, running_phone, wait_until

StartPhone = Callable[..., RunningPhone]
DEADLINES = Deadlines(connect_s=5.0, authorize_s=5.0, transfer_s=20.0)


@pytest.fixture(scope="module", params=["adb", "local"])
def transport(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, home: Path
) -> Iterator[Transport]:
    folder = tmp_path_factory.mktemp("transport")
    if request.param == "local":
        yield LocalTransport(folder / "device")
        return
    with running_phone(folder / "phone") as phone:
        adb = AdbTransport(phone.address, deadlines=DEADLINES)
        adb.run(f"mkdir -p {adb.folder}", 10)
        yield adb
        adb.close()


class TestEveryTransport:
    def test_output_and_exit_code(self, transport: Transport) -> None:
        assert transport.run("printf 'two\\nlines'; exit 7", 10) == CommandResult("two\nlines", 7)
        assert transport.run("echo wrong >&2; echo right", 10) == CommandResult("wrong\nright\n", 0)

    def test_a_failing_command_is_no_error(self, transport: Transport) -> None:
        assert transport.run("false", 10).exit_code == 1
        assert transport.run("true", 10).exit_code == 0

    def test_a_file_goes_and_comes_back(self, transport: Transport, tmp_path: Path) -> None:
        content = os.urandom(3_000_001)
        remote = f"{transport.folder}/blob"
        transport.push(content, remote)
        transport.pull(remote, tmp_path / "back")
        assert sha256((tmp_path / "back").read_bytes()).digest() == sha256(content).digest()

    def test_the_mode_is_kept(self, transport: Transport) -> None:
        remote = f"{transport.folder}/script"
        transport.push(b"#!/bin/sh\necho ran\n", remote, mode=0o755)
        assert transport.run(remote, 10).stdout.strip() == "ran"

    def test_reading_on_from_an_offset(self, transport: Transport) -> None:
        content = bytes(range(256)) * 8000
        remote = f"{transport.folder}/log"
        transport.push(content, remote)
        first = transport.read_from(remote, 5)
        assert first == content[5 : 5 + READ_LIMIT_BYTES]
        assert transport.read_from(remote, 5 + len(first)) == content[5 + len(first) :]
        assert transport.read_from(remote, len(content)) == b""

    def test_reading_a_file_that_is_not_there(self, transport: Transport) -> None:
        assert transport.read_from(f"{transport.folder}/nothing", 0) == b""

    def test_pulling_a_file_that_is_not_there(self, transport: Transport, tmp_path: Path) -> None:
        with pytest.raises(DeviceError, match="nothing"):
            transport.pull(f"{transport.folder}/nothing", tmp_path / "x")
        assert transport.run("echo on", 10).stdout.strip() == "on"

    def test_a_deadline_ends_the_wait_and_not_the_link(self, transport: Transport) -> None:
        with pytest.raises(CommandTimeout, match=r"no answer within 0\.5 s"):
            transport.run("sleep 20", 0.5)
        assert transport.run("echo on", 10).stdout.strip() == "on"

    def test_threads_are_served_one_by_one(self, transport: Transport) -> None:
        answers: dict[int, str] = {}

        def ask(number: int) -> None:
            answers[number] = transport.run(f"echo {number}", 20).stdout.strip()

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == {number: str(number) for number in range(8)}

    def test_a_detached_program_outlives_the_connection(self, transport: Transport) -> None:
        remote = f"{transport.folder}/late"
        transport.run(f"setsid nohup sh -c 'sleep 2; echo late > {remote}' >/dev/null 2>&1 </dev/null & sleep 1", 10)
        transport.close()
        assert wait_until(lambda: transport.read_from(remote, 0) == b"late\n")


def test_the_key_is_made_once_and_private(home: Path, start_phone: StartPhone) -> None:
    phone = start_phone()
    key = home / "adbkey"
    for _ in range(2):
        transport = AdbTransport(phone.address, deadlines=DEADLINES)
        transport.run("true", 10)
        transport.close()
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_damaged_key_is_named(tmp_path: Path, start_phone: StartPhone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLITFLEET_HOME", str(tmp_path))
    (tmp_path / "adbkey").write_text("no key")
    with pytest.raises(UserError, match=r"adbkey: this host's ADB key cannot be read or made .*remove it"):
        AdbTransport(start_phone().address, deadlines=DEADLINES).run("true", 10)


def test_an_unauthorized_phone(home: Path, start_phone: StartPhone) -> None:
    phone = start_phone(PHONE.replace('"always"', '"never"'))
    prompts: list[str] = []
    transport = AdbTransport(phone.address, deadlines=DEADLINES, on_prompt=lambda: prompts.append("asked"))
    with pytest.raises(PhoneUnauthorized, match='confirm "Allow USB debugging"'):
        transport.run("true", 10)
    assert prompts


def test_nobody_there(home: Path, start_phone: StartPhone) -> None:
    phone = start_phone()
    phone.process.terminate()
    phone.process.wait(timeout=60)
    with pytest.raises(PhoneUnreachable, match=f"{phone.address}: no answer"):
        AdbTransport(phone.address, deadlines=DEADLINES).run("true", 10)


def test_a_full_disk(home: Path, start_phone: StartPhone) -> None:
    phone = start_phone(PHONE + "[storage]\nfree_bytes = 100000\n")
    transport = AdbTransport(phone.address, deadlines=DEADLINES)
    transport.run(f"mkdir -p {transport.folder}", 10)
    with pytest.raises(PhoneStorageFull, match="disk full"):
        transport.push(bytes(1_000_000), f"{transport.folder}/big")
    transport.push(b"small", f"{transport.folder}/small")
    transport.close()


def test_a_phone_that_vanishes_and_returns(home: Path, start_phone: StartPhone) -> None:
    phone = start_phone()
    transport = AdbTransport(phone.address, deadlines=DEADLINES)
    transport.run("true", 10)
    phone.order("vanish", seconds=2)
    with pytest.raises(PhoneUnreachable):
        transport.run("true", 10)

    def answers() -> bool:
        try:
            return transport.run("true", 10).exit_code == 0
        except PhoneUnreachable:
            return False

    assert wait_until(answers)
    transport.close()
