"""Dividing a project's samples into training, validation and testing, the same way every time.

Studio says what its split does (ratios, balance, what stays together), not how; this is our own way of doing it.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ei_automation.studio_server.call import RefusalError
from ei_automation.studio_server.samples import SampleRow

SPLIT_CATEGORIES = ("training", "validation", "testing")
RATIO_SLACK = 0.001
"""How far the ratios' sum may be from 1."""
NO_VALUE = "-"


@dataclass(frozen=True)
class SplitOptions:
    """What a split shall be.

    Attributes:
        ratios: Of each category, 0..1, their sum 1.
        exclude_disabled: Disabled samples keep their category.
        by_label: Every label has these ratios.
        by_metadata: Metadata keys; every combination of their values has these ratios.
        together: Metadata keys; samples that share a value of one of them are in one category.
    """

    ratios: Mapping[str, float]
    exclude_disabled: bool = False
    by_label: bool = False
    by_metadata: tuple[str, ...] = ()
    together: tuple[str, ...] = ()


def split_options(body: Mapping[str, Any]) -> SplitOptions:
    """Read a DatasetSplitOptions.

    Raises:
        RefusalError: It is none, or its ratios do not make a whole.
    """
    ratios = {category: _ratio(body, f"{category}SplitRatio") for category in SPLIT_CATEGORIES}
    if abs(sum(ratios.values()) - 1) > RATIO_SLACK:
        raise RefusalError("trainingSplitRatio, testingSplitRatio and validationSplitRatio must add up to 1")
    balance = body.get("stratifyBy") or {}
    if not isinstance(balance, dict):
        raise RefusalError("Missing or invalid value for 'stratifyBy'")
    return SplitOptions(
        ratios=ratios,
        exclude_disabled=bool(body.get("excludeDisabledSamples")),
        by_label=bool(balance.get("label")),
        by_metadata=_keys(balance, "metadataKeys"),
        together=_keys(body, "keepTogetherMetadataKeys"),
    )


def _ratio(body: Mapping[str, Any], name: str) -> float:
    value = body.get(name) or 0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise RefusalError(f"Missing or invalid value for '{name}', expected 0 to 1")
    return float(value)


def _keys(body: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = body.get(name) or []
    if not isinstance(value, list) or not all(isinstance(key, str) for key in value):
        raise RefusalError(f"Missing or invalid value for '{name}'")
    return tuple(value)


def split_samples(rows: Sequence[SampleRow], options: SplitOptions) -> dict[int, str]:
    """The category of every sample that takes part.

    Groups that stay together are placed one after the other, large ones first, each where its kinds of samples are
    missing most. Samples of no group are groups of one. What order remains is that of the contents' hashes.

    Args:
        rows: All samples; post-processing data takes no part.
        options: What is wanted.
    """
    rows = taking_part(rows, options)
    strata = {row.sample_id: stratum(row, options) for row in rows}
    sizes = Counter(strata.values())
    missing = {
        name: {category: ratio * size for category, ratio in options.ratios.items()}
        for name, size in sizes.items()
    }
    placed: dict[int, str] = {}
    for group in sorted(groups(rows, options.together), key=_group_order):
        kinds = Counter(strata[row.sample_id] for row in group)
        category = max(
            (name for name, ratio in options.ratios.items() if ratio > 0),
            key=lambda name: sum(missing[kind][name] * count for kind, count in kinds.items()),
        )
        for kind, count in kinds.items():
            missing[kind][category] -= count
        placed.update({row.sample_id: category for row in group})
    return placed


def taking_part(rows: Sequence[SampleRow], options: SplitOptions) -> list[SampleRow]:
    """Samples that a split moves."""
    return [
        row for row in rows if row.category in SPLIT_CATEGORIES and not (row.disabled and options.exclude_disabled)
    ]


def stratum(row: SampleRow, options: SplitOptions) -> str:
    """What a sample counts as in the balance, for people to read."""
    parts = [_label(row)] if options.by_label else []
    parts += [row.metadata.get(key, NO_VALUE) for key in options.by_metadata]
    return ", ".join(parts) or "all samples"


def groups(rows: Sequence[SampleRow], keys: Sequence[str]) -> list[list[SampleRow]]:
    """Samples that are connected by a shared value of one of the keys, directly or through others."""
    parents = {row.sample_id: row.sample_id for row in rows}

    def root(number: int) -> int:
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    first: dict[tuple[str, str], int] = {}
    for row in rows:
        for key in keys:
            if key in row.metadata:
                other = first.setdefault((key, row.metadata[key]), row.sample_id)
                parents[root(row.sample_id)] = root(other)
    found: dict[int, list[SampleRow]] = defaultdict(list)
    for row in rows:
        found[root(row.sample_id)].append(row)
    return list(found.values())


def preview(rows: Sequence[SampleRow], options: SplitOptions) -> dict[str, Any]:
    """What a split would do, as schema DatasetSplitPreview has it."""
    placed, rows = split_samples(rows, options), taking_part(rows, options)
    balance = (
        [_section("Label", "Label", [(_label(row), row) for row in rows], placed)] if options.by_label else []
    )
    balance += [
        _section(key, key, [(row.metadata.get(key, NO_VALUE), row) for row in rows], placed)
        for key in options.by_metadata
    ]
    if options.together:
        title, key = "Kept together", ", ".join(options.together)
        named = [(", ".join(row.metadata.get(name, NO_VALUE) for name in options.together), row) for row in rows]
    else:
        title, key = "Samples", "Group"
        named = [(stratum(row, options), row) for row in rows]
    return {"assignmentPreview": _section(title, key, named, placed), "balancePreviews": balance}


def _section(
    title: str, key: str, named: Sequence[tuple[str, SampleRow]], placed: Mapping[int, str]
) -> dict[str, Any]:
    totals = Counter(name for name, _ in named)
    counts = Counter((name, placed[row.sample_id]) for name, row in named)
    rows = [
        {
            "stratValue": name,
            "splitCategory": category,
            "sampleCount": counts[name, category],
            "percentWithinGroup": round(100 * counts[name, category] / total, 2),
        }
        for name, total in sorted(totals.items())
        for category in SPLIT_CATEGORIES
        if counts[name, category]
    ]
    return {"title": title, "summary": f"{len(named):,} samples", "keyLabel": key, "rows": rows}


def _label(row: SampleRow) -> str:
    return row.label or ", ".join(sorted({box.label for box in row.boxes})) or NO_VALUE


def _group_order(group: Sequence[SampleRow]) -> tuple[int, str]:
    """Large groups first; among equals by what is in them, so that neither id nor order of upload matters."""
    names = sorted(f"{row.sha256} {row.filename}" for row in group)
    return -len(group), hashlib.sha256("\n".join(names).encode()).hexdigest()
