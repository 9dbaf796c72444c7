"""Samples: one labelled image each."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Category(StrEnum):
    """Studio's data categories. Validation is part of training unless the source sets it apart."""

    TRAINING = "training"
    VALIDATION = "validation"
    TESTING = "testing"


@dataclass(frozen=True, slots=True)
class BoundingBox:
    """An object in an image.

    Attributes:
        label: Its label.
        x: Left edge, pixels from the image's left.
        y: Top edge, pixels from the image's top.
        width: Pixels.
        height: Pixels.
    """

    label: str
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SourceSample:
    """A labelled file as a reader found it.

    Attributes:
        path: The file.
        name: Its path inside the data set, with `/`, e.g. `TRAIN/MONOCYTE/_0_207.jpeg`.
        label: After the manifest's mapping.
        category: The source's own category, or None where it has none.
    """

    path: Path
    name: str
    label: str
    category: Category | None = None
    bounding_boxes: tuple[BoundingBox, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample with its place in the project; what a backend takes.

    Attributes:
        path: The image file.
        name: Its path inside the data set.
        sha256: Of the file's bytes.
        label: Its label.
        category: Where it belongs.
        group: What it was made from (patient, original image); empty when not known.
        bounding_boxes: Objects, for detection projects.
    """

    path: Path
    name: str
    sha256: str
    label: str
    category: Category
    group: str = ""
    bounding_boxes: tuple[BoundingBox, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredSample:
    """A sample as the backend holds it.

    Attributes:
        sample_id: The backend's number, from 1.
        name: Path inside the data set.
        sha256: Of the file's bytes.
        label: Its label.
        category: Its category.
        group: What it was made from; empty when not known.
        bounding_boxes: Objects, for detection projects.
        disabled: Left out of trainings by whoever disabled it.
    """

    sample_id: int
    name: str
    sha256: str
    label: str
    category: Category
    group: str = ""
    bounding_boxes: tuple[BoundingBox, ...] = ()
    disabled: bool = False


@dataclass(frozen=True)
class UploadReport:
    """What an upload did, file by file.

    Attributes:
        added: Names that are new.
        present: Names that were there already: success, not an error.
        changed: Names whose label or category was corrected.
        failed: Name to reason.
    """

    added: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
