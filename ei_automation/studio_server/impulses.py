"""What each project's impulse is, and what its blocks are set to and have made. One impulse a project."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ei_automation.studio_server.database import Database

TABLES = """
CREATE TABLE IF NOT EXISTS impulses (project_id INTEGER PRIMARY KEY, impulse TEXT, modified REAL NOT NULL,
  last_block INTEGER NOT NULL, epoch INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS block_values (project_id INTEGER NOT NULL, block_id INTEGER NOT NULL,
  kind TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (project_id, block_id, kind));
"""

IMPULSE_ID = 1
"""Of a project's only impulse."""
DSP_CONFIG, KERAS_CONFIG = "dsp-config", "keras-config"
FEATURES, FEATURE_SAMPLES, TRAINING, TESTING = "features", "feature-samples", "training", "testing"
BLOCKS = ("inputBlocks", "dspBlocks", "learnBlocks")
RESULTS = (FEATURES, FEATURE_SAMPLES, TRAINING, TESTING)
COPIED = {"impulses": "impulse, modified, last_block", "block_values": "block_id, kind, value"}
"""Tables and what a copy takes over of their rows."""
DSP_DEFAULTS = {"channels": "RGB"}


class Impulses:
    """Impulses in Studio's JSON, with the values of their blocks.

    Args:
        database: With `TABLES` in it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # The impulse

    def get(self, project_id: int) -> dict[str, Any] | None:
        """A project's impulse, of schema Impulse; None where there is none."""
        rows = self._database.query("SELECT impulse FROM impulses WHERE project_id = ?", (project_id,))
        return json.loads(rows[0][0]) if rows and rows[0][0] else None

    def modified(self, project_id: int) -> float:
        """When the impulse was last set, in seconds since 1970; 0 where it never was."""
        rows = self._database.query("SELECT modified FROM impulses WHERE project_id = ?", (project_id,))
        return float(rows[0][0]) if rows else 0.0

    def set(self, project_id: int, impulse: Mapping[str, Any]) -> None:
        """Replace the impulse: what its blocks had made no longer counts; values of blocks that stay are kept."""
        blocks = [block["id"] for kind in BLOCKS for block in impulse[kind]]
        with self._database.transaction() as connection:
            before = self.get(project_id)
            last = max([self.last_block(project_id), *blocks])
            connection.execute(
                "INSERT INTO impulses (project_id, impulse, modified, last_block) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET impulse = excluded.impulse, modified = excluded.modified,"
                " last_block = excluded.last_block",
                (project_id, json.dumps(dict(impulse)), time.time(), last),
            )
            _drop(connection, project_id, ())
            marks = ",".join("?" * len(blocks))
            connection.execute(
                f"DELETE FROM block_values WHERE project_id = ? AND block_id NOT IN ({marks})",
                (project_id, *blocks),
            )
            connection.executemany(
                "DELETE FROM block_values WHERE project_id = ? AND block_id = ?",
                [(project_id, number) for number in _of_another_type(before, impulse)],
            )

    def rename(self, project_id: int, name: str) -> None:
        """Give the impulse another name; everything else stays."""
        impulse = self.get(project_id)
        assert impulse is not None
        text = json.dumps({**impulse, "name": name})
        self._database.query("UPDATE impulses SET impulse = ? WHERE project_id = ?", (text, project_id))

    def delete(self, project_id: int) -> None:
        """Forget the impulse and all that its blocks have; their numbers are not used again."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE impulses SET impulse = NULL, modified = ?, epoch = epoch + 1 WHERE project_id = ?",
                (time.time(), project_id),
            )
            connection.execute("DELETE FROM block_values WHERE project_id = ?", (project_id,))

    def copy(self, from_id: int, to_id: int) -> None:
        """Make a project's impulse that of another: settings of the blocks, and what they have made.

        Jobs that wait to work on the impulse before it can keep nothing, and its block numbers are not used again.

        What they have made names samples by their content, and models by their hash; the files in
        `learning.model_folder`, and the local backend's state, are for the caller to copy.
        """
        with self._database.transaction() as connection:
            epoch, last = self.epoch(to_id) + 1, max(self.last_block(from_id), self.last_block(to_id))
            for table, columns in COPIED.items():
                connection.execute(f"DELETE FROM {table} WHERE project_id = ?", (to_id,))
                connection.execute(
                    f"INSERT INTO {table} (project_id, {columns})"
                    f" SELECT ?, {columns} FROM {table} WHERE project_id = ?",
                    (to_id, from_id),
                )
            connection.execute(
                "INSERT INTO impulses VALUES (?, NULL, 0, ?, ?)"
                " ON CONFLICT DO UPDATE SET last_block = excluded.last_block, epoch = excluded.epoch",
                (to_id, last, epoch),
            )

    # Blocks

    def last_block(self, project_id: int) -> int:
        """The highest block number that was ever used or given out; 0 for none."""
        rows = self._database.query("SELECT last_block FROM impulses WHERE project_id = ?", (project_id,))
        return int(rows[0][0]) if rows else 0

    def new_block(self, project_id: int) -> int:
        """A block number that was never used."""
        with self._database.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO impulses VALUES (?, NULL, 0, 0, 0)", (project_id,))
            connection.execute(
                "UPDATE impulses SET last_block = last_block + 1 WHERE project_id = ?", (project_id,)
            )
            ((number,),) = connection.execute(
                "SELECT last_block FROM impulses WHERE project_id = ?", (project_id,)
            )
        return int(number)

    def value(self, project_id: int, block_id: int, kind: str) -> Any:
        """A block's value of a kind, e.g. `TRAINING`; None where there is none."""
        rows = self._database.query(
            "SELECT value FROM block_values WHERE project_id = ? AND block_id = ? AND kind = ?",
            (project_id, block_id, kind),
        )
        return json.loads(rows[0][0]) if rows else None

    def put(self, project_id: int, block_id: int, kind: str, value: Any) -> None:
        """Keep a JSON value of a block."""
        self._database.query(
            "INSERT OR REPLACE INTO block_values VALUES (?, ?, ?, ?)",
            (project_id, block_id, kind, json.dumps(value)),
        )

    def epoch(self, project_id: int) -> int:
        """Counts what made results worthless: a job's results belong to the epoch that it began in."""
        rows = self._database.query("SELECT epoch FROM impulses WHERE project_id = ?", (project_id,))
        return int(rows[0][0]) if rows else 0

    def keep(self, project_id: int, block_id: int, values: Mapping[str, Any], epoch: int) -> bool:
        """Keep what a job has made of a block, if nothing has made it worthless meanwhile.

        Args:
            project_id: Whose.
            block_id: The block.
            values: Kind to JSON value.
            epoch: As it was when the job began.

        Returns:
            Whether it was kept.
        """
        with self._database.transaction():
            if self.epoch(project_id) != epoch:
                return False
            for kind, value in values.items():
                self.put(project_id, block_id, kind, value)
        return True

    def drop(self, project_id: int, *kinds: str) -> None:
        """Forget what the blocks of a project have made.

        Args:
            project_id: Whose.
            kinds: Of `RESULTS`; none for all of them, and for what running jobs are about to keep.
        """
        with self._database.transaction() as connection:
            _drop(connection, project_id, kinds)

    def dsp_config(self, project_id: int, dsp_id: int) -> dict[str, str]:
        """Parameters of a DSP block; the defaults where nothing was set."""
        return {**DSP_DEFAULTS, **(self.value(project_id, dsp_id, DSP_CONFIG) or {})}

    def set_dsp_config(self, project_id: int, dsp_id: int, config: Mapping[str, str]) -> None:
        """Change parameters of a DSP block; what was made with other ones no longer counts."""
        with self._database.transaction() as connection:
            before = self.dsp_config(project_id, dsp_id)
            if {**before, **config} != before:
                self.put(project_id, dsp_id, DSP_CONFIG, {**before, **config})
                _drop(connection, project_id, ())

    def keras_config(self, project_id: int, learn_id: int) -> dict[str, Any]:
        """What a learn block was set to, in the words of SetKerasParameterRequest; empty where nothing was set."""
        return self.value(project_id, learn_id, KERAS_CONFIG) or {}

    def set_keras_config(self, project_id: int, learn_id: int, changes: Mapping[str, Any]) -> None:
        """Change what a learn block is set to."""
        with self._database.transaction():
            now = self.keras_config(project_id, learn_id)
            self.put(project_id, learn_id, KERAS_CONFIG, {**now, **changes})


def _of_another_type(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[int]:
    """Numbers of the blocks that are now of another type: settings of the old one mean nothing to them."""
    if before is None:
        return []
    types = {block["id"]: block["type"] for kind in BLOCKS for block in before[kind]}
    return [
        block["id"]
        for kind in BLOCKS
        for block in after[kind]
        if types.get(block["id"], block["type"]) != block["type"]
    ]


def _drop(connection: sqlite3.Connection, project_id: int, kinds: Sequence[str]) -> None:
    """Part of a transaction: forget results; of all kinds means that those under way are worthless too."""
    wanted = kinds or RESULTS
    marks = ",".join("?" * len(wanted))
    connection.execute(
        f"DELETE FROM block_values WHERE project_id = ? AND kind IN ({marks})", (project_id, *wanted)
    )
    if not kinds:
        connection.execute("UPDATE impulses SET epoch = epoch + 1 WHERE project_id = ?", (project_id,))
