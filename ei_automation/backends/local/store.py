"""What the local backend remembers: samples, jobs with logs, settings, trainings and builds, in one SQLite file.

Sample contents stand beside it as files named by their hash, shared by all splits of a project.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ei_automation.files import ensure_folder, sha256_file, storage_errors
from ei_automation.schema.job import Job, JobLogLine, JobStatus
from ei_automation.schema.sample import BoundingBox, Category, Sample, StoredSample

DOING = "writing the project's state"

TABLES = """
CREATE TABLE IF NOT EXISTS samples (id INTEGER PRIMARY KEY AUTOINCREMENT, sha256 TEXT UNIQUE NOT NULL,
  name TEXT NOT NULL, label TEXT NOT NULL, category TEXT NOT NULL, origin TEXT NOT NULL, boxes TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, inputs TEXT NOT NULL,
  status TEXT NOT NULL, error TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS log (job_id INTEGER NOT NULL, line INTEGER NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY (job_id, line));
CREATE TABLE IF NOT EXISTS settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class Store:
    """The SQLite file and the sample contents. Safe to use from the job's thread and the caller's.

    Args:
        folder: Of this split: the database, trainings and builds.
        contents: Of the project: sample contents by hash.
    """

    def __init__(self, folder: Path, contents: Path) -> None:
        self.folder = ensure_folder(folder, DOING)
        self._contents = ensure_folder(contents, DOING)
        self._lock = threading.RLock()
        self._known: list[StoredSample] | None = None
        with storage_errors(folder, DOING):
            self._database = sqlite3.connect(
                folder / "state.sqlite", check_same_thread=False, isolation_level=None, timeout=30
            )
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.executescript(TABLES)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    def _query(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._lock, storage_errors(self.folder, DOING):
            return self._database.execute(statement, values).fetchall()

    def _many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        with self._lock, storage_errors(self.folder, DOING):
            self._database.execute("BEGIN")
            try:
                self._database.executemany(statement, rows)
                self._database.execute("COMMIT")
            except BaseException:
                self._database.execute("ROLLBACK")
                raise

    # Samples

    def samples(self, category: Category | None = None) -> list[StoredSample]:
        """Samples of a category, or all, by id. Read once: only this object writes them."""
        with self._lock:
            if self._known is None:
                self._known = self._read_samples()
            return [sample for sample in self._known if category in (None, sample.category)]

    def _read_samples(self) -> list[StoredSample]:
        query = "SELECT id, name, sha256, label, category, origin, boxes FROM samples ORDER BY id"
        return [
            StoredSample(
                number,
                name,
                sha,
                label,
                Category(place),
                group,
                tuple(BoundingBox(**box) for box in json.loads(boxes)) if boxes != "[]" else (),
            )
            for number, name, sha, label, place, group, boxes in self._query(query)
        ]

    def put_samples(self, samples: Iterable[Sample]) -> None:
        """Add samples, or correct what is known of their content."""
        self._many(
            "INSERT INTO samples (sha256, name, label, category, origin, boxes) VALUES (?,?,?,?,?,?)"
            " ON CONFLICT (sha256) DO UPDATE SET name = excluded.name, label = excluded.label,"
            " category = excluded.category, origin = excluded.origin, boxes = excluded.boxes",
            [
                (
                    sample.sha256,
                    sample.name,
                    sample.label,
                    sample.category.value,
                    sample.group,
                    json.dumps([asdict(box) for box in sample.bounding_boxes]),
                )
                for sample in samples
            ],
        )
        self._known = None

    def delete_samples(self, sample_ids: Iterable[int]) -> None:
        """Forget samples; their contents stay, for other splits."""
        self._many("DELETE FROM samples WHERE id = ?", [(number,) for number in sample_ids])
        self._known = None

    def content(self, sha256: str) -> Path:
        """Where a content is, or would be."""
        return self._contents / sha256[:2] / sha256

    def keep_content(self, sample: Sample) -> None:
        """Copy a sample's bytes, whole or not at all.

        Raises:
            ValueError: The file is no longer what was hashed.
            StorageError: The state folder cannot be written.
        """
        place = self.content(sample.sha256)
        if place.exists():
            return
        temporary = place.with_name(f".{place.name}.part")
        with storage_errors(place, DOING):
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(sample.path, temporary)
        if sha256_file(temporary) != sample.sha256:
            temporary.unlink()
            raise ValueError("the file changed while it was read")
        temporary.replace(place)

    # Settings

    def get(self, key: str) -> Any:
        """A stored value, or None."""
        rows = self._query("SELECT value FROM settings WHERE key = ?", (key,))
        return json.loads(rows[0][0]) if rows else None

    def set(self, key: str, value: Any) -> None:
        """Store a JSON value."""
        self._query("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, json.dumps(value)))

    # Jobs

    def new_job(self, kind: str, inputs: str) -> int:
        """A pending job's number."""
        with self._lock:
            cursor = self._database.execute(
                "INSERT INTO jobs (kind, inputs, status) VALUES (?, ?, ?)", (kind, inputs, JobStatus.PENDING.value)
            )
            number = cursor.lastrowid
        assert number is not None
        return number

    def set_status(self, job_id: int, status: JobStatus, error: str = "") -> None:
        """Move a job on."""
        self._query("UPDATE jobs SET status = ?, error = ? WHERE id = ?", (status.value, error, job_id))

    def job(self, job_id: int) -> Job | None:
        """A job, or None."""
        rows = self._query("SELECT id, kind, status, error FROM jobs WHERE id = ?", (job_id,))
        return Job(rows[0][0], rows[0][1], JobStatus(rows[0][2]), rows[0][3]) if rows else None

    def latest_job(self, kind: str) -> tuple[int, str, JobStatus] | None:
        """Number, inputs and status of the newest job of a kind."""
        rows = self._query("SELECT id, inputs, status FROM jobs WHERE kind = ? ORDER BY id DESC LIMIT 1", (kind,))
        return (rows[0][0], rows[0][1], JobStatus(rows[0][2])) if rows else None

    def successful_job(self, kind: str, inputs: str) -> int | None:
        """The newest successful job of a kind with these inputs."""
        rows = self._query(
            "SELECT id FROM jobs WHERE kind = ? AND inputs = ? AND status = ? ORDER BY id DESC LIMIT 1",
            (kind, inputs, JobStatus.SUCCESS.value),
        )
        return rows[0][0] if rows else None

    def abandon_jobs(self) -> None:
        """Jobs that a killed process left unfinished have failed."""
        self._query(
            "UPDATE jobs SET status = ?, error = ? WHERE status IN (?, ?)",
            (
                JobStatus.FAILED.value,
                "its process ended before it did",
                JobStatus.PENDING.value,
                JobStatus.RUNNING.value,
            ),
        )

    def add_log(self, job_id: int, text: str) -> None:
        """Append lines to a job's log."""
        with self._lock:
            for line in text.splitlines():
                self._database.execute(
                    "INSERT INTO log SELECT ?, coalesce(max(line), -1) + 1, ? FROM log WHERE job_id = ?",
                    (job_id, line, job_id),
                )

    def log(self, job_id: int, after: int) -> list[JobLogLine]:
        """Lines of a job's log after one."""
        query = "SELECT line, text FROM log WHERE job_id = ? AND line > ? ORDER BY line"
        return [JobLogLine(line, text) for line, text in self._query(query, (job_id, after))]
