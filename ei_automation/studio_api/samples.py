"""Samples in Studio's JSON: how ours are named and marked, and how a live one is known again.

Studio has its own idea of a sample's hash and name (it may hash an envelope, cut the extension off, add a
suffix), so the content hash travels in two places: whole in the metadata, and its first 12 digits in the name.
Metadata is given once for a POST of several files, hence the two: the name says which of the hashes is the file's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from ei_automation.schema.sample import BoundingBox, Category, StoredSample

METADATA_SHA256 = "eiauto_sha256"
"""Metadata key: SHA-256 of every file of the POST, lower-case hexadecimal, one space between them."""
METADATA_GROUP = "eiauto_group"
"""Metadata key: what the sample was made from; absent where that is not known."""
BATCH_FILES = 16
"""Most files of a POST: their hashes must fit into one metadata value (1,040 characters)."""
SHORT_HASH = 12
"""Hexadecimal digits of the hash in a file's name: 48 bits, and only told apart within one POST."""
BOXES_FILE = "bounding_boxes.labels"
"""Name of the file that carries bounding boxes beside the images of a POST."""

_CATEGORIES: Mapping[object, Category] = {category.value: category for category in Category}
_HASH = re.compile(r"[0-9a-f]{64}")
_SHORT_IN_NAME = re.compile(r"\.([0-9a-f]{12})(?=\.|$)")


def upload_name(name: str, sha256: str) -> str:
    """The file name that a sample travels under: its last part, with the hash's start before the extension.

    Args:
        name: Path inside the data set, e.g. `TRAIN/MONOCYTE/_0_207.jpeg`.
        sha256: Of the file's bytes.

    Returns:
        For example `_0_207.0123456789ab.jpeg`.
    """
    path = PurePosixPath(name)
    return f"{path.stem}.{sha256[:SHORT_HASH]}{path.suffix}"


def metadata_of(batch_hashes: Sequence[str], group: str) -> dict[str, str]:
    """The x-metadata of a POST; it holds for all of its files.

    Args:
        batch_hashes: SHA-256 of each file, at most `BATCH_FILES`.
        group: Of all of them; empty when not known.
    """
    if len(batch_hashes) > BATCH_FILES:
        raise ValueError(f"{len(batch_hashes)} files in a POST that takes {BATCH_FILES}")
    metadata = {METADATA_SHA256: " ".join(batch_hashes)}
    return {**metadata, METADATA_GROUP: group} if group else metadata


def identify(row: Mapping[str, Any]) -> str | None:
    """Content hash of a live sample, as far as it can be told.

    Args:
        row: Studio's Sample.

    Returns:
        The hash of our metadata that belongs to this file. For a sample that another client uploaded: Studio's own
        hash, which is the file's where the file was stored as it is. None where nothing can be told.
    """
    own = str(row.get("sha256Hash") or "")
    metadata = _metadata(row)
    if METADATA_SHA256 not in metadata:
        return own if _HASH.fullmatch(own) else None
    marked = _by_start(str(metadata[METADATA_SHA256]))
    named = {marked[short] for short in _SHORT_IN_NAME.findall(str(row.get("filename", ""))) if short in marked}
    if len(named) == 1:
        return named.pop()
    if own in marked.values():
        return own
    return next(iter(marked.values())) if len(marked) == 1 else None


@lru_cache(maxsize=256)
def _by_start(hashes: str) -> dict[str, str]:
    """Hashes of our metadata by their starts; read once for the samples of a POST, which are listed together."""
    return {sha256[:SHORT_HASH]: sha256 for sha256 in _HASH.findall(hashes)}


def stored_sample(row: Mapping[str, Any]) -> StoredSample | None:
    """A live sample as our noun; None where its content or its category is none that we know.

    Args:
        row: Studio's Sample.
    """
    sha256, category = identify(row), _CATEGORIES.get(row.get("category"))
    if sha256 is None or category is None:
        return None
    return StoredSample(
        sample_id=int(row["id"]),
        name=str(row["filename"]).replace(f".{sha256[:SHORT_HASH]}", "", 1),
        sha256=sha256,
        label=str(row["label"]),
        category=category,
        group=str(_metadata(row).get(METADATA_GROUP, "")),
        bounding_boxes=boxes_from(row["boundingBoxes"]) if row.get("boundingBoxes") else (),
        disabled=row.get("isDisabled") is True,
    )


def boxes_json(boxes: Iterable[BoundingBox]) -> list[dict[str, Any]]:
    """Bounding boxes as Studio takes them, pixels of the stored image."""
    return [
        {"label": box.label, "x": box.x, "y": box.y, "width": box.width, "height": box.height} for box in boxes
    ]


def boxes_from(rows: Iterable[Mapping[str, Any]]) -> tuple[BoundingBox, ...]:
    """Bounding boxes from Studio's, whose numbers may carry a fraction of zero."""
    return tuple(
        BoundingBox(str(row["label"]), *(round(row[key]) for key in ("x", "y", "width", "height"))) for row in rows
    )


def bounding_boxes_file(names_to_boxes: Mapping[str, Sequence[BoundingBox]]) -> bytes:
    """The file `bounding_boxes.labels` that goes beside the images of a POST.

    Args:
        names_to_boxes: File name as uploaded to its boxes.
    """
    content = {
        "version": 1,
        "type": "bounding-box-labels",
        "boundingBoxes": {name: boxes_json(boxes) for name, boxes in names_to_boxes.items()},
    }
    return json.dumps(content, ensure_ascii=False).encode()


def _metadata(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return row.get("metadata") or {}
