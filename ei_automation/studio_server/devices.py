"""Devices of a project, as clients tell of them."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ei_automation.studio_server.call import RefusalError
from ei_automation.studio_server.database import Database

TABLES = """
CREATE TABLE IF NOT EXISTS devices (
  row_id INTEGER PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL, device_id TEXT NOT NULL,
  name TEXT NOT NULL, device_type TEXT NOT NULL, created REAL NOT NULL, seen REAL NOT NULL,
  UNIQUE (project_id, device_id));
"""
COLUMNS = "row_id, device_id, name, device_type, created, seen"


@dataclass(frozen=True)
class DeviceRow:
    """A device.

    Attributes:
        row_id: Its number here.
        device_id: Its own id, e.g. a MAC address.
        name: As shown.
        device_type: As it says.
        created: Seconds since 1970 when it was first heard of.
        seen: Seconds since 1970 when it was last heard of.
    """

    row_id: int
    device_id: str
    name: str
    device_type: str
    created: float
    seen: float


class Devices:
    """Every project's devices.

    Args:
        database: With `TABLES`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, project_id: int) -> list[DeviceRow]:
        """A project's devices, in the order of their coming."""
        return [
            DeviceRow(*row)
            for row in self._database.query(
                f"SELECT {COLUMNS} FROM devices WHERE project_id=? ORDER BY row_id", (project_id,)
            )
        ]

    def get(self, project_id: int, device_id: str) -> DeviceRow:
        """One device.

        Raises:
            RefusalError: The project has none of this id.
        """
        found = self._database.query(
            f"SELECT {COLUMNS} FROM devices WHERE project_id=? AND device_id=?", (project_id, device_id)
        )
        if not found:
            raise RefusalError("No device found with this ID")
        return DeviceRow(*found[0])

    def create(self, project_id: int, device_id: str, device_type: str, *, if_not_exists: bool) -> None:
        """Add a device. One of this id stays as it is, or gets the type where `if_not_exists` is not set."""
        now = time.time()
        kept = "seen=excluded.seen" if if_not_exists else "seen=excluded.seen, device_type=excluded.device_type"
        self._database.query(
            "INSERT INTO devices (project_id, device_id, name, device_type, created, seen) VALUES (?,?,?,?,?,?) "
            f"ON CONFLICT (project_id, device_id) DO UPDATE SET {kept}",
            (project_id, device_id, device_id, device_type, now, now),
        )

    def rename(self, project_id: int, device_id: str, name: str) -> None:
        """Give a device another name."""
        self.get(project_id, device_id)
        self._database.query(
            "UPDATE devices SET name=? WHERE project_id=? AND device_id=?", (name, project_id, device_id)
        )

    def delete(self, project_id: int, device_id: str) -> None:
        """Forget a device."""
        self.get(project_id, device_id)
        self._database.query("DELETE FROM devices WHERE project_id=? AND device_id=?", (project_id, device_id))
