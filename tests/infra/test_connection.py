"""What hosts do that they should not: the phone ends their connection and serves the others."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from adb_shell.adb_device import AdbDeviceTcp

from splitfleet.infra.virtual_phone.protocol import HEADER, Command, Packet, encode

from .phones import RunningPhone

HELLO = Packet(Command.CNXN, 0x01000001, 1 << 20, b"host::test\0")


@contextmanager
def raw(phone: RunningPhone) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", phone.port), timeout=5) as connected:
        yield connected


def send(connected: socket.socket, *packets: Packet) -> None:
    connected.sendall(b"".join(encode(packet, with_checksum=True) for packet in packets))


def receive(connected: socket.socket) -> tuple[int, int, int, bytes]:
    header = connected.recv(HEADER.size, socket.MSG_WAITALL)
    command, arg0, arg1, length, _, _ = HEADER.unpack(header)
    return command, arg0, arg1, connected.recv(length, socket.MSG_WAITALL)


def is_closed(connected: socket.socket) -> bool:
    try:
        while connected.recv(4096):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize(
    "bad",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        encode(Packet(Command.STLS, 0x01000000, 0), with_checksum=True),
        encode(Packet(Command.AUTH, 9, 0, b"?"), with_checksum=True),
        encode(Packet(Command.AUTH, 3, 0, b"no key\0"), with_checksum=True),
        HEADER.pack(Command.OPEN, 1, 0, 1 << 24, 0, Command.OPEN ^ 0xFFFFFFFF),
    ],
    ids=["http", "tls", "auth kind", "key", "size"],
)
def test_a_host_that_breaks_the_rules_is_cut_off(phone: RunningPhone, device: AdbDeviceTcp, bad: bytes) -> None:
    with raw(phone) as connected:
        send(connected, HELLO)
        assert receive(connected)[:2] == (Command.AUTH, 1)
        connected.sendall(bad)
        assert is_closed(connected)
    assert device.shell("echo alive") == "alive\n"


def test_nothing_is_served_before_authentication(phone: RunningPhone) -> None:
    with raw(phone) as connected:
        send(connected, Packet(Command.OPEN, 1, 0, b"shell:echo x\0"), HELLO)
        command, kind, _, token = receive(connected)
        assert (command, kind, len(token)) == (Command.AUTH, 1, 20)


def test_a_wrong_signature_gets_another_token(phone: RunningPhone) -> None:
    with raw(phone) as connected:
        send(connected, HELLO)
        first = receive(connected)[3]
        send(connected, Packet(Command.AUTH, 2, 0, bytes(256)))
        command, kind, _, second = receive(connected)
        assert (command, kind) == (Command.AUTH, 1)
        assert first != second
