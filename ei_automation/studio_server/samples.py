"""Samples: rows in the database, contents as files named by their hash. A row is written after its content."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ei_automation.files import fingerprint
from ei_automation.schema.sample import BoundingBox
from ei_automation.studio_api.samples import METADATA_GROUP, boxes_from, boxes_json
from ei_automation.studio_server.contents import Content, Contents
from ei_automation.studio_server.database import Database
from ei_automation.studio_server.projects import Projects
from ei_automation.studio_server.sample_filter import Filter

TABLES = """
CREATE TABLE IF NOT EXISTS samples (id INTEGER PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL,
  filename TEXT NOT NULL, extension TEXT NOT NULL, label TEXT NOT NULL, category TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  size_bytes INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, metadata TEXT NOT NULL,
  boxes TEXT NOT NULL, created REAL NOT NULL, modified REAL NOT NULL, device_type TEXT NOT NULL,
  disabled INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS samples_by_category ON samples (project_id, category, id);
CREATE INDEX IF NOT EXISTS samples_by_hash ON samples (project_id, sha256);
"""
COLUMNS = (
    "id, project_id, filename, extension, label, category, sha256, size_bytes, width, height, metadata, boxes,"
    " created, modified, device_type, disabled"
)
CATEGORIES = ("training", "testing", "validation", "post-processing")


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A sample as the local Studio keeps it.

    Attributes:
        sample_id: Its number; never given again.
        project_id: Whose it is.
        filename: As Studio shows it: without the last extension.
        extension: That extension with its dot, or empty.
        label: Its label; empty where it has none.
        category: One of `CATEGORIES`.
        sha256: Of the file's bytes.
        size_bytes: Of the file.
        width: Pixels as stored, before any EXIF rotation.
        height: Pixels.
        metadata: Free keys and values.
        boxes: Bounding boxes, pixels of the stored image.
        created: When it was added, seconds since 1970.
        modified: When it was last changed.
        device_type: What sent it.
        disabled: Left out of the data set.
    """

    sample_id: int
    project_id: int
    filename: str
    extension: str
    label: str
    category: str
    sha256: str
    size_bytes: int
    width: int
    height: int
    metadata: dict[str, str]
    boxes: tuple[BoundingBox, ...]
    created: float
    modified: float
    device_type: str
    disabled: bool

    @property
    def group(self) -> str:
        """What it was made from, where our client said so; else empty."""
        return self.metadata.get(METADATA_GROUP, "")


@dataclass(frozen=True, slots=True)
class NewSample:
    """A sample to be stored.

    Attributes:
        name: File name without a path.
        content: Its bytes, or a file in `Contents.incoming`, which is moved from there.
        sha256: Of the bytes.
        size_bytes: How many.
        width: Pixels.
        height: Pixels.
        label: Its label; empty for none.
        category: One of `CATEGORIES`.
        metadata: Free keys and values.
        boxes: Bounding boxes, pixels.
        device_type: What sent it.
    """

    name: str
    content: Content
    sha256: str
    size_bytes: int
    width: int
    height: int
    label: str
    category: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    boxes: tuple[BoundingBox, ...] = ()
    device_type: str = ""


@dataclass(frozen=True)
class Added:
    """A sample that was stored."""

    sample_id: int


@dataclass(frozen=True)
class Duplicate:
    """A sample that was not stored: the project has one with the same content, this one."""

    sample_id: int


class Samples:
    """The samples of all projects. Any thread may use it.

    Args:
        database: Has `TABLES`.
        projects: Knows the projects' folders.
    """

    def __init__(self, database: Database, projects: Projects) -> None:
        self._database, self._projects = database, projects
        self._turn = threading.Lock()
        self._contents: dict[int, Contents] = {}
        self._versions: Counter[int] = Counter()
        self._fingerprints: dict[int, tuple[int, str]] = {}

    def contents(self, project_id: int) -> Contents:
        """The content files of a project."""
        with self._turn:
            if project_id not in self._contents:
                self._contents[project_id] = Contents(self._projects.folder(project_id) / "samples")
            return self._contents[project_id]

    def content(self, row: SampleRow) -> Path:
        """The file with a sample's bytes."""
        return self.contents(row.project_id).place(row.sha256)

    # Adding

    def add(
        self, project_id: int, items: Sequence[NewSample], *, refuse_duplicates: bool
    ) -> list[Added | Duplicate]:
        """Store samples, all or none; they are on disk when this returns.

        Args:
            project_id: Where to.
            items: What to store.
            refuse_duplicates: Leave out content that the project has in any category, or that stands here twice.

        Returns:
            What became of each, in order.

        Raises:
            StorageError: The disk is full or read-only.
            RefusalError: There is no such project.
        """
        if not items:
            return []
        self.contents(project_id).keep((item.sha256, item.content) for item in items)
        now = time.time()
        with self._database.transaction() as connection:
            done = [_insert(connection, project_id, item, now, refuse_duplicates) for item in items]
            if any(isinstance(one, Added) for one in done):
                self._changed(project_id)
        return done

    def copy(self, from_id: int, to_id: int) -> int:
        """Add all samples of a project to another one, under new numbers.

        Returns:
            How many.
        """
        those = "project_id = ? AND id <= ?"  # a sample that comes meanwhile has no content there yet
        ((last,),) = self._database.query("SELECT coalesce(max(id), 0) FROM samples")
        hashes = self._database.query(f"SELECT DISTINCT sha256 FROM samples WHERE {those}", (from_id, last))
        self.contents(to_id).link((sha256 for (sha256,) in hashes), self.contents(from_id))
        others = COLUMNS.removeprefix("id, project_id,")
        with self._database.transaction() as connection:
            cursor = connection.execute(
                f"INSERT INTO samples (project_id,{others}) SELECT ?,{others} FROM samples"
                f" WHERE {those} ORDER BY id",
                (to_id, from_id, last),
            )
            self._changed(to_id)
            return cursor.rowcount

    # Looking

    def find(self, project_id: int, which: Filter = Filter()) -> list[SampleRow]:  # noqa: B008 - it is frozen
        """Samples that a filter means, newest first."""
        condition, values = which.condition(project_id)
        query = f"SELECT {COLUMNS} FROM samples WHERE {condition} {which.order()}"
        return [_sample_row(row) for row in self._database.query(query, values)]

    def get(self, project_id: int, sample_id: int) -> SampleRow | None:
        """One sample, or None."""
        return next(iter(self.find(project_id, Filter(ids=(sample_id,)))), None)

    def count(self, project_id: int, which: Filter = Filter()) -> int:  # noqa: B008 - it is frozen
        """How many samples a filter means; its page does not matter."""
        condition, values = which.condition(project_id)
        ((number,),) = self._database.query(f"SELECT count(*) FROM samples WHERE {condition}", values)
        return int(number)

    def summary(self, project_id: int, which: Filter = Filter()) -> dict[tuple[str, str], int]:  # noqa: B008
        """Number of samples by category and label."""
        condition, values = which.condition(project_id)
        query = f"SELECT category, label, count(*) FROM samples WHERE {condition} GROUP BY 1, 2 ORDER BY 1, 2"
        return {(category, label): count for category, label, count in self._database.query(query, values)}

    def metadata_values(self, project_id: int, which: Filter = Filter()) -> dict[str, list[str]]:  # noqa: B008
        """Every metadata key of some samples with its values, sorted."""
        condition, values = which.condition(project_id)
        rows = self._database.query(
            f"SELECT DISTINCT entry.key, entry.atom FROM (SELECT metadata FROM samples WHERE {condition}) chosen,"
            " json_each(chosen.metadata) entry ORDER BY 1, 2",
            values,
        )
        found: dict[str, list[str]] = {}
        for key, value in rows:
            found.setdefault(key, []).append(value)
        return found

    def learning_fingerprint(self, project_id: int) -> str:
        """Of what a training sees: contents, labels, categories, groups of enabled training, validation data."""
        version = self._versions[project_id]
        known = self._fingerprints.get(project_id)
        if known is None or known[0] != version:
            rows = self._database.query(
                "SELECT sha256, label, category, coalesce(json_extract(metadata, ?), '') FROM samples"
                " WHERE project_id = ? AND NOT disabled AND category IN ('training', 'validation')"
                " ORDER BY sha256, id",
                (f'$."{METADATA_GROUP}"', project_id),
            )
            known = self._fingerprints[project_id] = (version, fingerprint(rows))
        return known[1]

    # Changing; each returns how many samples it meant

    def delete(self, project_id: int, which: Filter) -> int:
        """Forget samples. Their contents stay, as in Studio's cold storage."""
        condition, values = which.condition(project_id)
        return self._change(project_id, f"DELETE FROM samples WHERE {condition}", values)

    def relabel(self, project_id: int, which: Filter, label: str) -> int:
        """Set the label; empty takes it away."""
        return self._update(project_id, which, "label = ?", (label,))

    def move(self, project_id: int, which: Filter, category: str) -> int:
        """Set the category."""
        return self._update(project_id, which, "category = ?", (category,))

    def distribute(self, project_id: int, categories: Mapping[int, str]) -> None:
        """Set the category of each sample."""
        now = time.time()
        with self._database.transaction() as connection:
            connection.executemany(
                "UPDATE samples SET category = ?, modified = ? WHERE project_id = ? AND id = ? AND category != ?",
                [(category, now, project_id, number, category) for number, category in categories.items()],
            )
            self._changed(project_id)

    def rename(self, project_id: int, which: Filter, filename: str) -> int:
        """Set the file name as Studio shows it."""
        return self._update(project_id, which, "filename = ?", (filename,))

    def set_boxes(self, project_id: int, which: Filter, boxes: Iterable[BoundingBox]) -> int:
        """Set the bounding boxes."""
        return self._update(project_id, which, "boxes = ?", (_boxes_text(boxes),))

    def relabel_boxes(self, project_id: int, which: Filter, old: Iterable[str], new: str) -> int:
        """Give bounding boxes another label; an empty one takes the boxes away."""
        old = frozenset(old)
        with self._database.transaction() as connection:
            rows = self.find(project_id, which)
            changes = [(_boxes_text(_relabelled(row.boxes, old, new)), time.time(), row.sample_id) for row in rows]
            connection.executemany("UPDATE samples SET boxes = ?, modified = ? WHERE id = ?", changes)
            self._changed(project_id)
        return len(rows)

    def set_metadata(self, project_id: int, which: Filter, metadata: Mapping[str, str]) -> int:
        """Set the metadata to exactly this."""
        return self._update(project_id, which, "metadata = ?", (_metadata_text(metadata),))

    def add_metadata(self, project_id: int, which: Filter, key: str, value: str) -> int:
        """Set one metadata key."""
        return self._update(project_id, which, "metadata = json_patch(metadata, json_object(?, ?))", (key, value))

    def clear_metadata(self, project_id: int, which: Filter, key: str | None = None) -> int:
        """Take one metadata key away, or all."""
        if key is None:
            return self._update(project_id, which, "metadata = ?", ("{}",))
        return self._update(project_id, which, "metadata = json_patch(metadata, json_object(?, NULL))", (key,))

    def enable(self, project_id: int, which: Filter) -> int:
        """Count as part of the data set again."""
        return self._update(project_id, which, "disabled = ?", (0,))

    def disable(self, project_id: int, which: Filter) -> int:
        """Leave out of the data set."""
        return self._update(project_id, which, "disabled = ?", (1,))

    def _update(self, project_id: int, which: Filter, assignment: str, values: Sequence[object]) -> int:
        condition, meant = which.condition(project_id)
        statement = f"UPDATE samples SET {assignment}, modified = ? WHERE {condition}"
        return self._change(project_id, statement, (*values, time.time(), *meant))

    def _change(self, project_id: int, statement: str, values: Sequence[object]) -> int:
        with self._database.transaction() as connection:
            count = connection.execute(statement, values).rowcount
            if count:
                self._changed(project_id)
        return count

    def _changed(self, project_id: int) -> None:
        """Part of every transaction that changes samples: others read only after it ends."""
        self._projects.touch(project_id)
        self._versions[project_id] += 1


def _insert(
    connection: sqlite3.Connection, project_id: int, item: NewSample, now: float, refuse_duplicates: bool
) -> Added | Duplicate:
    if refuse_duplicates:
        found = connection.execute(
            "SELECT id FROM samples WHERE project_id = ? AND sha256 = ? LIMIT 1", (project_id, item.sha256)
        ).fetchone()
        if found:
            return Duplicate(found[0])
    stem, dot, ending = item.name.rpartition(".")
    values = (
        project_id,
        stem or item.name,
        dot + ending if stem else "",
        item.label,
        item.category,
        item.sha256,
        item.size_bytes,
        item.width,
        item.height,
        _metadata_text(item.metadata),
        _boxes_text(item.boxes),
        now,
        now,
        item.device_type,
        0,
    )
    columns = COLUMNS.removeprefix("id, ")
    cursor = connection.execute(f"INSERT INTO samples ({columns}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", values)
    assert cursor.lastrowid is not None
    return Added(cursor.lastrowid)


def _sample_row(row: tuple[Any, ...]) -> SampleRow:
    boxes = () if row[11] == "[]" else boxes_from(json.loads(row[11]))
    values = [*row[:10], json.loads(row[10]), boxes, *row[12:15], bool(row[15])]
    return SampleRow(*values)


def _relabelled(boxes: Iterable[BoundingBox], old: frozenset[str], new: str) -> list[BoundingBox]:
    changed = (BoundingBox(new, box.x, box.y, box.width, box.height) if box.label in old else box for box in boxes)
    return [box for box in changed if box.label]


def _metadata_text(metadata: Mapping[str, str]) -> str:
    return json.dumps(dict(metadata), ensure_ascii=False) if metadata else "{}"


def _boxes_text(boxes: Iterable[BoundingBox]) -> str:
    return json.dumps(boxes_json(boxes), ensure_ascii=False)
