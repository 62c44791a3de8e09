"""What adb-shell and ADB do wrong, one test for each: all of it is handled in the adb_* modules."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from adb_shell.exceptions import TcpTimeoutException, UsbReadFailedError

from splitfleet.kernels.errors import DeviceError, UserError
from splitfleet.pipeline import adb_usb
from splitfleet.pipeline.adb_guard import BadPacket, GuardedLink
from splitfleet.pipeline.adb_link import WholeWriteTcp
from splitfleet.pipeline.adb_transport import AdbTransport
from splitfleet.pipeline.transport import (
    CommandTimeout,
    Deadlines,
    GarbledLink,
    PhoneUnauthorized,
    PhoneUnreachable,
)

from ..infra.phones import PHONE, RunningPhone, running_phone, wait_until

StartPhone = Callable[..., RunningPhone]
LONG = Deadlines(connect_s=60.0, authorize_s=60.0, transfer_s=60.0)
"""Whoever waits one of these out ends with another error than the one that is expected."""


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Iterator[RunningPhone]:
    with running_phone(tmp_path_factory.mktemp("traps") / "phone") as running:
        yield running


@pytest.fixture
def adb(phone: RunningPhone) -> Iterator[AdbTransport]:
    phone.order("clear")
    transport = AdbTransport(phone.address, deadlines=LONG)
    transport.run(f"mkdir -p {transport.folder}", 20)
    yield transport
    transport.close()


def test_a_write_that_the_system_takes_in_parts_goes_out_whole() -> None:
    """adb-shell sends once and does not look how much went out."""
    listener = socket.create_server(("127.0.0.1", 0))
    link = WholeWriteTcp(*listener.getsockname())
    link.connect(5)
    peer, _ = listener.accept()
    link._connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    content, received = os.urandom(3_000_000), bytearray()

    def read_slowly() -> None:
        while len(received) < len(content):
            received.extend(peer.recv(50_000))

    reader = threading.Thread(target=read_slowly)
    reader.start()
    assert link.bulk_write(content, 20) == len(content)
    reader.join()
    assert sha256(received).digest() == sha256(content).digest()
    assert link._connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "else 44 ms a shell call"
    for end in (peer, listener):
        end.close()
    link.close()


def test_a_write_that_nobody_takes_ends_in_time() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    link = WholeWriteTcp(*listener.getsockname())
    link.connect(5)
    with pytest.raises(TcpTimeoutException, match=r"could not send \d+ of 50000000 bytes in 0.3 s"):
        link.bulk_write(bytes(50_000_000), 0.3)
    listener.close()
    link.close()


def test_one_connection_serves_threads_one_by_one(adb: AdbTransport) -> None:
    """adb-shell mixes up the packets of two commands at once."""
    answers: dict[int, set[str]] = {}

    def ask(number: int) -> None:
        answers[number] = {adb.run(f"echo {number}", 30).stdout for _ in range(5)}

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: {f"{number}\n"} for number in range(6)}


def test_a_dead_peer_is_noticed_at_once(home: Path, start_phone: StartPhone) -> None:
    """adb-shell reads the end of a connection as nothing-yet, again and again."""
    phone = start_phone()
    transport = AdbTransport(phone.address, deadlines=LONG)
    transport.run("true", 20)
    timer = threading.Timer(0.5, phone.process.kill)
    timer.start()
    with pytest.raises(PhoneUnreachable, match=f"phone {phone.address}: the link broke"):
        transport.run("sleep 100", 100)
    timer.join()


def test_a_refused_service_is_noticed_at_once(adb: AdbTransport) -> None:
    """adb-shell waits for an answer that has come already."""
    with pytest.raises(DeviceError, match="it refuses this service"), adb._connection(60) as device:
        device._open(b"jdwp:1", 60, 60, None)
    assert adb.run("echo on", 20).stdout == "on\n"


def test_a_silent_command_may_take_longer_than_connecting(phone: RunningPhone) -> None:
    """adb-shell's own limits for a packet would end it."""
    transport = AdbTransport(phone.address, deadlines=Deadlines(connect_s=2, authorize_s=20, transfer_s=5))
    assert transport.run("sleep 4; echo done", 30).stdout == "done\n"
    transport.close()


@pytest.mark.parametrize("policy", ["never", "ask"])
def test_a_prompt_that_is_denied_or_ignored(home: Path, start_phone: StartPhone, policy: str) -> None:
    """adb-shell tells neither from a phone that is dead."""
    phone = start_phone(PHONE.replace("always", policy))
    transport = AdbTransport(phone.address, deadlines=Deadlines(authorize_s=0.5))
    with pytest.raises(PhoneUnauthorized, match='confirm "Allow USB debugging" on its screen'):
        transport.run("true", 10)


