"""Whether a file is an image that can be used, and its size: from its header where that is enough."""

from __future__ import annotations

import io
import mmap

from PIL import Image

PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers SOF0 to SOF15, which carry the size (ITU T.81, table B.1); the three others in between are no frames."""
JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length: TEM, RST0 to RST7, SOI."""
JPEG_SCAN = 0xDA
Bytes = bytes | mmap.mmap
MOST_SEGMENTS = 200
PLAIN_PIXELS = 1 << 24
"""A larger image is decoded before it is believed."""


class NotAnImageError(ValueError):
    """A file that cannot become a sample; says why."""


def image_size(data: Bytes) -> tuple[int, int]:
    """Width and height of a JPEG or PNG file as stored, pixels.

    A header that looks ordinary, in a file that has its end, is believed. Anything else is decoded.

    Raises:
        NotAnImageError: It is empty, neither JPEG nor PNG, cut off, or of a colour mode that cannot be used.
    """
    if not data:
        raise NotAnImageError("the file is empty")
    if data[: len(PNG_START)] == PNG_START:
        size = _png_size(data)
    elif data[: len(JPEG_START)] == JPEG_START:
        size = _jpeg_size(data)
    else:
        raise NotAnImageError("the file is neither a JPEG nor a PNG image; this local Studio takes no others")
    if size is None or not 0 < size[0] * size[1] <= PLAIN_PIXELS:
        return _decoded_size(data)
    return size


def _png_size(data: Bytes) -> tuple[int, int] | None:
    """From IHDR, where the colour depth is at most 8 bits and the file has its last chunk."""
    if data[12:16] != b"IHDR" or len(data) < 33 or data[24] > 8 or data[-len(PNG_END) :] != PNG_END:
        return None
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def _jpeg_size(data: Bytes) -> tuple[int, int] | None:
    """From the frame header, where it has 8 bits, one or three components, and the file has its end marker."""
    if data[-len(JPEG_END) :] != JPEG_END:
        return None
    at = 2
    for _ in range(MOST_SEGMENTS):
        if at + 10 > len(data) or data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker in JPEG_FRAMES:
            plain = data[at + 4] == 8 and data[at + 9] in (1, 3)
            return (
                (int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])) if plain else None
            )
        if marker == JPEG_SCAN:
            return None
        at += _segment_length(data, at)
    return None


def _segment_length(data: Bytes, at: int) -> int:
    """Bytes from a marker to the next; fill bytes before a marker count one each."""
    marker = data[at + 1]
    if marker == 0xFF:
        return 1
    return 2 if marker in JPEG_ALONE else 2 + int.from_bytes(data[at + 2 : at + 4])


def _decoded_size(data: Bytes) -> tuple[int, int]:
    from ei_automation.dsp.image import UnusableImageError, decode

    try:
        decode(bytes(data))
    except UnusableImageError as error:
        raise NotAnImageError(f"the image cannot be used: {error}") from error
    with Image.open(io.BytesIO(data)) as image:
        return image.size
