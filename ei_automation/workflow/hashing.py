"""Content hashes of files, remembered by path, size and time: an unchanged file is not read again."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from ei_automation.errors import DatasetError
from ei_automation.files import (
    ensure_folder,
    open_cache_database,
    seal_cache_database,
    sha256_file,
    storage_errors,
)

DOING = "remembering content hashes"
REPORT_EVERY = 200
NOT_KNOWN = (-1, -1, "")
TABLES = "CREATE TABLE IF NOT EXISTS hashes (path TEXT PRIMARY KEY, size INTEGER, time INTEGER, sha256 TEXT)"


def hash_files(paths: Sequence[Path], folder: Path, on_progress: Callable[[int, int], None]) -> dict[Path, str]:
    """SHA-256 of every file.

    Args:
        paths: The files.
        folder: Where the memory is kept.
        on_progress: Gets files done and in all, for those that must be read.

    Raises:
        DatasetError: A file cannot be read.
    """
    place = ensure_folder(folder, DOING) / "hashes.sqlite"
    database = open_cache_database(place, TABLES, DOING)
    try:
        with storage_errors(place, DOING):
            return _hash(paths, database, on_progress)
    finally:
        database.close()


def _hash(
    paths: Sequence[Path], database: sqlite3.Connection, on_progress: Callable[[int, int], None]
) -> dict[Path, str]:
    known = {row[0]: row[1:] for row in database.execute("SELECT path, size, time, sha256 FROM hashes")}
    found: dict[Path, str] = {}
    new: list[tuple[Path, int, int]] = []
    for path in paths:
        name = str(path)
        try:
            status = os.stat(name)  # noqa: PTH116 - pathlib's costs as much as the system call, for each of thousands
        except OSError as error:
            raise _unreadable(path, error) from error
        size, time, sha256 = known.get(name, NOT_KNOWN)
        if (size, time) == (status.st_size, status.st_mtime_ns):
            found[path] = sha256
        else:
            new.append((path, status.st_size, status.st_mtime_ns))
    rows = []
    for done, (path, size, time) in enumerate(new, 1):
        try:
            found[path] = sha256_file(path)
        except OSError as error:
            raise _unreadable(path, error) from error
        rows.append((str(path), size, time, found[path]))
        if done % REPORT_EVERY == 0 or done == len(new):
            on_progress(done, len(new))
    if not rows:
        return found
    with database:
        database.executemany("INSERT OR REPLACE INTO hashes VALUES (?,?,?,?)", rows)
        seal_cache_database(database)
    return found


def _unreadable(path: Path, error: OSError) -> DatasetError:
    return DatasetError(f"{path} cannot be read: {error.strerror}", hint="make it readable or remove it")