def test_a_missing_file_is_told(adb: AdbTransport, tmp_path: Path) -> None:
    """adb-shell answers a stat of one with zeros."""
    with pytest.raises(DeviceError, match=r"gone: .*No such file"):
        adb.pull(f"{adb.folder}/gone", tmp_path / "x")
    assert adb.read_from(f"{adb.folder}/gone", 0) == b""
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("mode", [0o644, 0o755])
def test_the_mode_of_a_push_is_the_one_that_was_asked_for(adb: AdbTransport, mode: int) -> None:
    """adb-shell's own is 0770."""
    adb.push(b"x", f"{adb.folder}/mode", mode)
    assert adb.run(f"stat -c %a {adb.folder}/mode", 20).stdout.strip()[-3:] in (f"{mode:o}", "777", "666")


def test_after_a_time_out_the_next_answer_is_the_next_commands(adb: AdbTransport) -> None:
    """The late answer of the first would be taken for the second's."""
    with pytest.raises(CommandTimeout, match=r"no answer within 0\.3 s"):
        adb.run("sleep 0.6; echo late", 0.3)
    assert [adb.run(f"echo {number}", 20).stdout for number in range(3)] == ["0\n", "1\n", "2\n"]


def test_a_detached_program_goes_on_and_is_read_on(phone: RunningPhone, adb: AdbTransport) -> None:
    """It outlives the link; what it wrote is fetched from the byte where reading stopped."""
    log = f"{adb.folder}/counted"
    loop = f"for i in 1 2 3 4 5 6; do echo line $i >>{log}; sleep 0.3; done"
    begun = f"until [ -s {log} ]; do sleep 0.05; done"
    adb.run(f"rm -f {log}; setsid nohup sh -c '{loop}' >/dev/null 2>&1 </dev/null & {begun}", 20)
    first = adb.read_from(log, 0)
    assert first.startswith(b"line 1\n")
    phone.order("vanish", seconds=1)
    with pytest.raises(PhoneUnreachable):
        adb.run("true", 20)
    rest = bytearray()

    def read_on() -> bool:
        with contextlib.suppress(PhoneUnreachable):
            rest.extend(adb.read_from(log, len(first) + len(rest)))
        return (first + rest).endswith(b"line 6\n")

    assert wait_until(read_on)
    assert first + rest == b"".join(b"line %d\n" % number for number in range(1, 7))


def test_a_link_cut_in_a_push_leaves_nothing_half_written(phone: RunningPhone, adb: AdbTransport) -> None:
    remote, old, new = f"{adb.folder}/whole", b"old" * 1000, os.urandom(400_000)
    adb.push(old, remote)
    phone.order("drop", bytes=150_000)
    with pytest.raises(PhoneUnreachable):
        adb.push(new, f"{remote}.new")
    assert adb.read_from(remote, 0) == old
    adb.push(new, f"{remote}.new")
    adb.run(f"mv {remote}.new {remote}", 20)
    assert adb.read_from(remote, 0) == new


def packet(command: bytes, arg0: int, arg1: int, payload: bytes = b"", **changes: int) -> bytes:
    number = int.from_bytes(command, "little")
    fields = {"length": len(payload), "checksum": sum(payload), "magic": number ^ 0xFFFFFFFF, **changes}
    return struct.pack("<6I", number, arg0, arg1, *fields.values()) + payload


def answers_with(reply: bytes) -> tuple[str, threading.Thread]:
    """A server that sends these bytes to the first host that speaks to it, and keeps the line open."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as peer, contextlib.suppress(OSError):
            peer.recv(1000)
            peer.sendall(reply)
            while peer.recv(1000):
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    return f"127.0.0.1:{listener.getsockname()[1]}", thread


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        packet(b"AUTH", 1, 0, b"x" * 20, length=0xFFFFFFFF),
        packet(b"AUTH", 1, 0, b"x" * 20, checksum=1),
        packet(b"AUTH", 1, 0, b"x" * 20, magic=0),
        packet(b"NONE", 1, 0, b"x" * 20),
        packet(b"AUTH", 9, 0, b"x" * 20),
        os.urandom(64),
    ],
    ids=["http", "length", "checksum", "magic", "command", "kind", "noise"],
)
def test_what_is_no_adb_is_refused_at_once(home: Path, reply: bytes) -> None:
    address, thread = answers_with(reply)
    transport = AdbTransport(address, deadlines=LONG)
    with pytest.raises(PhoneUnreachable, match=rf"phone {address}: no answer \((?!nothing to read)"):
        transport.run("true", 20)
    transport.close()
    thread.join()


def test_wireless_debugging_is_told_how_to_do_without(home: Path) -> None:
    """adb-shell has no TLS, and Android's wireless debugging has nothing else."""
    address, thread = answers_with(packet(b"STLS", 0x01000000, 0))
    transport = AdbTransport(address, deadlines=LONG)
    with pytest.raises(PhoneUnauthorized, match="run adb tcpip 5555"):
        transport.run("true", 20)
    thread.join()


