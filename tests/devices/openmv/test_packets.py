from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ei_automation.devices.openmv.packets import LARGEST_PAYLOAD, Flag, Opcode, Packet, PacketDecoder, crc16, crc32

Spoil = Callable[[int, bytes], bytes | None]
"""Gets the number of a packet, from 0, and what it is; what arrives of it, None for all."""
PACKETS = st.builds(
    Packet,
    *(st.integers(0, 255),) * 4,
    st.binary(max_size=60),
)


def flip(*numbers: int, at: int = -1) -> Spoil:
    """Change one byte of these packets."""

    def spoil(number: int, data: bytes) -> bytes | None:
        if number not in numbers:
            return None
        changed = bytearray(data)
        changed[at] ^= 0x10
        return bytes(changed)

    return spoil


def test_checksums() -> None:
    # The first entries of the tables in common/omv_crc.c of openmv/openmv 5.0.0, by one byte each.
    assert [crc16(bytes([0xFF ^ value])) for value in (0, 1, 2)] == [0xFF00, 0xFF00 ^ 0xF94F, 0xFF00 ^ 0x0BD1]
    assert crc32(b"\xfe") == 0xFFFFFF00 ^ 0xFA567D89
    assert (crc16(b"123456789"), crc32(b"123456789")) == (0xE541, 0x41B403D3)
    assert (crc16(b""), crc32(b"")) == (0xFFFF, 0xFFFFFFFF)


def test_a_packet() -> None:
    sync = Packet(0, 0, 0, Opcode.SYNC).encode()
    assert sync[:8] == bytes.fromhex("aad5000000000000")
    assert struct.unpack("<H", sync[8:])[0] == crc16(sync[:8])
    packet = Packet(255, 2, Flag.ACK_REQ | Flag.FRAGMENT, Opcode.CHANNEL_READ, b"text")
    assert len(packet.encode()) == 18
    assert PacketDecoder().feed(packet.encode()) == [packet]


def test_a_changed_payload_is_marked_and_a_changed_header_skipped() -> None:
    packet = Packet(1, 2, 0, Opcode.CHANNEL_READ, b"text").encode()
    (damaged,) = PacketDecoder().feed(flip(0)(0, packet) or b"")
    assert damaged.is_damaged
    assert PacketDecoder().feed(flip(0, at=5)(0, packet) or b"") == []


def test_a_packet_that_lost_its_end_does_not_take_the_next_one_along() -> None:
    first, second = Packet(1, 2, 0, 0x26, b"a" * 50), Packet(2, 2, 0, 0x26, b"b" * 50)
    decoder = PacketDecoder()
    packets = decoder.feed(first.encode()[:30] + second.encode() + second.encode())
    assert [packet for packet in packets if not packet.is_damaged] == [second, second]


@settings(max_examples=60)
@given(st.lists(PACKETS, max_size=6), st.integers(1, 50))
def test_packets_are_found_whatever_the_cuts(packets: list[Packet], step: int) -> None:
    data = b"".join(packet.encode() for packet in packets)
    decoder = PacketDecoder()
    found = [p for start in range(0, len(data), step) for p in decoder.feed(data[start : start + step])]
    assert found == packets


@pytest.mark.timeout(30)
@settings(max_examples=60)
@given(st.lists(st.one_of(st.binary(max_size=60), st.just(b"\xaa\xd5"), PACKETS.map(Packet.encode)), max_size=12))
def test_no_bytes_keep_the_decoder_from_the_next_packet(pieces: list[bytes]) -> None:
    decoder = PacketDecoder()
    for piece in pieces:
        decoder.feed(piece)
        assert len(decoder._held) <= LARGEST_PAYLOAD + 14
    wanted = Packet(7, 1, 0, Opcode.CHANNEL_POLL)
    # A piece that happened to begin a packet takes at most one packet's length along.
    assert wanted in decoder.feed(wanted.encode() * (LARGEST_PAYLOAD // 10 + 3))
