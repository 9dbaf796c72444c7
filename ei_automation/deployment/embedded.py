"""Finds .tflite files inside firmware images."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ei_automation.deployment.model_facts import is_whole, read_model_facts
from ei_automation.errors import VerificationError

IDENTIFIER, IDENTIFIER_PLACE = b"TFL3", 4
"""Bytes 4..7 of every .tflite file (TFLite schema.fbs, file_identifier)."""
SMALLEST_BYTES = 64
"""No network is smaller: root, virtual table and table of a model alone are more than half of it."""
MOST_TRIES = 64
"""Places that look like a model and are none, before the search ends: firmware has a few, an attack has many."""


def find_model(image: bytes) -> bytes | None:
    """The first .tflite file that an image holds verbatim, cut to its real length.

    Args:
        image: Firmware, of any alignment.

    Returns:
        Its bytes, which LiteRT opens; None where there is none, e.g. because the network was compiled.
    """
    return next(_models(image), None)


def find_models(image: bytes) -> tuple[bytes, ...]:
    """All .tflite files that an image holds verbatim, each once, in the order of their places."""
    return tuple(dict.fromkeys(_models(image)))


def _models(image: bytes) -> Iterator[bytes]:
    place, tries = 0, 0
    while tries < MOST_TRIES and (place := image.find(IDENTIFIER, place)) >= 0:
        start = place - IDENTIFIER_PLACE
        place += len(IDENTIFIER)
        if start < 0 or not _is_root_sane(image, start):
            continue
        model = _cut(image[start:])
        if model is None:
            tries += 1
            continue
        yield model
        place = start + len(model)


def _is_root_sane(image: bytes, start: int) -> bool:
    """Whether what would be a model's first four bytes points to a table with a virtual table inside the image."""
    (root,) = struct.unpack_from("<I", image, start)
    if root % 4 or not 8 <= root <= len(image) - start - 4:
        return False
    (back,) = struct.unpack_from("<i", image, start + root)
    table = root - back
    if table % 2 or not 8 <= table <= len(image) - start - 2:
        return False
    (size,) = struct.unpack_from("<H", image, start + table)
    return bool(4 <= size <= len(image) - start - table)


def _cut(data: bytes) -> bytes | None:
    """A model without what follows it; None where there is none.

    A flatbuffer does not say how long it is. LiteRT checks whether everything lies within what it is given, so
    the length is the least one that passes: about twenty checks, each some 100 µs.
    """
    if not is_whole(data):
        return None
    least, most = SMALLEST_BYTES, len(data)
    while least < most:
        middle = (least + most) // 2
        if is_whole(data[:middle]):
            most = middle
        else:
            least = middle + 1
    try:
        read_model_facts(data[:most])
    except VerificationError:  # several inputs or outputs: no network of an impulse
        return None
    return data[:most]
