"""What the audit of a data set found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["set-aside", "warning", "note"]


@dataclass(frozen=True)
class ImageFacts:
    """What one decoding of an image told.

    Attributes:
        sha256: Of the file's bytes.
        width: Pixels; 0 when it could not be read.
        height: Pixels; 0 when it could not be read.
        mode: Pillow's mode, e.g. RGB, L, RGBA; empty when it could not be read.
        perceptual_hash: 64-bit pHash; None when it could not be read.
        problem: Why it cannot be used: empty, unreadable, truncated, wrong-mode; empty when it can.
        detail: The decoder's words.
    """

    sha256: str
    width: int = 0
    height: int = 0
    mode: str = ""
    perceptual_hash: int | None = None
    problem: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Finding:
    """One finding of the audit.

    Attributes:
        code: unreadable, truncated, empty, tiny, wrong-mode, duplicate, duplicate-across-labels,
            near-duplicate-across-labels, leak, near-leak, group-leak, groups-whole, augmented-set, ungrouped,
            imbalance, converted-mode, ignored.
        severity: set-aside (the named samples are left out), warning or note.
        message: One sentence with the numbers.
        samples: Names of the samples concerned, sorted; may be cut to the first ones.
        count: How many samples are concerned in all.
    """

    code: str
    severity: Severity
    message: str
    samples: tuple[str, ...] = ()
    count: int = 0
