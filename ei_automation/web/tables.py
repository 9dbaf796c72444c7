"""Confusion matrices and counts as the report's tables show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ei_automation.schema.metrics import UNCERTAIN, Metrics


@dataclass(frozen=True)
class Cell:
    """A cell of a confusion matrix.

    Attributes:
        count: Samples.
        ratio: Of the row's samples, 0..1.
        kind: right, wrong or uncertain.
    """

    count: int
    ratio: float
    kind: str


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix.

    Attributes:
        metrics: What it is of.
        columns: Predicted labels, and uncertain for testing.
        rows: Actual label, its samples, its cells.
        threshold: The one it is counted with; None without.
        accuracy: With that threshold where there is one, 0..1.
    """

    metrics: Metrics
    columns: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[Cell, ...]], ...]
    threshold: float | None
    accuracy: float


def confusion(metrics: Metrics) -> Matrix:
    """The matrix to show: testing with the threshold, as Studio's model testing does; validation without."""
    counted = metrics.with_threshold if metrics.category == "testing" else None
    matrix = counted.confusion_matrix if counted else metrics.confusion_matrix
    return Matrix(
        metrics=metrics,
        columns=(*metrics.labels, UNCERTAIN) if counted else tuple(metrics.labels),
        rows=tuple(
            (label, sum(counts), _cells(counts, index, len(metrics.labels)))
            for index, (label, counts) in enumerate(zip(metrics.labels, matrix, strict=True))
        ),
        threshold=counted.threshold if counted else None,
        accuracy=counted.accuracy if counted else metrics.accuracy,
    )


def _cells(counts: Sequence[int], actual: int, uncertain: int) -> tuple[Cell, ...]:
    """The cells of one actual label."""
    total = sum(counts) or 1
    kinds = {actual: "right", uncertain: UNCERTAIN}
    return tuple(Cell(count, count / total, kinds.get(column, "wrong")) for column, count in enumerate(counts))


@dataclass(frozen=True)
class CountTable:
    """Samples by label and category.

    Attributes:
        categories: Columns.
        rows: Label, and its samples in each category.
        totals: Samples of each category.
        largest: The largest number in a cell, for the bars.
    """

    categories: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    totals: tuple[int, ...]
    largest: int


def count_table(counts: Mapping[str, Mapping[str, int]], labels: Sequence[str]) -> CountTable:
    """Categories in the order of use, labels in the model's order and any others after them."""
    usual = ("training", "validation", "testing")
    categories = (*(name for name in usual if name in counts), *sorted(set(counts) - set(usual)))
    others = sorted({label for by_label in counts.values() for label in by_label} - set(labels))
    rows = tuple(
        (label, tuple(counts[category].get(label, 0) for category in categories)) for label in (*labels, *others)
    )
    return CountTable(
        categories=categories,
        rows=rows,
        totals=tuple(sum(counts[category].values()) for category in categories),
        largest=max((number for _, numbers in rows for number in numbers), default=0) or 1,
    )


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested tables as dotted names, in order."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
            rows += flatten({str(index): item for index, item in enumerate(value)}, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", "not set" if value is None else str(value)))
    return rows
