"""One SQLite file for everything the local Studio remembers; what is committed survives a kill at any time."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ei_automation.files import open_database, storage_errors

DOING = "writing the local Studio's state"
OPENING = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"


class Database:
    """A connection that threads take turns with.

    Args:
        place: The file.
        tables: `CREATE TABLE IF NOT EXISTS` statements of every module that keeps something in it.
    """

    def __init__(self, place: Path, tables: str) -> None:
        self._place = place
        self._turn = threading.RLock()
        with storage_errors(place, DOING):
            self._connection = open_database(
                place, OPENING + tables, check_same_thread=False, isolation_level=None, timeout=30
            )

    def query(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of a statement, which is its own transaction."""
        with self._turn, storage_errors(self._place, DOING):
            return self._connection.execute(statement, values).fetchall()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else reads or writes meanwhile; inside a transaction of the same thread it changes nothing."""
        with self._turn:
            yield

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Several statements, all or none; others wait meanwhile. On disk when it ends."""
        with self._turn, storage_errors(self._place, DOING):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            self._connection.close()
