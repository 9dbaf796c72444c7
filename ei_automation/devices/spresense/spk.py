"""Sony's package format .spk: its header is read and checked before any of it is sent to a board.

The layout is that of mkspk.h and mkspk.c in github.com/edgeimpulse/firmware-sony-spresense, folder mkspk; the
total size was measured on packages that Sony publishes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ei_automation.errors import VerificationError

MAGIC = b"\xefMOD"
SYSTEM_MAGIC = b"ESPKsys\0"
"""How Sony's encrypted packages (.espk: boot loader, GNSS) begin."""
FOOTERS = (b"MKSPK_BN_FOOTER\0", b"MKSPK_BN_HOOTER\0")
"""Sony's mkspk writes the first, Edge Impulse's the second."""
HEADER = struct.Struct("<4sB11xIIHHHH")
"""Magic, processor, entry, stack, core, number of pieces, where their table begins, mode."""
PIECE = struct.Struct("<IIII")
"""Load address, offset in the file, bytes in the file, bytes in memory."""
CMAC_BYTES = 16
"""Behind the last piece, before the footer. It is made with a key of Sony's: only the board checks it."""
NAME_BYTES = 64
"""Room of the name at most, its final zero included."""


@dataclass(frozen=True)
class SpkInfo:
    """What the header of a package says.

    Attributes:
        save_name: The name that the board stores it under, e.g. `nuttx`.
        core: Number of the processor that it is for; 2 is the main one.
        entry: Address of its first instruction.
        pieces: How many pieces it is loaded in.
        memory_bytes: What these take in memory.
        size_bytes: Of the whole file.
    """

    save_name: str
    core: int
    entry: int
    pieces: int
    memory_bytes: int
    size_bytes: int


def read_spk(content: bytes, name: str = "the package") -> SpkInfo:
    """Check a package and say what is in it.

    Args:
        content: The file.
        name: For the error.

    Raises:
        VerificationError: It is no package, or is damaged; with the place.
    """
    if content.startswith(SYSTEM_MAGIC):
        raise VerificationError(
            f"{name} is one of Sony's encrypted system packages (.espk), not an application",
            hint="give the .spk file of the deployment; system packages come from Sony, under Sony's licence",
        )
    if not content.startswith(MAGIC):
        raise _damaged(name, 0, f"it begins with {content[:4].hex(' ') or 'nothing'}, not with {MAGIC.hex(' ')}")
    if len(content) < HEADER.size:
        raise _damaged(name, len(content), f"it ends within the header of {HEADER.size} bytes")
    _, _, entry, _, core, count, table, _ = HEADER.unpack_from(content)
    save_name = _save_name(content, name, table)
    memory_bytes, end = _pieces(content, name, count, table)
    size_bytes = end + CMAC_BYTES + len(FOOTERS[0])
    if len(content) != size_bytes:
        raise _damaged(name, len(content), f"it has {len(content)} bytes, its header says {size_bytes}")
    footer = content[-len(FOOTERS[0]) :]
    if footer not in FOOTERS:
        raise _damaged(name, size_bytes - len(footer), f"it ends with {ascii(footer)[2:-1]}, not with a footer")
    return SpkInfo(save_name, core, entry, count, memory_bytes, size_bytes)


def _save_name(content: bytes, name: str, table: int) -> str:
    """The name that stands between header and table, up to a zero."""
    raw, zero, _ = content[HEADER.size : min(table, HEADER.size + NAME_BYTES)].partition(b"\0")
    if not zero or not raw or not all(0x21 <= value <= 0x7E for value in raw):
        raise _damaged(name, HEADER.size, f"the name of the package is {ascii(raw)[2:-1]!r}")
    return raw.decode("ascii")


def _pieces(content: bytes, name: str, count: int, table: int) -> tuple[int, int]:
    """Bytes that all pieces take in memory, and where the last one ends in the file."""
    if not count:
        raise _damaged(name, 26, "it has no piece that would be loaded")
    if table + count * PIECE.size > len(content):
        raise _damaged(name, table, f"the table of its {count} pieces goes beyond the end")
    memory_bytes = end = 0
    for number in range(count):
        _, offset, size, in_memory = PIECE.unpack_from(content, table + number * PIECE.size)
        if offset < table + count * PIECE.size or offset + size > len(content):
            raise _damaged(name, offset, f"piece {number + 1} of {size} bytes does not lie within the file")
        memory_bytes += max(size, in_memory)
        end = max(end, offset + size)
    return memory_bytes, end


def _damaged(name: str, place: int, problem: str) -> VerificationError:
    return VerificationError(
        f"{name} is no whole Spresense package: byte {place}: {problem}",
        hint="download or build the deployment again",
    )
