"""Small file habits that every room shares: atomic writes, canonical JSON, content hashes."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ei_automation.errors import StorageError

MODEL_PARTS = {"operator codes": 6, "subgraphs": 8, "buffers": 12}
"""Where a .tflite file's virtual table says where its parts are (TFLite schema.fbs, table Model), byte offsets."""


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of bytes, lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, lower-case hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def require_model_parts(model: bytes) -> None:
    """Refuse a .tflite file that lacks a part: LiteRT's own check lets it pass, and then ends the whole process.

    Raises:
        ValueError: As LiteRT does for other damage: a part is missing, or the bytes are too few or no flatbuffer.
    """
    try:
        (root,) = struct.unpack_from("<I", model)
        (back,) = struct.unpack_from("<i", model, root)
        table = memoryview(model)[max(root - back, 0) :]
        (size,) = struct.unpack_from("<H", table)
        missing = [
            name
            for name, slot in MODEL_PARTS.items()
            if slot + 2 > size or struct.unpack_from("<H", table, slot) == (0,)
        ]
    except struct.error as error:
        raise ValueError(f"the file is cut short or no .tflite file: {error}") from error
    if missing:
        raise ValueError(f"it has no {' and no '.join(missing)}")


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spare space: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def fingerprint(value: Any) -> str:
    """SHA-256 of a value's canonical JSON: what two runs must share to share a result."""
    return sha256_bytes(canonical_json(value).encode())


@contextmanager
def storage_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn an OSError of the block, or SQLite's word for one, into a `StorageError` that names path and work.

    Args:
        path: What the block writes or reads; of a SQLite database its file, which a hint may say to delete.
        doing: The work that it belongs to.
    """
    try:
        yield
    except OSError as error:
        place = Path(error.filename or path)
        raise StorageError.while_doing(doing, place, error.strerror or str(error)) from error
    except sqlite3.DatabaseError as error:
        if is_damaged(error):
            raise damaged_file(path, doing, error) from error
        if not isinstance(error, sqlite3.OperationalError):
            raise
        raise StorageError.while_doing(doing, path, str(error)) from error


def damaged_file(path: Path, doing: str, reason: object) -> StorageError:
    """The error for a file of ours that does not hold what was written, and can be made anew."""
    return StorageError(
        f"{doing} failed: {path} is damaged: {reason}",
        hint=f"delete {path}, then run the same command again; it makes it anew",
    )


def is_damaged(error: sqlite3.DatabaseError) -> bool:
    """Whether an error says that the file is no SQLite database, is not whole, or does not hold what we wrote."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # Python's own word, not SQLite's: text that is no UTF-8
        return isinstance(error, sqlite3.OperationalError)
    # The upper bytes only say where it was noticed; SQLITE_ERROR is a table or column that is not there.
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


def open_database(path: Path, script: str, **options: Any) -> sqlite3.Connection:
    """Open a SQLite file, run a script that may be repeated, and check every page and index.

    Args:
        path: The file; its folder is there.
        script: Makes the tables where they are not there.
        **options: Of `sqlite3.connect`.

    Raises:
        sqlite3.DatabaseError: It cannot be opened or written, or `is_damaged`.
    """
    database: sqlite3.Connection = sqlite3.connect(path, **options)
    try:
        database.executescript(script)
        ((verdict,),) = database.execute("PRAGMA integrity_check(1)").fetchall()
        if verdict != "ok":
            raise _corrupt(verdict.splitlines()[-1])
    except UnicodeDecodeError as error:  # SQLite quotes what it cannot read
        database.close()
        raise _corrupt(str(error)) from error
    except BaseException:
        database.close()
        raise
    return database


def open_cache_database(path: Path, tables: str, doing: str) -> sqlite3.Connection:
    """Open a SQLite file that is only a memory of what can be found out again: a damaged one is made anew.

    Args:
        path: The file; its folder is there.
        tables: SQL that makes the tables where they are not there.
        doing: The work, for the sentence of a storage error.

    Raises:
        StorageError: It cannot be opened or written.
    """
    with storage_errors(path, doing):
        try:
            return _sealed_database(path, tables)
        except sqlite3.DatabaseError as error:
            if not is_damaged(error):
                raise
        path.unlink()
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
        return _sealed_database(path, tables)


def seal_cache_database(database: sqlite3.Connection) -> None:
    """Remember the checksum of all rows; part of every transaction that changes some."""
    database.execute(f"PRAGMA user_version = {_checksum(database)}")


def _sealed_database(path: Path, tables: str) -> sqlite3.Connection:
    """Open a database that holds what it was sealed with."""
    database = open_database(path, tables)
    try:
        ((sealed,),) = database.execute("PRAGMA user_version").fetchall()
        if sealed != _checksum(database):
            raise _corrupt("its rows are not those that were written")
    except UnicodeDecodeError as error:
        database.close()
        raise _corrupt(str(error)) from error
    except BaseException:
        database.close()
        raise
    return database


def _corrupt(reason: str) -> sqlite3.DatabaseError:
    """What SQLite raises where it finds the damage itself."""
    error = sqlite3.DatabaseError(reason)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _checksum(database: sqlite3.Connection) -> int:
    """CRC-32 over all rows of all tables, without its highest bit; 0 where there are none."""
    checksum = 0
    for (table,) in database.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
    ).fetchall():
        rows = database.execute(f'SELECT * FROM "{table}" ORDER BY rowid').fetchall()
        if rows:
            checksum = zlib.crc32(repr(rows).encode(), checksum)
    return checksum & 0x7FFF_FFFF  # SQLite keeps it as a signed number


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
