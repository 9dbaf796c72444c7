"""What the local backend remembers: samples, jobs with logs, settings, trainings and builds, in one SQLite file.

Sample contents stand beside it as files named by their hash, shared by all splits of a project. Size and time
that each was left with are remembered: one that is no longer so counts as lost until it is kept again.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ei_automation.files import (
    damaged_file,
    ensure_folder,
    open_database,
    sha256_bytes,
    sha256_file,
    storage_errors,
)
from ei_automation.schema.job import Job, JobLogLine, JobStatus
from ei_automation.schema.sample import BoundingBox, Category, Sample, StoredSample

DOING = "writing the project's state"

OPENING = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
TABLES = """
CREATE TABLE IF NOT EXISTS samples (id INTEGER PRIMARY KEY AUTOINCREMENT, sha256 TEXT UNIQUE NOT NULL,
  name TEXT NOT NULL, label TEXT NOT NULL, category TEXT NOT NULL, origin TEXT NOT NULL, boxes TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS contents (sha256 TEXT PRIMARY KEY, size INTEGER NOT NULL, time INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, inputs TEXT NOT NULL,
  status TEXT NOT NULL, error TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS log (job_id INTEGER NOT NULL, line INTEGER NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY (job_id, line));
CREATE TABLE IF NOT EXISTS settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


_State = tuple[int, int]
"""Size in bytes and modification time in nanoseconds."""


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
        self._sound: set[str] | None = None
        self._fresh: dict[str, tuple[int, int]] = {}
        self._place = self.folder / "state.sqlite"
        with storage_errors(self._place, DOING):
            self._database = open_database(
                self._place, OPENING + TABLES, check_same_thread=False, isolation_level=None, timeout=30
            )

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    def _query(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._lock, storage_errors(self._place, DOING):
            return self._database.execute(statement, values).fetchall()

    def _many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        with self._lock, storage_errors(self._place, DOING):
            self._database.execute("BEGIN")
            try:
                self._database.executemany(statement, rows)
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # a full disk has already rolled it back
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _decoding(self) -> Iterator[None]:
        """Values that cannot be what was written show a damaged file."""
        try:
            yield
        except (ValueError, TypeError) as error:
            raise damaged_file(self._place, DOING, error) from error

    # Samples

    def samples(self, category: Category | None = None) -> list[StoredSample]:
        """Samples of a category, or all, by id. Read once: only this object writes them."""
        with self._lock:
            if self._known is None:
                self._known = self._read_samples()
            return [sample for sample in self._known if category in (None, sample.category)]

    def _read_samples(self) -> list[StoredSample]:
        query = "SELECT id, name, sha256, label, category, origin, boxes FROM samples ORDER BY id"
        rows = self._query(query)
        with self._decoding():
            return [_stored_sample(*row) for row in rows]

    def put_samples(self, samples: Iterable[Sample]) -> None:
        """Add samples, or correct what is known of their content; and remember the contents kept before."""
        sound = self.sound_contents()
        self._many(
            "INSERT OR REPLACE INTO contents VALUES (?, ?, ?)",
            [(sha256, *state) for sha256, state in self._fresh.items()],
        )
        sound.update(self._fresh)
        self._fresh = {}
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

    def sound_contents(self) -> set[str]:
        """Hashes of the contents that lie there as they were left. Looked at once."""
        with self._lock:
            if self._sound is None:
                left = {sha: (size, time) for sha, size, time in self._query("SELECT * FROM contents")}
                with storage_errors(self._contents, DOING):
                    there = dict(_files_of({self._contents / shard for shard in {sha[:2] for sha in left}}))
                self._sound = {sha for sha, state in left.items() if there.get(sha) == state}
                self._sound |= self._only_touched({sha: there[sha] for sha in left if sha in there}, left)
            return self._sound

    def _only_touched(self, there: dict[str, _State], left: dict[str, _State]) -> set[str]:
        """Contents whose time differs and whose bytes do not, as in a copied project; their time is remembered."""
        touched = {
            sha: state
            for sha, state in there.items()
            if state != left[sha] and state[0] == left[sha][0] and sha256_file(self.content(sha)) == sha
        }
        self._many(
            "INSERT OR REPLACE INTO contents VALUES (?, ?, ?)", [(sha, *state) for sha, state in touched.items()]
        )
        return set(touched)

    def keep_content(self, sample: Sample) -> None:
        """Copy a sample's bytes, whole or not at all; what is there and no longer as it was left is replaced.

        `put_samples` remembers it.

        Raises:
            ValueError: The file cannot be read, or is no longer what was hashed.
            StorageError: The state folder cannot be written.
        """
        if sample.sha256 in self.sound_contents() or sample.sha256 in self._fresh:
            return
        place = self.content(sample.sha256)
        with storage_errors(place, DOING):
            if not place.is_file() or sha256_file(place) != sample.sha256:
                _copy(sample, place)
            status = place.stat()
        self._fresh[sample.sha256] = (status.st_size, status.st_mtime_ns)

    # Settings

    def get(self, key: str) -> Any:
        """A stored value, or None."""
        rows = self._query("SELECT value FROM settings WHERE key = ?", (key,))
        with self._decoding():
            return json.loads(rows[0][0]) if rows else None

    def set(self, key: str, value: Any) -> None:
        """Store a JSON value."""
        self._query("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, json.dumps(value)))

    # Jobs

    def new_job(self, kind: str, inputs: str) -> int:
        """A pending job's number."""
        with self._lock, storage_errors(self._place, DOING):
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
        with self._decoding():
            return Job(rows[0][0], rows[0][1], JobStatus(rows[0][2]), rows[0][3]) if rows else None

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
        with self._lock, storage_errors(self._place, DOING):
            for line in text.splitlines():
                self._database.execute(
                    "INSERT INTO log SELECT ?, coalesce(max(line), -1) + 1, ? FROM log WHERE job_id = ?",
                    (job_id, line, job_id),
                )

    def log(self, job_id: int, after: int) -> list[JobLogLine]:
        """Lines of a job's log after one."""
        query = "SELECT line, text FROM log WHERE job_id = ? AND line > ? ORDER BY line"
        return [JobLogLine(line, text) for line, text in self._query(query, (job_id, after))]


def _stored_sample(
    sample_id: int, name: str, sha256: str, label: str, category: str, group: str, boxes: str
) -> StoredSample:
    """A sample from a row of the table."""
    found = tuple(BoundingBox(**box) for box in json.loads(boxes)) if boxes != "[]" else ()
    return StoredSample(sample_id, name, sha256, label, Category(category), group, found)


def _files_of(folders: Iterable[Path]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Name, size in bytes and time of every file in some folders; those that are not there have none."""
    for folder in folders:
        if folder.is_dir():
            with os.scandir(folder) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    yield entry.name, (status.st_size, status.st_mtime_ns)


def _copy(sample: Sample, place: Path) -> None:
    """Write a sample's bytes to its place, under another name until they are all there."""
    try:
        data = sample.path.read_bytes()
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from error
    if sha256_bytes(data) != sample.sha256:
        raise ValueError("the file changed while it was read")
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{place.name}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
