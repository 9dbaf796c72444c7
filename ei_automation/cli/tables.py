"""Rows that more than one command shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ei_automation.schema.metrics import Metrics
    from ei_automation.workflow.reproduce import SplitResult
    from ei_automation.workflow.verdict import VerdictRow


def metric_columns() -> tuple[str, ...]:
    """Of a table of metrics."""
    return ("variant", "category", ">samples", ">accuracy", "95 % interval", ">with threshold", ">loss")


def metric_row(item: Metrics) -> tuple[str, ...]:
    """One variant on one category."""
    low, high = item.accuracy_interval
    return (
        item.variant,
        item.category,
        f"{item.sample_count:,}",
        f"{item.accuracy:.2%}",
        f"{low:.1%} .. {high:.1%}",
        f"{item.with_threshold.accuracy:.2%}" if item.with_threshold else "not told",
        f"{item.loss:.3f}",
    )


def side_by_side(splits: Sequence[SplitResult]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows of a table with a column a split, and what each differs from the first."""
    columns = ("variant", "category", *(f">{split.name} ({split.method})" for split in splits))
    found = {
        (split.name, item.variant, item.category): item.accuracy for split in splits for item in split.metrics
    }
    rows = []
    for item in splits[0].metrics:
        cells = [f"{item.accuracy:.2%}"]
        for split in splits[1:]:
            other = found.get((split.name, item.variant, item.category))
            cells.append("" if other is None else f"{other:.2%} ({100 * (other - item.accuracy):+.1f})")
        rows.append((item.variant, item.category, *cells))
    return columns, rows


def verdict_columns() -> tuple[str, ...]:
    """Of the table of published numbers."""
    return ("metric", ">published", ">ours", "95 % interval", "verdict", "why")


def verdict_row(row: VerdictRow) -> tuple[str, ...]:
    """One published number beside ours."""
    interval = f"{row.interval[0]:.3f} .. {row.interval[1]:.3f}" if row.interval else ""
    return (
        row.name,
        "not given" if row.published is None else f"{row.published:.3f} ± {row.tolerance:g}",
        "" if row.ours is None else f"{row.ours:.3f}",
        interval,
        row.verdict.value,
        row.reason,
    )
