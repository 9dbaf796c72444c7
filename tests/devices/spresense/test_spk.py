"""The package format: what is read, and every way in which a file is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ei_automation.devices.spresense.spk import SpkInfo, read_spk
from ei_automation.errors import VerificationError

SONYS, EDGE_IMPULSES = b"MKSPK_BN_FOOTER\0", b"MKSPK_BN_HOOTER\0"


def make_spk(save_name: str, *payloads: bytes, footer: bytes = EDGE_IMPULSES, in_memory: int = 0) -> bytes:
    """A package as mkspk writes one, but for its checksum, which only boards know.

    Args:
        save_name: That the board stores it under.
        payloads: The pieces.
        footer: At its end.
        in_memory: What every piece takes in memory; at least its own size.
    """
    name = save_name.encode() + b"\0"
    name = name.ljust(-(-len(name) // 16) * 16, b"\0")
    table = 32 + len(name)
    header = struct.pack("<4sB11xIIHHHH", b"\xefMOD", 2, 0x0D00_0400, 0x0D0B_0000, 2, len(payloads), table, 0o777)
    pieces = [payload.ljust(-(-len(payload) // 16) * 16, b"\0") for payload in payloads]
    rows, offset = b"", table + 16 * len(pieces)
    for piece in pieces:
        rows += struct.pack("<IIII", 0x0D00_0000 + offset, offset, len(piece), max(in_memory, len(piece)))
        offset += len(piece)
    return header + name + rows + b"".join(pieces) + bytes(16) + footer


@pytest.mark.parametrize("footer", [SONYS, EDGE_IMPULSES])
def test_a_package_says_what_is_in_it(footer):
    content = make_spk("nuttx", b"code" * 10, b"data", footer=footer, in_memory=1000)
    assert read_spk(content) == SpkInfo("nuttx", 2, 0x0D00_0400, 2, 2000, len(content))


def test_the_size_is_that_of_sonys_packages():
    """Sony's mp3dec.spk has 47,984 bytes up to the end of its last piece, and 48,016 in all."""
    content = make_spk("mp3dec", bytes(47_984 - 48 - 16), footer=SONYS)
    assert read_spk(content).size_bytes == 48_016


WHOLE = make_spk("nuttx", b"code" * 10)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"", "byte 0: it begins with nothing"),
        (b"\x7fELF" + WHOLE[4:], "byte 0: it begins with 7f 45 4c 46"),
        (WHOLE[:20], "byte 20: it ends within the header"),
        (WHOLE[:-1], "byte 143: it has 143 bytes, its header says 144"),
        (WHOLE + b"\0", "it has 145 bytes, its header says 144"),
        (WHOLE[:-16] + b"something else..", "byte 128: it ends with something else.., not with a footer"),
        (WHOLE[:26] + b"\0\0" + WHOLE[28:], "byte 26: it has no piece"),
        (WHOLE[:26] + b"\xff\xff" + WHOLE[28:], "byte 48: the table of its 65535 pieces goes beyond the end"),
        (WHOLE[:56] + b"\xff\xff\0\0" + WHOLE[60:], "byte 64: piece 1 of 65535 bytes does not lie within"),
        (WHOLE[:52] + bytes(4) + WHOLE[56:], "byte 0: piece 1 of 48 bytes does not lie within"),
        (WHOLE[:32] + bytes(16) + WHOLE[48:], "byte 32: the name of the package is ''"),
        (WHOLE[:32] + b"n" * 16 + WHOLE[48:], "byte 32: the name of the package is 'nnnnnnnnnnnnnnnn'"),
        (WHOLE[:32] + b"a b" + WHOLE[35:], "byte 32: the name of the package is 'a btx'"),
    ],
)
def test_a_damaged_package_is_refused_with_the_place(content, place):
    with pytest.raises(VerificationError, match=r"firmware\.spk is no whole Spresense package") as caught:
        read_spk(content, "firmware.spk")
    assert place in caught.value.message
    assert "again" in caught.value.hint


def test_a_system_package_is_not_taken():
    with pytest.raises(
        VerificationError, match=r"loader\.espk is one of Sony's encrypted system packages"
    ) as caught:
        read_spk(b"ESPKsys\0" + bytes(100), "loader.espk")
    assert "licence" in caught.value.hint


@given(st.integers(0, len(WHOLE) - 1), st.binary(max_size=40), st.integers(0, 40))
@examples(max_examples=60)
def test_no_bytes_crash_it(place, bytes_, gone):
    content = WHOLE[:place] + bytes_ + WHOLE[place + gone :]
    try:
        info = read_spk(content)
    except VerificationError:
        return
    assert info.size_bytes == len(content)
