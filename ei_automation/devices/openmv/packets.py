"""The packets of version 2 of OpenMV's debug protocol: what they hold, and how they are found in what comes.

Source: docs/protocol.md, protocol/omv_protocol.{h,c} and omv_protocol_channel_stdio.c of openmv/openmv 5.0.0.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag

SYNC_WORD = b"\xaa\xd5"
HEADER = struct.Struct("<2sBBBBH")
"""Sync word, sequence, channel, flags, opcode, length of the payload; then the CRC-16 of these."""
HEADER_BYTES = 10
LARGEST_PAYLOAD = 4082
"""A buffer of 4096 bytes less header and CRC-32."""
SMALLEST_PAYLOAD = 50
CAPS = struct.Struct("<IH10x")
"""Capabilities, largest payload."""
CRC, SEQUENCE, ACKNOWLEDGE, EVENTS = 1, 2, 4, 8
"""Capabilities."""


class Flag(IntFlag):
    """Of a packet."""

    ACK = 1
    NAK = 2
    RTX = 4
    ACK_REQ = 8
    FRAGMENT = 16
    EVENT = 32


class Opcode(IntEnum):
    """What a packet asks for."""

    SYNC = 0x00
    GET_CAPS = 0x01
    SET_CAPS = 0x02
    VERSION = 0x04
    SYS_RESET = 0x10
    SYS_BOOT = 0x11
    SYS_INFO = 0x12
    SYS_EVENT = 0x13
    CHANNEL_LIST = 0x20
    CHANNEL_POLL = 0x21
    CHANNEL_SIZE = 0x25
    CHANNEL_READ = 0x26
    CHANNEL_WRITE = 0x27
    CHANNEL_IOCTL = 0x28
    CHANNEL_EVENT = 0x29


class Status(IntEnum):
    """Of a packet with NAK."""

    FAILED = 1
    INVALID = 2
    TIMEOUT = 3
    BUSY = 4
    CHECKSUM = 5
    SEQUENCE = 6
    OVERFLOW = 7
    FRAGMENT = 8
    UNKNOWN = 9


class Stdin(IntEnum):
    """Controls of the channel `stdin`."""

    STOP = 1
    EXEC = 2
    RESET = 3


def _crc_table(polynomial: int, bits: int) -> tuple[int, ...]:
    """For a CRC that takes the highest bit first."""
    table = []
    for value in range(256):
        value <<= bits - 8
        for _ in range(8):
            value = (value << 1) ^ (polynomial if value >> (bits - 1) else 0)
            value &= (1 << bits) - 1
        table.append(value)
    return tuple(table)


_CRC16, _CRC32 = _crc_table(0xF94F, 16), _crc_table(0xFA567D89, 32)


def crc16(data: bytes) -> int:
    """Of a header: polynomial 0xF94F, starts at 0xFFFF, highest bit first."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ _CRC16[crc >> 8 ^ byte]
    return crc


def crc32(data: bytes) -> int:
    """Of a payload: polynomial 0xFA567D89, starts at 0xFFFFFFFF, highest bit first."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc << 8 & 0xFFFFFFFF) ^ _CRC32[crc >> 24 ^ byte]
    return crc


@dataclass(frozen=True)
class Packet:
    """One packet.

    Attributes:
        sequence: 0..255.
        channel: 0 for the protocol itself.
        flags: See `Flag`.
        opcode: See `Opcode`.
        payload: At most LARGEST_PAYLOAD bytes.
        is_damaged: Whether the payload's checksum is wrong; then only the header can be trusted.
    """

    sequence: int
    channel: int
    flags: int
    opcode: int
    payload: bytes = b""
    is_damaged: bool = False

    def encode(self) -> bytes:
        """As it is sent."""
        header = HEADER.pack(SYNC_WORD, self.sequence, self.channel, self.flags, self.opcode, len(self.payload))
        data = header + struct.pack("<H", crc16(header))
        return data + self.payload + struct.pack("<I", crc32(self.payload)) if self.payload else data

    @property
    def status(self) -> int:
        """What a packet with NAK says; `Status.UNKNOWN` where it says nothing."""
        return struct.unpack_from("<H", self.payload)[0] if len(self.payload) >= 2 else Status.UNKNOWN


class PacketDecoder:
    """Finds packets in what comes; what is none is skipped, byte by byte."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Packet]:
        """Packets that are whole now; one with a wrong payload is given once, marked as damaged."""
        self._held += data
        packets: list[Packet] = []
        while (packet := self._next()) is not None:
            packets.append(packet)
        return packets

    def clear(self) -> None:
        """Forget what has come."""
        self._held.clear()

    def _next(self) -> Packet | None:
        """The first packet; None where it is not whole yet. Holds at most one unfinished packet."""
        while self._to_sync_word() and len(self._held) >= HEADER_BYTES:
            header = bytes(self._held[:HEADER_BYTES])
            _, sequence, channel, flags, opcode, length = HEADER.unpack_from(header)
            if length > LARGEST_PAYLOAD or struct.unpack_from("<H", header, 8)[0] != crc16(header[:8]):
                del self._held[0]
                continue
            size = HEADER_BYTES + (length + 4 if length else 0)
            if len(self._held) < size:
                return None
            body = bytes(self._held[HEADER_BYTES:size])
            is_damaged = bool(length) and struct.unpack("<I", body[length:])[0] != crc32(body[:length])
            # Behind a damaged payload another packet may begin within it: bytes were lost, not only changed.
            del self._held[: 2 if is_damaged else size]
            return Packet(sequence, channel, flags, opcode, body[:length], is_damaged)
        return None

    def _to_sync_word(self) -> bool:
        """Drop what cannot begin a packet; whether one may begin now."""
        place = self._held.find(SYNC_WORD)
        if place < 0:
            place = len(self._held) - (1 if self._held.endswith(SYNC_WORD[:1]) else 0)
            del self._held[:place]
            return False
        del self._held[:place]
        return True
