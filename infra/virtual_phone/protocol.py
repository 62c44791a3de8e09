"""ADB packets: a header of six little-endian words, then the payload.

Source: protocol.txt of the Android Debug Bridge (AOSP, packages/modules/adb).
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

VERSION_WITH_CHECKSUM = 0x01000000
VERSION_WITHOUT_CHECKSUM = 0x01000001
MAX_PAYLOAD_BYTES = 1 << 20
HEADER = struct.Struct("<6I")


class Command(IntEnum):
    """The first header word: four letters, little-endian."""

    CNXN = int.from_bytes(b"CNXN", "little")
    AUTH = int.from_bytes(b"AUTH", "little")
    OPEN = int.from_bytes(b"OPEN", "little")
    OKAY = int.from_bytes(b"OKAY", "little")
    WRTE = int.from_bytes(b"WRTE", "little")
    CLSE = int.from_bytes(b"CLSE", "little")
    STLS = int.from_bytes(b"STLS", "little")


class AuthKind(IntEnum):
    """First argument of an AUTH packet."""

    TOKEN = 1
    SIGNATURE = 2
    RSA_PUBLIC_KEY = 3


class ProtocolError(Exception):
    """The peer does not speak ADB, or speaks it wrongly; the connection has to end."""


@dataclass(frozen=True)
class Packet:
    """One message. The meaning of both arguments depends on the command."""

    command: Command
    arg0: int
    arg1: int
    payload: bytes = b""


@dataclass(frozen=True)
class Header:
    """A checked header: what is still missing is `length` bytes with this checksum."""

    command: Command
    arg0: int
    arg1: int
    length: int
    checksum: int


def checksum(payload: bytes) -> int:
    """Sum of all bytes, modulo 2^32. (Documents call it a CRC; it never was one.)"""
    return int(np.frombuffer(payload, np.uint8).sum(dtype=np.uint64)) & 0xFFFFFFFF


def encode(packet: Packet, *, with_checksum: bool) -> bytes:
    """The bytes of a packet. Without checksum (protocol version 0x01000001 on both sides) that word is 0."""
    word = checksum(packet.payload) if with_checksum else 0
    command = int(packet.command)
    header = HEADER.pack(command, packet.arg0, packet.arg1, len(packet.payload), word, command ^ 0xFFFFFFFF)
    return header + packet.payload


def decode_header(data: bytes) -> Header:
    """Reads the 24 bytes of a header. Raises ProtocolError when they are none, or announce too large a payload."""
    command, arg0, arg1, length, word, magic = HEADER.unpack(data)
    if command ^ 0xFFFFFFFF != magic:
        raise ProtocolError(f"not an ADB header: {data[:8]!r}...")
    if length > MAX_PAYLOAD_BYTES:
        raise ProtocolError(f"a payload of {length} bytes; at most {MAX_PAYLOAD_BYTES} were agreed")
    try:
        return Header(Command(command), arg0, arg1, length, word)
    except ValueError:
        raise ProtocolError(f"unknown command {data[:4]!r}") from None


def check_payload(header: Header, payload: bytes) -> Packet:
    """Joins header and payload. Raises ProtocolError when the checksum differs."""
    if checksum(payload) != header.checksum:
        raise ProtocolError(f"wrong checksum of a {header.command.name} packet")
    return Packet(header.command, header.arg0, header.arg1, payload)


async def read_packet(reader: asyncio.StreamReader, *, with_checksum: bool) -> Packet:
    """The next packet. Raises asyncio.IncompleteReadError when the peer is gone, ProtocolError as above."""
    header = decode_header(await reader.readexactly(HEADER.size))
    payload = await reader.readexactly(header.length) if header.length else b""
    if with_checksum:
        return check_payload(header, payload)
    return Packet(header.command, header.arg0, header.arg1, payload)


def text(payload: bytes) -> str:
    """A string as ADB sends it: UTF-8, ended by a zero byte that some hosts leave out."""
    return payload.split(b"\0", 1)[0].decode("utf-8", errors="surrogateescape")
