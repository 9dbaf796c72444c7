"""Jobs of a project: what kind they are, how they stand, their logs, and starting one exactly once."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from ei_automation.backends.studio.client import PassingError, StudioClient, redact
from ei_automation.schema.job import Job, JobLogLine, JobStatus

Kind = Literal["features", "training", "testing", "build", "tuning", "other"]

LISTED_JOBS = 200
"""Newest jobs that are looked at."""
LOG_PAGE, LOG_MOST = 200, 1000
"""Log items asked for first, and the most that Studio gives."""
LOG_BYTES = 256 * 1024 * 1024
ENDING_LINES = 50
"""Of a log, in which the reason of a failure is looked for."""
_CLOSING = re.compile(r"Job failed( \(see above\))?\.?|Application exited\b.*")
"""How logs of failed jobs end, whatever the reason. "Job failed: " and more is a reason."""
AGAIN_S = (0.5, 10.0)
"""First and longest pause before a lost start is looked for."""

_KINDS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("other", re.compile(r"explorer|importance|pretrained|profil|export|autotune")),
    ("tuning", re.compile(r"optimi[sz]|tuner")),
    ("build", re.compile(r"deploy|build")),
    ("testing", re.compile(r"classify|evaluat|testing")),
    ("features", re.compile(r"feature|dsp")),
    ("training", re.compile(r"train|keras")),
)
"""Words in a job's category, tried in order: Studio names no kinds, and its keys are not documented."""


@dataclass(frozen=True)
class LiveJob:
    """A job as Studio tells it.

    Attributes:
        job_id: Its number; a later job has a higher one.
        kind: What it does.
        created: When it was asked for.
        finished: Whether it has ended.
        successful: Whether it has ended well.
    """

    job_id: int
    kind: Kind
    created: datetime
    finished: bool
    successful: bool


def kind_of(row: Mapping[str, Any]) -> Kind:
    """What a job does.

    Args:
        row: Studio's Job.
    """
    words = f"{row.get('categoryKey', '')} {row.get('category', '')} {row.get('key', '')}".lower()
    return next((kind for kind, pattern in _KINDS if pattern.search(words)), "other")


def live_job(row: Mapping[str, Any]) -> LiveJob:
    """Studio's Job as ours. Only `finishedSuccessful` makes it successful, only `finished` finished."""
    finished = bool(row.get("finished"))
    return LiveJob(
        job_id=int(row["id"]),
        kind=kind_of(row),
        created=moment(row["created"]),
        finished=finished,
        successful=finished and row.get("finishedSuccessful") is True,
    )


def moment(text: str) -> datetime:
    """A time as Studio writes it, e.g. 2026-01-01T00:00:00.000Z."""
    return datetime.fromisoformat(text)


def list_jobs(client: StudioClient, project_id: int) -> list[LiveJob]:
    """The project's newest jobs, the newest first, without those that are a part of another."""
    rows = client.get(f"/api/{project_id}/jobs/all", limit=LISTED_JOBS, rootOnly=True)["jobs"]
    return sorted((live_job(row) for row in rows), key=lambda job: job.job_id, reverse=True)


def newest(jobs: Iterable[LiveJob], kind: Kind, *, successful: bool = False) -> LiveJob | None:
    """The newest job of a kind.

    Args:
        jobs: Newest first.
        kind: Wanted.
        successful: Look only at those that ended well.
    """
    return next((job for job in jobs if job.kind == kind and (job.successful or not successful)), None)


def start_job(
    client: StudioClient,
    project_id: int,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    kind: Kind,
    **query: object,
) -> int:
    """Start a job once, as `start_once`.

    Args:
        client: To ask.
        project_id: Whose.
        path: Of the operation.
        body: JSON.
        kind: Of the job.
        query: Parameters.

    Returns:
        Its number.
    """
    return start_once(client, project_id, kind, lambda: int(client.post(path, body, **query)["id"]))


def start_once(client: StudioClient, project_id: int, kind: Kind, start: Callable[[], int]) -> int:
    """Start a job once: where the answer is lost, the job is looked for before it is started again.

    Args:
        client: To ask.
        project_id: Whose.
        kind: Of the job.
        start: Sends the one request, and returns the job's number.

    Returns:
        Its number.

    Raises:
        EiautoError: As `StudioClient.post`.
    """
    last = newest(list_jobs(client, project_id), kind)
    known = last.job_id if last else 0
    end, pause_s = time.monotonic() + client.patience_s, AGAIN_S[0]
    while True:
        try:
            return start()
        except PassingError as error:
            wait_s = pause_s if error.retry_after_s is None else error.retry_after_s
            if time.monotonic() + wait_s > end:
                raise
            time.sleep(wait_s)
        pause_s = min(2 * pause_s, AGAIN_S[1])
        last = newest(list_jobs(client, project_id), kind)
        if last is not None and last.job_id > known:
            return last.job_id


