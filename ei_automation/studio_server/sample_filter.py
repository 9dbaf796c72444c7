"""Which samples are meant: the filters of Studio's raw-data operations as one SQL condition."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

EVERYTHING = "all"
"""The category that stands for all of them."""


@dataclass(frozen=True)
class MetadataRule:
    """One item of the metadata filter.

    Attributes:
        key: Metadata key.
        equal: True: one of the values matches; False: none does.
        values: Empty: any value of the key.
    """

    key: str
    equal: bool
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class MetadataFilter:
    """The metadata filter of a listing.

    Attributes:
        rules: Its items.
        any_rule: False: every rule must match. True: one is enough, and a sample that has metadata but none of the
            rules' keys is meant too, as Studio describes its "or".
        without_metadata: True: samples without metadata are meant as well; False: they are not; None: as the
            rules say.
    """

    rules: tuple[MetadataRule, ...] = ()
    any_rule: bool = False
    without_metadata: bool | None = None


@dataclass(frozen=True)
class Filter:
    """Which samples of a project are meant; what is not given does not restrict.

    Attributes:
        category: One category; None or "all" for every one.
        labels: One of these labels, or a bounding box with one of them.
        filename: Part of the file name.
        search: Part of the file name or label.
        ids: These samples only.
        exclude_ids: Not these.
        min_id: This id or a greater one.
        max_id: A smaller id than this.
        min_date: Added after this moment, seconds since 1970.
        max_date: Added before it.
        min_label: A label that is this number or a greater one.
        max_label: A label that is a smaller number than this.
        disabled: True only disabled samples, False only enabled ones.
        metadata: By metadata.
        nothing: No sample at all: something was asked for that no image has.
        limit: At most so many; None for all.
        offset: So many are left out first.
        shuffled: In an order that looks random and is always the same; else newest first.
    """

    category: str | None = None
    labels: tuple[str, ...] | None = None
    filename: str = ""
    search: str = ""
    ids: tuple[int, ...] | None = None
    exclude_ids: tuple[int, ...] = ()
    min_id: int | None = None
    max_id: int | None = None
    min_date: float | None = None
    max_date: float | None = None
    min_label: float | None = None
    max_label: float | None = None
    disabled: bool | None = None
    metadata: MetadataFilter | None = None
    nothing: bool = False
    limit: int | None = None
    offset: int = 0
    shuffled: bool = False

    def condition(self, project_id: int) -> tuple[str, list[Any]]:
        """What follows WHERE, and its values."""
        parts: list[tuple[str, list[Any]]] = [("project_id = ?", [project_id])]
        if self.category not in (None, EVERYTHING):
            parts.append(("category = ?", [self.category]))
        if self.labels is not None:
            parts.append(_labelled(self.labels))
        if self.ids is not None:
            parts.append(("id IN (SELECT value FROM json_each(?))", [json.dumps(self.ids)]))
        if self.exclude_ids:
            parts.append(("id NOT IN (SELECT value FROM json_each(?))", [json.dumps(self.exclude_ids)]))
        if self.metadata is not None:
            parts.append(_by_metadata(self.metadata))
        parts += self._ranges()
        return " AND ".join(text for text, _ in parts), [value for _, values in parts for value in values]

    def _ranges(self) -> list[tuple[str, list[Any]]]:
        """The conditions that compare one column with one value."""
        asked: list[tuple[str, Any]] = [
            ("id >= ?", self.min_id),
            ("id < ?", self.max_id),
            ("created > ?", self.min_date),
            ("created < ?", self.max_date),
            ("CAST(label AS REAL) >= ?", self.min_label),
            ("CAST(label AS REAL) < ?", self.max_label),
            ("disabled = ?", self.disabled),
            ("instr(lower(filename), lower(?)) > 0", self.filename or None),
        ]
        parts = [(text, [value]) for text, value in asked if value is not None]
        if self.search:
            words = "(instr(lower(filename), lower(?)) > 0 OR instr(lower(label), lower(?)) > 0)"
            parts.append((words, [self.search, self.search]))
        if self.nothing:
            parts.append(("0", []))
        return parts

    def order(self) -> str:
        """What follows the condition: order and page. 2654435761 is Knuth's multiplier for hashing numbers."""
        column = "(id * 2654435761) % 4294967296" if self.shuffled else "id DESC"
        limit = -1 if self.limit is None else max(self.limit, 0)
        return f"ORDER BY {column} LIMIT {limit} OFFSET {max(self.offset, 0)}"


def _labelled(labels: Sequence[str]) -> tuple[str, list[Any]]:
    wanted = json.dumps(list(labels))
    return (
        "(label IN (SELECT value FROM json_each(?)) OR (boxes != '[]' AND EXISTS"
        " (SELECT 1 FROM json_each(boxes) one WHERE json_extract(one.value, '$.label') IN"
        " (SELECT value FROM json_each(?)))))",
        [wanted, wanted],
    )


def _by_metadata(asked: MetadataFilter) -> tuple[str, list[Any]]:
    parts = [_by_rule(rule) for rule in asked.rules]
    if asked.any_rule and asked.rules:
        keys = json.dumps([rule.key for rule in asked.rules])
        others = (
            "(metadata != '{}' AND NOT EXISTS (SELECT 1 FROM json_each(metadata) entry"
            " WHERE entry.key IN (SELECT value FROM json_each(?))))"
        )
        parts.append((others, [keys]))
    word = " OR " if asked.any_rule else " AND "
    values = [value for _, found in parts for value in found]
    condition = f"({word.join(text for text, _ in parts)})" if parts else "1"
    if asked.without_metadata is None:
        return condition, values
    if asked.without_metadata:
        return (f"({condition} OR metadata = '{{}}')" if parts else "metadata = '{}'"), values
    return f"({condition} AND metadata != '{{}}')", values


def _by_rule(rule: MetadataRule) -> tuple[str, list[Any]]:
    text, values = "entry.key = ?", [rule.key]
    if rule.values:
        text += " AND entry.atom IN (SELECT value FROM json_each(?))"
        values.append(json.dumps(rule.values))
    found = f"EXISTS (SELECT 1 FROM json_each(metadata) entry WHERE {text})"
    return (found if rule.equal else f"NOT {found}"), values
