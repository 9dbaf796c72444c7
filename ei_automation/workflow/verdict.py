"""Published numbers beside ours, with a verdict that knows how small a test set is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ei_automation.schema.lock import MAIN_SPLIT, Lock
from ei_automation.schema.manifest import Manifest, PublishedMetric
from ei_automation.schema.metrics import WEIGHTED_AVERAGE, Metrics

SAME_DATA_RATIO = 0.01
"""Share of the published sample count by which ours may differ: some files are refused or set aside."""


class Verdict(StrEnum):
    """How our number stands to the published one.

    reproduced: within the tolerance, and no further off than chance explains. within tolerance: within the
    tolerance, though a test set of this size says the two differ. differs: outside the tolerance, and more
    than chance explains. not comparable: no number on one side, other data, or a test set too small to tell.
    """

    REPRODUCED = "reproduced"
    WITHIN_TOLERANCE = "within tolerance"
    DIFFERS = "differs"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class VerdictRow:
    """One published number.

    Attributes:
        name: Metric, variant, category (and label).
        published: As a ratio; None where the source shows it only in a picture.
        tolerance: Absolute.
        ours: None where nothing was measured.
        interval: 95 % Wilson interval of ours; None for metrics that are no counts.
        sample_count: Samples behind ours.
        verdict: The verdict.
        reason: Why, where it is not plain.
        source: Where the source says it.
    """

    name: str
    published: float | None
    tolerance: float
    ours: float | None
    interval: tuple[float, float] | None
    sample_count: int
    verdict: Verdict
    reason: str
    source: str


def judge(manifest: Manifest, lock: Lock) -> list[VerdictRow]:
    """A verdict on every published number, measured on the main split."""
    if manifest.published is None:
        return []
    split = lock.splits.get(MAIN_SPLIT)
    metrics = split.metrics if split else []
    reason = _other_data(manifest, lock)
    return [judge_metric(published, metrics, reason) for published in manifest.published.metrics]


def _other_data(manifest: Manifest, lock: Lock) -> str:
    """Why the data cannot be held against the published ones; empty when they can."""
    wanted = manifest.published.sample_count if manifest.published else None
    if wanted and lock.samples and abs(len(lock.samples) - wanted) > SAME_DATA_RATIO * wanted:
        return f"other data: {len(lock.samples):,} samples, published with {wanted:,}"
    return ""


def judge_metric(published: PublishedMetric, metrics: Sequence[Metrics], other_data: str = "") -> VerdictRow:
    """A verdict on one published number.

    Args:
        published: What the source states.
        metrics: What was measured.
        other_data: Why the data are not those of the source; empty when they are.
    """
    found = next(
        (item for item in metrics if (item.variant, item.category) == (published.variant, published.category)),
        None,
    )
    ours = _value(published, found) if found else None
    count = found.sample_count if found else 0
    interval = _interval(published, found) if found else None
    verdict, reason = _decide(published, ours, interval, count)
    if published.not_comparable or other_data:
        verdict, reason = Verdict.NOT_COMPARABLE, published.not_comparable or other_data
    label = f" of {published.label}" if published.label else ""
    name = published.metric.replace("_", " ") + label
    return VerdictRow(
        f"{name}, {published.variant}, {published.category}",
        published.value,
        published.tolerance,
        ours,
        interval,
        count,
        verdict,
        reason,
        published.source,
    )


def _decide(
    published: PublishedMetric, ours: float | None, interval: tuple[float, float] | None, count: int
) -> tuple[Verdict, str]:
    if published.value is None:
        return Verdict.NOT_COMPARABLE, "the source gives no readable number"
    if ours is None:
        unknown = f"; no label is called {published.label}" if count and published.label else ""
        return Verdict.NOT_COMPARABLE, f"nothing was measured for it{unknown}"
    near = abs(ours - published.value) <= published.tolerance
    explained = interval is not None and interval[0] <= published.value <= interval[1]
    if near and (explained or interval is None):
        return Verdict.REPRODUCED, ""
    if near:
        return Verdict.WITHIN_TOLERANCE, f"{count:,} samples tell the two apart"
    if explained:
        return Verdict.NOT_COMPARABLE, f"{count:,} samples are too few to tell"
    return Verdict.DIFFERS, f"{ours - published.value:+.3f}"


def _value(published: PublishedMetric, found: Metrics) -> float | None:
    if published.metric == "accuracy_with_threshold":
        return found.with_threshold.accuracy if found.with_threshold else None
    if published.metric == "f1_score":
        report = found.report.get(published.label or WEIGHTED_AVERAGE)
        return report.f1_score if report else None
    value = getattr(found, published.metric)
    return None if value is None else float(value)


def _interval(published: PublishedMetric, found: Metrics) -> tuple[float, float] | None:
    """Of the metrics that count correct samples; for the others a Wilson interval does not hold."""
    if published.metric == "accuracy":
        return found.accuracy_interval
    counted = found.with_threshold if published.metric == "accuracy_with_threshold" else None
    return counted.accuracy_interval if counted else None
