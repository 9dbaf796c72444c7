"""Folders that are written whole or not at all, and checked cheaply before they are used again."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from ei_automation.files import fingerprint, storage_errors, write_atomically


def stored_tree(folder: Path, fill: Callable[[Path], None], doing: str) -> Path:
    """A folder that `fill` wrote, now or in an earlier run.

    Written under a temporary name and renamed, so that a killed run leaves no half of it. Another process
    that wants the same folder waits. Before an old one is used, the names and sizes of its files are held
    against those it was left with; when they differ it is written again.

    Args:
        folder: Where it shall stand.
        fill: Writes the files into the empty folder that it gets.
        doing: The work, for the sentence of a storage error.

    Raises:
        StorageError: The place is read-only or full; nothing is left behind.
    """
    if _intact(folder):  # without the lock: a cache that cannot be written may still be read
        return folder
    with storage_errors(folder, doing), locked(folder):
        if not _intact(folder):
            _write(folder, fill, doing)
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `<path>.lock`, so that one process at a time works on a path; others wait.

    Raises:
        OSError: The lock's folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f"{path.name}.lock")):
        yield


def _write(folder: Path, fill: Callable[[Path], None], doing: str) -> None:
    """Write the folder anew; leave nothing when that fails."""
    prefix = f".{folder.name}."
    for leftover in folder.parent.glob(f"{prefix}*"):  # of a run that was killed; the lock is ours
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=prefix))
    try:
        temporary.chmod(0o755)
        fill(temporary)
        listing = _listing(temporary)
        _state_path(folder).unlink(missing_ok=True)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.replace(folder)
        write_atomically(_state_path(folder), json.dumps({"listing": listing}), doing=doing)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _intact(folder: Path) -> bool:
    """Whether the folder holds what it was left with."""
    try:
        state = json.loads(_state_path(folder).read_text())
        return bool(state["listing"] == _listing(folder))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _listing(folder: Path) -> str:
    """Fingerprint of all files' relative paths and sizes in bytes."""
    rows: list[tuple[str, int]] = []
    pending = [(str(folder), "")]
    while pending:
        path, prefix = pending.pop()
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append((entry.path, f"{prefix}{entry.name}/"))
                else:
                    rows.append((prefix + entry.name, entry.stat(follow_symlinks=False).st_size))
    return fingerprint(sorted(rows))


def _state_path(folder: Path) -> Path:
    """Where the folder's fingerprint is kept."""
    return folder.with_name(f"{folder.name}.json")
