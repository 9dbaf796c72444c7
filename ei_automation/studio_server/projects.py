"""Projects, their keys and their settings. Kept in memory too, so that a look at a key needs no file.

A project's development key is kept whole (Studio shows it too, and devices carry it); of every other key only its
hash and its last characters are kept.
"""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ei_automation.files import sha256_bytes
from ei_automation.studio_server.call import Key, RefusalError
from ei_automation.studio_server.database import Database
from ei_automation.studio_server.project_rows import HmacRow, KeyRow, ProjectRow

TABLES = """
CREATE TABLE IF NOT EXISTS projects (
  project_id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, owner TEXT NOT NULL, description TEXT NOT NULL,
  public INTEGER NOT NULL, created REAL NOT NULL, modified REAL NOT NULL);
CREATE TABLE IF NOT EXISTS project_settings (
  project_id INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY (project_id, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS api_keys (
  key_id INTEGER PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL, name TEXT NOT NULL, role TEXT NOT NULL,
  digest TEXT NOT NULL UNIQUE, shown TEXT NOT NULL, development INTEGER NOT NULL, created REAL NOT NULL,
  expires REAL);
CREATE TABLE IF NOT EXISTS hmac_keys (
  key_id INTEGER PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
  development INTEGER NOT NULL, created REAL NOT NULL);
"""
ROLES = ("admin", "readonly", "ingestiononly", "ingestion_deployment")
LEAST_KEY_CHARACTERS = 32
"""Of a key that somebody brings along, with `ei_`."""
MOST_NAME_CHARACTERS = 1000
MOST_TTL_S = 100 * 366 * 86400