def test_a_phone_that_says_too_much_is_cut_off(adb: AdbTransport) -> None:
    """adb-shell keeps all that a command prints."""
    with pytest.raises(GarbledLink, match="it sends much more than was asked for"):
        adb.run("cat /dev/zero", 60)
    assert adb.run("echo on", 20).stdout == "on\n"


class Scripted:
    """A link that gives what it is told to, in pieces of one byte, and sends at most three."""

    def __init__(self, incoming: bytes) -> None:
        self.incoming = incoming
        self.sent = b""

    def bulk_read(self, numbytes: int, _timeout: float) -> bytes:
        data, self.incoming = self.incoming[:1], self.incoming[1:]
        return data

    def bulk_write(self, data: bytes, _timeout: float) -> int:
        self.sent += data[:3]
        return len(data[:3])


def test_packets_are_seen_however_they_are_cut() -> None:
    stream = packet(b"WRTE", 1, 2, b"hello") + packet(b"OKAY", 1, 2) + packet(b"WRTE", 1, 2, b"", magic=5)
    link = GuardedLink(Scripted(stream))
    assert b"".join(link.bulk_read(24, 1) for _ in range(24 + 5 + 24 + 23)) == stream[:-1]
    with pytest.raises(BadPacket):
        link.bulk_read(24, 1)
    assert link.bulk_write(b"0123456789", 1) == 10
    assert link._link.sent == b"0123456789"


class USBError(Exception):
    """As libusb's, which need not be installed."""


class USBErrorAccess(USBError): ...


class USBErrorBusy(USBError): ...


class USBErrorTimeout(USBError): ...


class UsbPhone:
    """What adb-shell's UsbTransport shows of a phone on USB."""

    def __init__(self, serial: str, trouble: USBError | None = None) -> None:
        self._serial = serial
        self.trouble = trouble

    @property
    def serial_number(self) -> str:
        if isinstance(self.trouble, USBErrorAccess):
            raise self.trouble
        return self._serial

    def connect(self, _timeout: float) -> None:
        if self.trouble:
            raise self.trouble

    def bulk_read(self, _count: int, _timeout: float) -> bytes:
        raise UsbReadFailedError("Could not receive data", USBErrorTimeout())

    def close(self) -> None: ...


@pytest.fixture
def on_usb(monkeypatch: pytest.MonkeyPatch) -> list[UsbPhone]:
    phones: list[UsbPhone] = []

    class Bus:
        find_all_adb_devices = staticmethod(lambda: iter(phones))

    monkeypatch.setattr(adb_usb, "UsbTransport", Bus)
    return phones


def test_a_usb_phone_that_may_not_be_opened_hides_no_other(on_usb: list[UsbPhone]) -> None:
    on_usb += [UsbPhone("b"), UsbPhone("x", USBErrorAccess()), UsbPhone("a", USBErrorBusy())]
    assert adb_usb.usb_serials() == ["a", "b"]
    assert adb_usb.unreadable_usb_phones() == 1


@pytest.mark.parametrize(
    ("phones", "advice"),
    [([], "not on USB; check its cable"), ([UsbPhone("a", USBErrorBusy())], "adb kill-server")],
)
def test_a_usb_phone_that_cannot_be_opened(
    home: Path, on_usb: list[UsbPhone], phones: list[UsbPhone], advice: str
) -> None:
    on_usb += phones
    with pytest.raises(PhoneUnreachable, match=f"phone a: no answer .*{advice}"):
        AdbTransport("a", usb=True).run("true", 10)


def test_a_silent_usb_phone_is_a_time_out_as_over_tcp(on_usb: list[UsbPhone]) -> None:
    on_usb.append(UsbPhone("a"))
    link = adb_usb.UsbLink("a")
    link.connect(1)
    with pytest.raises(TcpTimeoutException):
        link.bulk_read(24, 1)


def test_usb_without_libusb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adb_usb, "UsbTransport", None)
    with pytest.raises(UserError, match="need libusb for Python"):
        adb_usb.usb_serials()
