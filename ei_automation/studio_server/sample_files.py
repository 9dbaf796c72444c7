"""From the files and headers of an ingestion request to samples: labels, categories, boxes, refusals."""

from __future__ import annotations

import hashlib
import mmap
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from ei_automation.schema.sample import BoundingBox
from ei_automation.studio_api.samples import boxes_from
from ei_automation.studio_server.call import RefusalError
from ei_automation.studio_server.image_file import NotAnImageError, image_size
from ei_automation.studio_server.multipart import Part, harmless_name, text_of
from ei_automation.studio_server.samples import CATEGORIES, NewSample
from ei_automation.studio_server.strict_json import read_strictly

SPLIT = "split"
"""Category that leaves the choice between training and testing to the content."""
ANOMALY = "anomaly"
"""The old name of post-processing data; today's API has it in ingestion addresses only."""
INGESTED = (*CATEGORIES, SPLIT, ANOMALY)
SIDE_FILE = ".labels"
MOST_LABEL = 1000
"""Characters of a label."""

_FROM_NAME = re.compile(r"^[a-zA-Z0-9\s_-]+")


@dataclass(frozen=True)
class Asked:
    """What an ingestion request says of all its files.

    Attributes:
        category: One of `INGESTED`.
        label: The label; empty for none; None: from each file's name.
        metadata: Of every file.
        boxes: Of every file that no side file names; None where none are given.
        date_id: Whether names get a unique suffix.
        refuse_duplicates: Whether content that the project has is refused.
        device_type: What sends it.
    """

    category: str
    label: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    boxes: tuple[BoundingBox, ...] | None = None
    date_id: bool = False
    refuse_duplicates: bool = False
    device_type: str = ""


@dataclass(frozen=True)
class SideFiles:
    """What label files beside the images say, by file name.

    Attributes:
        boxes: Bounding boxes.
        info: Entries of info.labels.
        refused: Files that cannot be stored, and why.
    """

    boxes: dict[str, tuple[BoundingBox, ...]] = field(default_factory=dict)
    info: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


class FileRefusedError(ValueError):
    """A file that is not stored; says why."""


def asked_by(category: str, headers: Mapping[str, str]) -> Asked:
    """What the address and the headers of a request say.

    Args:
        category: From the address.
        headers: By name in lower case, as Latin-1 text.

    Raises:
        RefusalError: A category or header that cannot be understood.
    """
    if category not in INGESTED:
        raise RefusalError(f"Invalid category '{category}', expected one of {', '.join(INGESTED)}", 400)
    boxes = headers.get("x-bounding-boxes")
    return Asked(
        category=category,
        label=_asked_label(headers),
        metadata=_asked_metadata(headers.get("x-metadata", "")),
        boxes=read_boxes("x-bounding-boxes", _header_json("x-bounding-boxes", boxes)) if boxes else None,
        date_id="x-add-date-id" in headers,
        refuse_duplicates="x-disallow-duplicates" in headers,
        device_type=_text(headers.get("x-device-type", ""))[:MOST_LABEL],
    )


def read_side_files(parts: Sequence[Part]) -> SideFiles:
    """Read the label files of a request.

    Raises:
        RefusalError: One is not what it should be; then nothing of the request is stored.
    """
    found = SideFiles()
    for part in parts:
        content = _json(part.filename or "", _bytes_of(part))
        kind = content.get("type") or (part.filename or "").removesuffix(SIDE_FILE)
        if kind in ("bounding-box-labels", "bounding_boxes"):
            boxes = _by_name(part, content, "boundingBoxes")
            found.boxes.update({name: read_boxes(str(part.filename), rows) for name, rows in boxes.items()})
        elif isinstance(content.get("files"), list):
            found.info.update(_info_entries(content["files"]))
        else:
            words = (
                f"{part.filename} is not taken: images have neither structured labels, label maps nor attachments"
            )
            for key in ("structuredLabels", "labels", "attachments"):
                found.refused.update({name: words for name in _by_name(part, content, key)})
    return found


def new_sample(part: Part, asked: Asked, side: SideFiles) -> NewSample:
    """A file as a sample to be stored.

    Raises:
        FileRefusedError: It cannot be.
    """
    name = part.filename or ""
    if part.too_large:
        raise FileRefusedError("the file is too large")
    if name in side.refused:
        raise FileRefusedError(side.refused[name])
    asked = _with_info(asked, side.info.get(name))
    boxes = side.boxes.get(name, asked.boxes) or ()
    label = asked.label
    if label is None:
        label = "" if boxes else inferred_label(name)
    with _opened(part) as data:
        try:
            width, height = image_size(data)
        except NotAnImageError as error:
            raise FileRefusedError(str(error)) from error
        return NewSample(
            name=_with_date_id(name) if asked.date_id else name,
            content=part.content,
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=part.size_bytes,
            width=width,
            height=height,
            label=label,
            category=_category(asked.category, data),
            metadata=asked.metadata,
            boxes=boxes,
            device_type=asked.device_type,
        )


def inferred_label(name: str) -> str:
    """The label in a file name, e.g. `idle` in `idle.01.jpg`; empty where there is none.

    The pattern is the one in Edge Impulse's ingestion documentation.
    """
    found = _FROM_NAME.match(name)
    return found[0].strip() if found else ""


