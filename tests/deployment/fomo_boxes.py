"""FOMO's boxes as Edge Impulse's inferencing SDK merges cells, written for the tests from its behaviour."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Span = list[int]


def _touch(one: Span, other: Span) -> bool:
    """Whether two spans (start, length) touch along an axis."""
    return one[0] <= other[0] + other[1] and other[0] <= one[0] + one[1]


def _stretch(one: Span, other: Span) -> None:
    """Take a span in. The start moves without the length; the end is then brought as far as it must be."""
    end = other[0] + other[1]
    one[0] = min(one[0], other[0])
    one[1] = max(one[1], end - one[0])


def _absorbed(box: dict[str, Any], by: list[dict[str, Any]]) -> bool:
    """Merge a box into the first of some that it touches."""
    for other in by:
        if other["label"] == box["label"] and all(_touch(other[axis], box[axis]) for axis in "xy"):
            for axis in "xy":
                _stretch(other[axis], box[axis])
            other["value"] = max(other["value"], box["value"])
            return True
    return False


def find_boxes(
    scores: NDArray[np.float32], labels: tuple[str, ...], threshold: float, cell: tuple[int, int]
) -> list[dict[str, Any]]:
    """The boxes of a grid.

    Args:
        scores: float32, (rows, columns, 1 + labels); the first score of a cell is the background's.
        labels: Without the background.
        threshold: Least score of a cell.
        cell: Height and width of a cell, pixels.
    """
    joined: list[dict[str, Any]] = []
    for row, column, label in np.ndindex(*scores.shape[:2], len(labels)):
        value = scores[row, column, label + 1]
        box = {"label": labels[label], "x": [column, 1], "y": [row, 1], "value": value}
        if value >= np.float32(threshold) and not _absorbed(box, joined):
            joined.append(box)
    kept: list[dict[str, Any]] = []
    found = []
    for box in joined:
        if not _absorbed(box, kept):
            found.append(_in_pixels(box, cell))
            kept.append(box)
    return found


def _in_pixels(box: dict[str, Any], cell: tuple[int, int]) -> dict[str, Any]:
    (x, width), (y, height) = box["x"], box["y"]
    return {
        "label": box["label"],
        "value": float(box["value"]),
        "x": x * cell[1],
        "y": y * cell[0],
        "width": width * cell[1],
        "height": height * cell[0],
    }
