"""Small file habits that every room shares: atomic writes, canonical JSON, content hashes."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ei_automation.errors import StorageError


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of bytes, lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, lower-case hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spare space: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def fingerprint(value: Any) -> str:
    """SHA-256 of a value's canonical JSON: what two runs must share to share a result."""
    return sha256_bytes(canonical_json(value).encode())


@contextmanager
def storage_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn an OSError of the block, or SQLite's word for one, into a `StorageError` that names path and work."""
    try:
        yield
    except OSError as error:
        place = Path(error.filename or path)
        raise StorageError.while_doing(doing, place, error.strerror or str(error)) from error
    except sqlite3.OperationalError as error:
        raise StorageError.while_doing(doing, path, str(error)) from error


def ensure_folder(path: Path, doing: str) -> Path:
    """Make a folder with its parents; raise `StorageError` where that is refused."""
    with storage_errors(path, doing):
        path.mkdir(parents=True, exist_ok=True)
    return path


def write_atomically(path: Path, data: bytes | str, *, doing: str = "writing a file") -> None:
    """Write a whole file or nothing: temporary name in the same folder, fsync, rename.

    Raises:
        StorageError: The folder is read-only or full; the old file is untouched.
    """
    payload = data.encode() if isinstance(data, str) else data
    with storage_errors(path, doing):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(payload)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