def split_category(data: bytes | mmap.mmap) -> str:
    """Training or testing by the content's hash, 12 to 3: the rule of Edge Impulse's command line tools.

    Args:
        data: The file's bytes.
    """
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest().lstrip("f")
    return "training" if digest[:1] in "0123456789ab" else "testing"


def _category(asked: str, data: bytes | mmap.mmap) -> str:
    if asked == SPLIT:
        return split_category(data)
    return "post-processing" if asked == ANOMALY else asked


def _with_date_id(name: str) -> str:
    """The name with a unique suffix before its extension: the time in milliseconds and two random bytes."""
    stem, dot, extension = name.rpartition(".")
    unique = f"{time.time_ns() // 1_000_000:x}{secrets.token_hex(2)}"
    return f"{stem}.{unique}{dot}{extension}" if dot else f"{name}.{unique}"


def _with_info(asked: Asked, entry: Mapping[str, Any] | None) -> Asked:
    """What info.labels says of a file goes before what the request says of all."""
    if entry is None:
        return asked
    label, kind = entry.get("label"), None
    if isinstance(label, dict):
        kind, label = label.get("type"), label.get("label", "")
    if kind not in (None, "label", "unlabeled") or not isinstance(label, str | None):
        raise FileRefusedError(f"info.labels: a label of the type {kind} is not taken; images have one label")
    category = entry.get("category", asked.category)
    if category not in INGESTED:
        raise FileRefusedError(f"info.labels: there is no category '{category}'")
    boxes = entry.get("boundingBoxes")
    return replace(
        asked,
        label=asked.label if label is None else label[:MOST_LABEL],
        category=category,
        metadata={**asked.metadata, **read_metadata("info.labels", entry.get("metadata") or {})},
        boxes=asked.boxes if boxes is None else read_boxes("info.labels", boxes),
    )


def _info_entries(files: Sequence[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Entries of info.labels by the file name that they travel under."""
    for entry in files:
        if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
            raise RefusalError("info.labels: every file needs a path", 400)
        yield harmless_name(entry["path"]), entry


def _asked_label(headers: Mapping[str, str]) -> str | None:
    """The label in x-label, percent-decoded where that gives text; clients send it both ways.

    Raises:
        RefusalError: It is too long, or has control characters.
    """
    if "x-no-label" in headers:
        return ""
    raw = headers.get("x-label", "").encode("latin-1", "replace")
    try:
        label = unquote_to_bytes(raw).decode().strip()
    except UnicodeDecodeError:
        label = text_of(raw).strip()
    if not is_label(label):
        raise RefusalError(f"x-label has control characters, or more than {MOST_LABEL:,} characters", 400)
    return label or None


def is_label(text: str) -> bool:
    """Whether a label is short enough and has no control characters."""
    return len(text) <= MOST_LABEL and all(ord(character) >= 32 for character in text)


def _asked_metadata(text: str) -> Mapping[str, str]:
    return read_metadata("x-metadata", _header_json("x-metadata", text)) if text else {}


def read_metadata(where: str, value: Any, *, status: int = 400) -> dict[str, str]:
    """Metadata from JSON.

    Args:
        where: It stands, for the refusal.
        value: What stands there.
        status: Of the refusal.

    Raises:
        RefusalError: It is none.
    """
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise RefusalError(f"{where}: metadata is not a JSON object of strings", status)
    return value


def read_boxes(where: str, rows: Any, *, status: int = 400) -> tuple[BoundingBox, ...]:
    """Bounding boxes from JSON.

    Args:
        where: They stand, for the refusal.
        rows: What stands there.
        status: Of the refusal.

    Raises:
        RefusalError: They are none.
    """
    try:
        boxes = boxes_from(rows)
    except (TypeError, KeyError, ValueError, OverflowError):
        boxes = None
    if boxes is None or not all(box.label and box.width > 0 and box.height > 0 for box in boxes):
        raise RefusalError(f"{where}: bounding boxes need a label, x, y, and width and height above 0", status)
    return boxes


def _by_name(part: Part, content: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An object of a label file whose keys are file names."""
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise RefusalError(f"{part.filename}: {key} is not an object", 400)
    return {harmless_name(name): item for name, item in value.items()}


def _header_json(name: str, text: str) -> Any:
    return _parsed(name, text.encode("latin-1", "replace"))


def _json(name: str, raw: bytes) -> dict[str, Any]:
    content = _parsed(name, raw)
    if not isinstance(content, dict):
        raise RefusalError(f"{name} is not a JSON object", 400)
    return content


def _parsed(name: str, raw: bytes) -> Any:
    try:
        return read_strictly(text_of(raw))
    except ValueError:
        raise RefusalError(f"{name} is not JSON", 400) from None


def _text(value: str) -> str:
    return text_of(value.encode("latin-1", "replace"))


def _bytes_of(part: Part) -> bytes:
    return part.content.read_bytes() if isinstance(part.content, Path) else part.content


@contextmanager
def _opened(part: Part) -> Iterator[bytes | mmap.mmap]:
    """A part's bytes. Those of a file are mapped, not read: it may be large."""
    if not isinstance(part.content, Path):
        yield part.content
        return
    with part.content.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        yield mapped
