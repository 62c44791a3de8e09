"""Packets, frames and keys, without a phone."""

from __future__ import annotations

import asyncio

import pytest
from adb_shell.adb_message import checksum as checksum_of_adb_shell
from adb_shell.auth.sign_cryptography import CryptographySigner
from hypothesis import given
from hypothesis import strategies as st

from splitfleet.infra.virtual_phone.auth import HostKey, new_token
from splitfleet.infra.virtual_phone.protocol import (
    HEADER,
    MAX_PAYLOAD_BYTES,
    Command,
    Packet,
    ProtocolError,
    checksum,
    decode_header,
    encode,
    read_packet,
)
from splitfleet.infra.virtual_phone.shell import FrameReader, Kind, ShellRequest, frame, parse_request

words = st.integers(0, 2**32 - 1)
packets = st.builds(Packet, st.sampled_from(Command), words, words, st.binary(max_size=300))


def read_all(data: bytes, *, with_checksum: bool) -> list[Packet]:
    """All packets in the data, which has to end with one."""

    async def read() -> list[Packet]:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        found = []
        while not reader.at_eof():
            found.append(await read_packet(reader, with_checksum=with_checksum))
        return found

    return asyncio.run(read())


@given(st.lists(packets, max_size=5), st.booleans())
def test_packets_come_back_as_they_were(sent: list[Packet], with_checksum: bool) -> None:
    data = b"".join(encode(packet, with_checksum=with_checksum) for packet in sent)
    assert read_all(data, with_checksum=with_checksum) == sent


@given(st.binary(max_size=2000))
def test_checksum_is_the_one_of_adb_shell(payload: bytes) -> None:
    assert checksum(payload) == checksum_of_adb_shell(payload)


@given(packets.filter(lambda packet: packet.payload), st.data())
def test_a_changed_byte_is_noticed(packet: Packet, data: st.DataObject) -> None:
    encoded = bytearray(encode(packet, with_checksum=True))
    place = data.draw(st.integers(HEADER.size, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ProtocolError, match="wrong checksum"):
        read_all(bytes(encoded), with_checksum=True)


@given(st.binary(min_size=HEADER.size, max_size=HEADER.size))
def test_noise_is_no_header(noise: bytes) -> None:
    command, *_, magic = HEADER.unpack(noise)
    if command ^ 0xFFFFFFFF == magic and command in set(Command):
        decode_header(noise)
    else:
        with pytest.raises(ProtocolError):
            decode_header(noise)


def test_a_payload_beyond_the_agreed_size_is_refused() -> None:
    header = HEADER.pack(Command.WRTE, 1, 1, MAX_PAYLOAD_BYTES + 1, 0, Command.WRTE ^ 0xFFFFFFFF)
    with pytest.raises(ProtocolError, match="at most"):
        decode_header(header)


@given(st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=50))), st.data())
def test_frames_come_back_however_they_are_cut(frames: list[tuple[Kind, bytes]], data: st.DataObject) -> None:
    encoded = b"".join(frame(kind, content) for kind, content in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(encoded)), max_size=8)))
    reader = FrameReader()
    read = []
    for start, end in zip([0, *cuts], [*cuts, len(encoded)], strict=True):
        read += reader.feed(encoded[start:end])
    assert read == frames


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("shell:ls -l a:b", ShellRequest("ls -l a:b", framed=False, terminal=False)),
        ("shell:", ShellRequest("", framed=False, terminal=True)),
        ("shell,v2,TERM=xterm-256color,raw:ls", ShellRequest("ls", framed=True, terminal=False)),
        ("shell,v2,TERM=xterm,pty:ls", ShellRequest("ls", framed=True, terminal=True)),
        ("shell,v2,raw:", ShellRequest("", framed=True, terminal=False)),
        ("exec:cat x", ShellRequest("cat x", framed=False, terminal=False)),
        ("exec:", None),
        ("shell", None),
        ("reboot:", None),
    ],
)
def test_names_of_shell_services(name: str, request_: ShellRequest | None) -> None:
    assert parse_request(name) == request_


def test_a_signature_is_checked_with_the_hosts_own_key(
    key: CryptographySigner, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = key.GetPublicKey().decode()
    known, token = HostKey(text), new_token()
    assert known.signed(token, key.Sign(token))
    assert not known.signed(new_token(), key.Sign(token))
    assert known.comment == text.strip().split(" ", 1)[1]


@given(st.text(max_size=800))
def test_other_text_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match="not a public key"):
        HostKey(text)
