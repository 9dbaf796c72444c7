"""Data sets that a dependency ships: written out as image files, with the same bytes on every machine."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from ei_automation.dataset.fetch.base import Fetched, FetchRequest
from ei_automation.dataset.fetch.tree import stored_tree
from ei_automation.schema.lock import OriginRecord
from ei_automation.schema.manifest import BundledOrigin

DIGITS_LEVELS = 16
"""Brightest value of scikit-learn's digits (its docs: each pixel an integer 0..16)."""


def fetch_bundled(origin: BundledOrigin, request: FetchRequest) -> Fetched:
    """The data set's images as files in the cache folder.

    Raises:
        StorageError: The cache folder cannot be written.
    """
    writers = {"sklearn-digits": _write_digits}

    def fill(folder: Path) -> None:
        writers[origin.name](folder, request)

    root = stored_tree(request.downloads / "bundled" / origin.name, fill, f"writing the data set {origin.name}")
    return Fetched(root=root, origin=OriginRecord(type="bundled", reference=origin.name))


def _write_digits(folder: Path, request: FetchRequest) -> None:
    """scikit-learn's digits: 8x8 grayscale PNG, a folder per digit, value * 255 / 16 rounded."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for label in range(10):
        (folder / str(label)).mkdir()
    for index, (image, label) in enumerate(zip(digits.images.tolist(), digits.target.tolist(), strict=True)):
        rows = [bytes(round(value * 255 / DIGITS_LEVELS) for value in row) for row in image]
        (folder / str(label) / f"digit_{index:04d}.png").write_bytes(_grayscale_png(rows))
        request.on_progress("write", index + 1, len(digits.images))


def _grayscale_png(rows: list[bytes]) -> bytes:
    """An 8-bit grayscale PNG of at most 65,535 bytes of pixels, stored without compression.

    Not made by an image library: their bytes change with the zlib they are built with, and the samples'
    hashes stand in the record.

    Args:
        rows: One byte a pixel, 0..255, all rows of one length.
    """
    raw = b"".join(b"\0" + row for row in rows)  # filter type 0 before each row
    size = len(raw)
    stored = b"\x01" + struct.pack("<HH", size, size ^ 0xFFFF) + raw  # RFC 1951, 3.2.4: one last block
    data = b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(raw))  # RFC 1950
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk: length, kind, data, CRC."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