class Projects:
    """Every project of a local Studio.

    Args:
        database: With `TABLES`.
        folder: Where projects keep files.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self._database, self._folder = database, folder
        self._rows = {
            row[0]: ProjectRow(row[0], row[1], row[2], row[3], bool(row[4]), row[5], row[6])
            for row in database.query("SELECT * FROM projects")
        }
        self._keys: dict[str, KeyRow] = {}
        self._read_keys()

    def create(self, name: str, *, owner: str, public: bool = False) -> int:
        """A new, empty project with its HMAC key; returns its number.

        Raises:
            RefusalError: The name is empty or endless.
        """
        name, now = _name(name), time.time()
        with self._database.transaction() as connection:
            values = (name, owner, "", public, now, now)
            cursor = connection.execute(
                "INSERT INTO projects (name, owner, description, public, created, modified) VALUES (?,?,?,?,?,?)",
                values,
            )
            project_id = int(cursor.lastrowid or 0)
            connection.execute(
                "INSERT INTO hmac_keys (project_id, name, value, development, created) VALUES (?,?,?,1,?)",
                (project_id, "Development HMAC key", secrets.token_hex(16), now),
            )
        self.folder(project_id).mkdir(parents=True, exist_ok=True)
        self._rows[project_id] = ProjectRow(project_id, *values)
        return project_id

    def info(self, project_id: int) -> ProjectRow:
        """A project.

        Raises:
            RefusalError: There is none of this number.
        """
        try:
            return self._rows[project_id]
        except KeyError:
            raise RefusalError("No project found with this ID") from None

    def all(self) -> list[ProjectRow]:
        """Every project, by number."""
        return [self._rows[project_id] for project_id in sorted(self._rows)]

    def update(
        self,
        project_id: int,
        *,
        name: str | None = None,
        description: str | None = None,
        public: bool | None = None,
    ) -> None:
        """Change what is not None."""
        with self._database.alone():
            row = self.info(project_id)
            row = replace(
                row,
                name=row.name if name is None else _name(name),
                description=row.description if description is None else description,
                public=row.public if public is None else public,
            )
            self._database.query(
                "UPDATE projects SET name=?, description=?, public=? WHERE project_id=?",
                (row.name, row.description, row.public, project_id),
            )
            self._rows[project_id] = row

    def delete(self, project_id: int) -> None:
        """Delete a project: its rows in every table that has a `project_id`, and its folder."""
        self.info(project_id)
        with self._database.transaction() as connection:
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
            for table in tables:
                columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
                if "project_id" in columns:
                    connection.execute(f"DELETE FROM {table} WHERE project_id=?", (project_id,))
        del self._rows[project_id]
        self._read_keys()
        shutil.rmtree(self.folder(project_id), ignore_errors=True)

    def folder(self, project_id: int) -> Path:
        """A project's state folder: what a local project keeps in its own."""
        return self._folder / "projects" / str(project_id)

    def touch(self, project_id: int) -> None:
        """Its data or impulse changed now. Inside a transaction of the same thread it is part of that."""
        with self._database.alone():
            row = replace(self.info(project_id), modified=time.time())
            self._database.query("UPDATE projects SET modified=? WHERE project_id=?", (row.modified, project_id))
            self._rows[project_id] = row

    # Settings

    def get(self, project_id: int, name: str, default: Any = None) -> Any:
        """A setting of a project, as JSON."""
        found = self._database.query(
            "SELECT value FROM project_settings WHERE project_id=? AND name=?", (project_id, name)
        )
        return json.loads(found[0][0]) if found else default

    def settings(self, project_id: int) -> dict[str, Any]:
        """Every setting of a project."""
        found = self._database.query("SELECT name, value FROM project_settings WHERE project_id=?", (project_id,))
        return {name: json.loads(value) for name, value in found}

    def set(self, project_id: int, name: str, value: Any) -> None:
        """Set a setting; None forgets it. Inside a transaction of the same thread it is part of that."""
        self.info(project_id)
        if value is None:
            self._database.query("DELETE FROM project_settings WHERE project_id=? AND name=?", (project_id, name))
        else:
            self._database.query(
                "INSERT OR REPLACE INTO project_settings VALUES (?,?,?)", (project_id, name, json.dumps(value))
            )

    def set_many(self, project_id: int, values: Mapping[str, Any]) -> None:
        """Set several settings, all or none."""
        with self._database.transaction():
            for name, value in values.items():
                self.set(project_id, name, value)

    # Keys

    def add_key(
        self,
        project_id: int,
        name: str,
        role: str,
        *,
        value: str | None = None,
        ttl_s: float | None = None,
        development: bool = False,
    ) -> tuple[int, str]:
        """A new API key; returns its number and the key.

        Args:
            project_id: What it opens.
            name: What it is for.
            role: One of `ROLES`.
            value: A key of one's own; None makes one.
            ttl_s: Seconds it lives; None for ever.
            development: It becomes the project's development key, in the place of the one before.

        Raises:
            RefusalError: No such role, not a key, or a life of no or endless time.
        """
        self.info(project_id)
        if role not in ROLES:
            raise RefusalError(f"Invalid role, expected one of {', '.join(ROLES)}")
        key, now = value or f"ei_{secrets.token_hex(32)}", time.time()
        if (
            not key.startswith("ei_")
            or len(key) < LEAST_KEY_CHARACTERS
            or not key.isascii()
            or not key.isprintable()
        ):
            raise RefusalError(f"API keys start with ei_ and have at least {LEAST_KEY_CHARACTERS} characters")
        if ttl_s is not None and not 0 < ttl_s <= MOST_TTL_S:
            raise RefusalError(f"The ttl is a number of seconds above 0, at most {MOST_TTL_S:,}")
        digest = sha256_bytes(key.encode())
        if digest in self._keys:
            raise RefusalError("This API key is in use")
        shown = key if development else f"ei_...{key[-4:]}"
        expires = None if ttl_s is None else now + ttl_s
        row = (project_id, _name(name), role, digest, shown, development, now, expires)
        with self._database.transaction() as connection:
            if development:
                connection.execute(
                    "UPDATE api_keys SET development=0, shown='ei_...' || substr(shown, -4) WHERE project_id=?",
                    (project_id,),
                )
            cursor = connection.execute(
                "INSERT INTO api_keys (project_id, name, role, digest, shown, development, created, expires) "
                "VALUES (?,?,?,?,?,?,?,?)",
                row,
            )
        self._read_keys()
        return int(cursor.lastrowid or 0), key

    def find_key(self, value: str) -> Key | None:
        """Whose key this is; None where it is nobody's, or its time is over."""
        row = self._keys.get(sha256_bytes(value.encode()))
        if row is None or (row.expires is not None and row.expires < time.time()):
            return None
        return Key(row.key_id, row.project_id, row.role)

    def keys(self, project_id: int) -> list[KeyRow]:
        """A project's keys, by number."""
        return sorted(
            (row for row in self._keys.values() if row.project_id == project_id), key=lambda row: row.key_id
        )

    def development_key(self, project_id: int) -> str | None:
        """The key that devices and builds carry; None where there is none."""
        return next((row.shown for row in self.keys(project_id) if row.development), None)

    def revoke_key(self, project_id: int, key_id: int) -> None:
        """Delete a key.

        Raises:
            RefusalError: The project has none of this number.
        """
        if key_id not in {row.key_id for row in self.keys(project_id)}:
            raise RefusalError("No API key found with this ID")
        self._database.query("DELETE FROM api_keys WHERE project_id=? AND key_id=?", (project_id, key_id))
        self._read_keys()

    def hmac_keys(self, project_id: int) -> list[HmacRow]:
        """A project's HMAC keys, by number."""
        found = self._database.query("SELECT * FROM hmac_keys WHERE project_id=? ORDER BY key_id", (project_id,))
        return [HmacRow(row[0], row[1], row[2], row[3], bool(row[4]), row[5]) for row in found]

    def hmac_key(self, project_id: int) -> str:
        """The key that devices sign with; empty where there is none."""
        return next((row.value for row in self.hmac_keys(project_id) if row.development), "")

    def add_hmac_key(self, project_id: int, name: str, value: str, *, development: bool) -> int:
        """A new HMAC key; returns its number."""
        with self._database.transaction() as connection:
            if development:
                connection.execute("UPDATE hmac_keys SET development=0 WHERE project_id=?", (project_id,))
            cursor = connection.execute(
                "INSERT INTO hmac_keys (project_id, name, value, development, created) VALUES (?,?,?,?,?)",
                (project_id, _name(name), value, development, time.time()),
            )
        return int(cursor.lastrowid or 0)

    def revoke_hmac_key(self, project_id: int, key_id: int) -> None:
        """Delete a HMAC key.

        Raises:
            RefusalError: The project has none of this number.
        """
        if key_id not in {row.key_id for row in self.hmac_keys(project_id)}:
            raise RefusalError("No HMAC key found with this ID")
        self._database.query("DELETE FROM hmac_keys WHERE project_id=? AND key_id=?", (project_id, key_id))

    def _read_keys(self) -> None:
        with self._database.alone():
            found = self._database.query("SELECT * FROM api_keys")
            rows = [
                KeyRow(row[0], row[1], row[2], row[3], row[4], row[5], bool(row[6]), row[7], row[8])
                for row in found
            ]
            self._keys = {row.digest: row for row in rows}


def _name(name: str) -> str:
    """A name without space around it.

    Raises:
        RefusalError: Nothing is left, or it is endless.
    """
    name = name.strip()
    if not name or len(name) > MOST_NAME_CHARACTERS:
        raise RefusalError("Missing or invalid value for 'name'")
    return name
