"""What is known of a job: its row, its log, and who watches it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ei_automation.studio_server.call import iso

COLUMNS = "id, project_id, category, category_key, key, created, started, finished, successful, info"
"""Of the table of jobs, in the order that `job_row` takes them."""


class JobFailure(Exception):  # noqa: N818 - what a job comes to, not an error of the server
    """A job cannot do what it was started for; its words become the end of the log."""


@dataclass(frozen=True)
class LogLine:
    """One line of a job's log.

    Attributes:
        index: Position, from 0.
        created: Seconds since 1970.
        level: error, warn, info or debug.
        text: Without its end.
    """

    index: int
    created: float
    level: str
    text: str


@dataclass(frozen=True)
class JobRow:
    """A job at one moment; times in seconds since 1970.

    Attributes:
        job_id: Its number, unique in the whole server.
        project_id: Whose it is.
        category: For people, e.g. Training model.
        category_key: For machines.
        key: What it works on, e.g. keras-3.
        created: When it was asked for.
        started: When it began; None before.
        finished: When it ended; None before.
        successful: How it ended; None before.
        info: More about it.
    """

    job_id: int
    project_id: int
    category: str
    category_key: str
    key: str
    created: float
    started: float | None = None
    finished: float | None = None
    successful: bool | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As Studio's schema Job has it."""
        row: dict[str, Any] = {
            "id": self.job_id,
            "category": self.category,
            "categoryKey": self.category_key,
            "key": self.key,
            "created": iso(self.created),
            "jobNotificationUids": [],
        }
        if self.started is not None:
            row["started"] = iso(self.started)
        if self.finished is not None:
            row["finished"] = iso(self.finished)
            row["finishedSuccessful"] = bool(self.successful)
            row["computeTime"] = self.finished - (self.started or self.finished)
        if self.info:
            row["metadata"] = dict(self.info)
        return row


Watcher = Callable[[LogLine | JobRow], None]
"""Gets each line of a job's log once and in order, and last the job as it ended."""


def job_row(job_id: int, project_id: int, category: str, category_key: str, key: str, *rest: Any) -> JobRow:
    """A job from a row of the table."""
    created, started, finished, successful, info = rest
    ended = None if successful is None else bool(successful)
    return JobRow(
        job_id, project_id, category, category_key, key, created, started, finished, ended, json.loads(info)
    )
