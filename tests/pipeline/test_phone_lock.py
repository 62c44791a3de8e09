"""The lock on the phone, by which campaigns take turns."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from splitfleet.pipeline.adb_transport import AdbTransport
from splitfleet.pipeline.local_transport import LocalTransport
from splitfleet.pipeline.phone_lock import PhoneLock
from splitfleet.pipeline.transport import PhoneStorageFull, Transport

from ..infra.phones import running_phone, wait_until


@pytest.fixture(scope="module", params=["adb", "local"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, home: Path) -> Iterator[Transport]:
    folder = tmp_path_factory.mktemp("lock")
    if request.param == "local":
        yield LocalTransport(folder / "device")
        return
    with running_phone(folder / "phone") as phone:
        adb = AdbTransport(phone.address)
        yield adb
        adb.close()


@pytest.fixture
def transport(shared: Transport) -> Transport:
    """Without a lock from before."""
    shared.run(f"rm -rf {shared.folder}/lock {shared.folder}/wanted {shared.folder}/batches", 10)
    return shared


def test_one_at_a_time_and_the_other_is_named(transport: Transport) -> None:
    mine, other = PhoneLock(transport, "aa", "night-run"), PhoneLock(transport, "bb")
    assert mine.acquire() is None
    holder = other.acquire()
    assert holder is not None
    who = f"campaign 'night-run', process {os.getpid()} on host {socket.gethostname()}, measures on it since 20"
    assert str(holder).startswith(who)
    assert other.acquire() is not None
    mine.release()
    assert other.acquire() is None
    assert mine.acquire() is not None


def test_who_waits_leaves_word_and_the_holder_asks_once(transport: Transport) -> None:
    mine, other = PhoneLock(transport, "aa"), PhoneLock(transport, "bb")
    mine.acquire()
    assert not mine.is_wanted()
    other.acquire()
    assert mine.is_wanted()
    assert not mine.is_wanted()
    other.acquire()
    mine.release()
    other.acquire()
    assert not mine.is_wanted(), "who has it wants it no more"


def test_what_is_anothers_is_not_released(transport: Transport) -> None:
    mine, other = PhoneLock(transport, "aa", stale_s=0.0), PhoneLock(transport, "bb", stale_s=0.0)
    mine.acquire()
    assert other.acquire() is None, "nobody renewed it, and no agent is at work"
    mine.release()
    mine.renew()
    third = PhoneLock(transport, "cc").acquire()
    assert third is not None
    assert third.owner == "bb"


def test_the_same_campaign_takes_its_own_lock_up_again(transport: Transport) -> None:
    PhoneLock(transport, "aa").acquire()
    again = PhoneLock(transport, "aa")
    assert again.acquire() is None
    again.release()
    assert PhoneLock(transport, "bb").acquire() is None


def test_a_lock_that_is_renewed_is_respected(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("splitfleet.pipeline.phone_lock.RENEW_S", 0.0)
    mine, other = PhoneLock(transport, "aa"), PhoneLock(transport, "bb", stale_s=0.3)
    mine.acquire()
    for _ in range(4):
        assert other.acquire() is not None
        mine.renew()
        time.sleep(0.12)
    assert wait_until(lambda: other.acquire() is None), "until nobody renews it"


def test_a_lock_is_respected_while_its_agent_works(transport: Transport) -> None:
    mine, other = PhoneLock(transport, "aa"), PhoneLock(transport, "bb", stale_s=0.0)
    mine.acquire()
    batch = f"{transport.folder}/batches/aa-00001"
    agent = "setsid nohup sh -c 'echo $$ >pid; exec sleep 60' >/dev/null 2>&1 </dev/null &"
    transport.run(f"mkdir -p {batch} && cd {batch} && {{ {agent} until [ -s pid ]; do sleep 0.05; done; }}", 10)
    assert other.acquire() is not None
    transport.run(f'kill "$(cat {batch}/pid)"', 10)
    assert wait_until(lambda: other.acquire() is None)


def test_a_process_that_has_an_agents_old_number_is_no_agent(transport: Transport) -> None:
    """As after a restart of the phone, when numbers are given anew."""
    PhoneLock(transport, "aa").acquire()
    batch = f"{transport.folder}/batches/aa-00001"
    with subprocess.Popen(["sleep", "60"]) as process:
        transport.run(f"mkdir -p {batch} && echo {process.pid} >{batch}/pid", 10)
        taken = PhoneLock(transport, "bb", stale_s=0.0).acquire() is None
        process.kill()
    assert taken


@pytest.mark.parametrize("text", ["", "garbage", "[1]", '{"owner": 1}', "[" * 900, json.dumps({"pid": "x"})])
def test_a_lock_whose_holder_cannot_be_read(transport: Transport, text: str) -> None:
    transport.run(f"mkdir -p {transport.folder}/lock && printf %s '{text}' >{transport.folder}/lock/holder", 10)
    lock = PhoneLock(transport, "bb", stale_s=0.2)
    assert lock.acquire() is not None
    assert wait_until(lambda: lock.acquire() is None)


def test_many_who_want_it_at_once(transport: Transport) -> None:
    """All but one find a new holder in the place of the old one that they have seen go stale."""
    PhoneLock(transport, "old").acquire()
    locks = [PhoneLock(transport, f"owner{number}", stale_s=2.0) for number in range(6)]
    got: list[int] = []
    start, end = threading.Barrier(len(locks)), time.monotonic() + 20

    def take(number: int) -> None:
        start.wait()
        while not got and time.monotonic() < end:
            if locks[number].acquire() is None:
                got.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(len(locks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    assert transport.run(f"ls -d {transport.folder}/lock.* 2>/dev/null", 10).stdout == ""
    assert PhoneLock(transport, "new").acquire() is not None


def test_a_full_disk(tmp_path: Path, home: Path) -> None:
    with running_phone(tmp_path / "phone") as phone:
        adb = AdbTransport(phone.address)
        adb.run(f"mkdir -p {adb.folder}", 10)
        phone.order("disk-full")
        with pytest.raises(PhoneStorageFull, match=f"{phone.address}: disk full"):
            PhoneLock(adb, "aa").acquire()
        phone.order("clear")
        assert PhoneLock(adb, "bb").acquire() is None
        adb.close()