def read_job(client: StudioClient, project_id: int, job_id: int) -> Job:
    """A job's state now, without the reason of a failure.

    Raises:
        NotFoundError: There is no such job.
    """
    row = client.get(f"/api/{project_id}/jobs/{job_id}/status")["job"]
    live = live_job(row)
    if not live.finished:
        status = JobStatus.RUNNING if row.get("started") else JobStatus.PENDING
    else:
        status = JobStatus.SUCCESS if live.successful else JobStatus.FAILED
    return Job(job_id, live.kind, status)


class JobLog:
    """A job's log, read as it grows: each line once, in order, with the number that it keeps.

    Studio tells the newest items first, and only so many; where some were missed the whole text is downloaded.

    Args:
        client: To ask.
        project_id: Whose.
        job_id: Which job's.
    """

    def __init__(self, client: StudioClient, project_id: int, job_id: int) -> None:
        self._client = client
        self._path = f"/api/{project_id}/jobs/{job_id}/stdout"
        self._items: list[str] = []
        self._lines: list[str] = []

    def read(self) -> list[str]:
        """All lines so far."""
        limit = LOG_PAGE
        while True:
            reply = self._client.get(self._path, limit=limit)
            items = [self._shown(str(item["data"])) for item in reversed(reply["stdout"])]
            first = max(0, int(reply["totalCount"]) - len(items))
            if first <= len(self._items):
                self._take(first, items)
                break
            if limit >= LOG_MOST or len(items) < limit:
                self._take_whole(first, items)
                break
            limit = LOG_MOST
        return self._lines

    def after(self, index: int) -> list[JobLogLine]:
        """Lines with an index greater than one."""
        lines = self.read()
        return [JobLogLine(number, lines[number]) for number in range(max(0, index + 1), len(lines))]

    def _take(self, first: int, items: Sequence[str]) -> None:
        """Add what is new in items that reach to the log's end.

        A server that was killed may have forgotten the last lines that it told, and go on from there.
        """
        known = len(self._items)
        if first + len(items) < known:
            known = first
            while known - first < len(items) and self._items[known] == items[known - first]:
                known += 1
        new = items[known - first :]
        self._items[known:] = new
        self._lines += _lines(new)

    def _take_whole(self, first: int, items: Sequence[str]) -> None:
        """Fill the gap between what is known and the item `first` from the log's text."""
        missed = first - len(self._items)
        text = self._text()
        before, rest = "\n".join(self._lines), "\n".join(_lines(items))
        start = len(before) if text.startswith(before) else -1
        end = text.rfind(rest)
        if start < 0 or end < start:
            gap = [f"({missed} lines of the log are no longer told)"]
        else:
            gap = text[start:end].strip("\n").split("\n")
        self._items += [""] * missed
        self._lines += gap
        self._take(first, items)

    def _text(self) -> str:
        """The whole log, with the same line ends as ours."""
        target = io.BytesIO()
        self._client.download(f"{self._path}/download", target, most_bytes=LOG_BYTES)
        return "\n".join(_lines([self._shown(target.getvalue().decode("utf-8", "replace"))]))

    def _shown(self, text: str) -> str:
        """Text of a log as it may be shown: scripts in Studio's containers print their environment."""
        return redact(text, self._client.settings.api_key)


def _lines(items: Iterable[str]) -> list[str]:
    """Lines of log items, each of which ends one; of a progress bar that overwrites itself, the last state."""
    found = []
    for item in items:
        for line in item.removesuffix("\n").split("\n"):
            found.append(line.rstrip("\r").rsplit("\r", 1)[-1])
    return found


def why_it_ended(client: StudioClient, project_id: int, job_id: int) -> tuple[str, bool]:
    """Why a job failed, as the end of its log has it, and whether it was cancelled."""
    items = client.get(f"/api/{project_id}/jobs/{job_id}/stdout", limit=ENDING_LINES)["stdout"]
    said = [(item, str(item["data"]).strip()) for item in items if str(item["data"]).strip()]
    telling = [(item, text) for item, text in said if not _CLOSING.fullmatch(text)]
    errors = [text for item, text in telling if item.get("logLevel") == "error"]
    words = next(iter([*errors, *(text for _, text in telling)]), "")
    cancelled = any("cancelled" in text.lower() or "canceled" in text.lower() for _, text in said[:3])
    return redact(words.removeprefix("Job failed: "), client.settings.api_key), cancelled
