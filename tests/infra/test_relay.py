from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from .phones import wait_until
from .relay import Link, Relay, relay_to


@contextmanager
def echo() -> Iterator[str]:
    """A server that sends back what it gets."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with closing(connection):
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.getsockname()[1]}"
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(5)


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with echo() as address:
        yield address


def connect(relay: Relay) -> socket.socket:
    host, _, port = relay.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def exchange(connection: socket.socket, content: bytes) -> bytes:
    """Sends all, and reads as much."""
    sender = threading.Thread(target=connection.sendall, args=(content,))
    sender.start()
    received = b""
    while len(received) < len(content):
        received += (some := connection.recv(65536))
        if not some:
            raise ConnectionError("closed")
    sender.join()
    return received


def test_every_byte_passes_in_order_despite_delay_and_loss(target: str) -> None:
    content = random.Random(1).randbytes(700_000)
    lost = []
    for _ in range(2):
        with relay_to(target, Link(delay_s=0.01, loss=0.01, retransmit_s=0.02), seed=3) as relay:
            with connect(relay) as connection:
                assert exchange(connection, content) == content
            assert relay.passed_bytes == {"to_phone": len(content), "to_host": len(content)}
            lost.append(relay.lost_segments)
    assert lost[0] == lost[1] > 0, "the seed decides what is lost"


def test_a_stall_gives_no_sign_and_ends(target: str) -> None:
    with relay_to(target) as relay, connect(relay) as connection:
        relay.stall()
        connection.sendall(b"held")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(10)
        relay.resume()
        connection.settimeout(10)
        assert connection.recv(10) == b"held"


@pytest.mark.parametrize("count", [0, 1, 1000, 5000])
def test_a_cut_after_so_many_bytes(target: str, count: int) -> None:
    with relay_to(target) as relay:
        relay.cut_after(count, "to_phone")
        with pytest.raises(OSError, match=r"."), connect(relay) as connection:
            exchange(connection, bytes(20_000))
        assert relay.passed_bytes["to_phone"] == count
        with connect(relay) as connection:
            assert exchange(connection, b"again") == b"again"
        assert relay.connections == 2


def is_let_in(relay: Relay) -> bool:
    try:
        with connect(relay) as connection:
            connection.sendall(b"x")
            return connection.recv(1) == b"x"
    except ConnectionError:
        return False


def test_while_down_nobody_gets_in(target: str) -> None:
    with relay_to(target) as relay:
        assert is_let_in(relay)
        relay.down()
        assert not is_let_in(relay)
        relay.resume()
        assert is_let_in(relay)
        relay.down(0.2)
        assert wait_until(lambda: is_let_in(relay))
