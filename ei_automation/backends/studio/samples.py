"""The live samples of a project: listed page by page, deleted by their numbers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ei_automation.backends.studio.client import StudioClient
from ei_automation.errors import JobFailedError, NotFoundError
from ei_automation.schema.sample import Category, StoredSample
from ei_automation.studio_api.samples import stored_sample

PAGE = 1000
"""Samples a page: what Edge Impulse's own package asks for."""
DISABLED_TOO = "both"
"""Value of includeDisabled: enabled samples and disabled ones, whatever a server takes when it is not told."""
IDS_A_CALL = 200
"""Sample numbers in one query string, which proxies cut at 8 KiB."""
BATCH_DEADLINE_S = 600.0
"""For a job that the server made of a call for many samples."""
POLL_S = (0.05, 2.0)
"""First and longest pause between looks at such a job."""


@dataclass(frozen=True)
class UnknownSample:
    """A live sample whose content cannot be told, or whose category is none of ours.

    Attributes:
        sample_id: Its number.
        filename: As Studio shows it.
        label: Its label.
        category: Its category.
    """

    sample_id: int
    filename: str
    label: str
    category: str


@dataclass(frozen=True)
class Listing:
    """The live samples.

    Attributes:
        samples: Those that can be identified, by their numbers.
        unknown: The others.
        last_id: Highest number of all; 0 where there are none.
    """

    samples: list[StoredSample] = field(default_factory=list)
    unknown: list[UnknownSample] = field(default_factory=list)
    last_id: int = 0


def list_rows(
    client: StudioClient,
    project_id: int,
    category: Category | None = None,
    *,
    min_id: int | None = None,
    below_id: int | None = None,
    page: int = PAGE,
) -> Iterator[dict[str, Any]]:
    """Live samples as Studio's JSON, newest first.

    Pages follow one another by the lowest number seen: a sample that comes or goes meanwhile moves no other.

    Args:
        client: To ask.
        project_id: Whose.
        category: One only; None for all.
        min_id: Lowest number wanted.
        below_id: Lowest number that is no longer wanted.
        page: Most samples an answer.

    Raises:
        EiautoError: As `StudioClient.get`.
    """
    below = below_id
    size: int | None = None
    while True:
        answer = client.get(
            f"/api/{project_id}/raw-data",
            category=category.value if category else "all",
            limit=page,
            excludeSensors=True,
            includeDisabled=DISABLED_TOO,
            minId=min_id,
            maxId=below,
        )
        rows: list[dict[str, Any]] = answer["samples"]
        fresh = rows if below is None else [row for row in rows if row["id"] < below]
        yield from fresh
        size = size or len(rows)  # a server may have a lower limit of its own
        if not fresh or len(rows) < size or len(rows) >= answer["totalCount"]:
            return
        below = min(row["id"] for row in fresh)


def list_all(
    client: StudioClient,
    project_id: int,
    category: Category | None = None,
    *,
    min_id: int | None = None,
    below_id: int | None = None,
) -> Listing:
    """Live samples as our nouns; arguments and errors as `list_rows`."""
    samples, unknown, last_id = [], [], 0
    for row in list_rows(client, project_id, category, min_id=min_id, below_id=below_id):
        last_id = max(last_id, row["id"])
        sample = stored_sample(row)
        if sample is None:
            unknown.append(UnknownSample(row["id"], row["filename"], row["label"], row["category"]))
        else:
            samples.append(sample)
    samples.sort(key=lambda sample: sample.sample_id)
    unknown.sort(key=lambda sample: sample.sample_id)
    return Listing(samples, unknown, last_id)


def list_samples(client: StudioClient, project_id: int, category: Category | None = None) -> list[StoredSample]:
    """Live samples that can be identified, by their numbers; arguments and errors as `list_rows`."""
    return list_all(client, project_id, category).samples


def delete(client: StudioClient, project_id: int, ids: Sequence[int]) -> None:
    """Delete live samples; numbers that are not there are ignored.

    Raises:
        JobFailedError: The server made a job of it that failed.
        EiautoError: As `StudioClient.delete`.
    """
    wanted = sorted(set(ids))
    if len(wanted) > 1:
        for_ids(client, project_id, "delete", wanted)
        return
    for sample_id in wanted:
        try:
            client.delete(f"/api/{project_id}/raw-data/{sample_id}")
        except NotFoundError:
            continue


def for_ids(
    client: StudioClient,
    project_id: int,
    operation: str,
    ids: Sequence[int],
    body: dict[str, Any] | None = None,
) -> None:
    """One of Studio's operations over many samples, and the job that it may become.

    Args:
        client: To ask.
        project_id: Whose samples.
        operation: Last part of its path, e.g. edit-labels.
        ids: Of the samples.
        body: JSON, where the operation takes some.

    Raises:
        JobFailedError: The job failed, or did not end in time.
        EiautoError: As `StudioClient.post_again`.
    """
    for start in range(0, len(ids), IDS_A_CALL):
        part = json.dumps(list(ids[start : start + IDS_A_CALL]), separators=(",", ":"))
        path = f"/api/{project_id}/raw-data/batch/{operation}"
        answer = client.post_again(path, body, category="all", ids=part, includeDisabled=DISABLED_TOO)
        if answer.get("id"):
            _wait(client, project_id, int(answer["id"]), operation)


def _wait(client: StudioClient, project_id: int, job_id: int, operation: str) -> None:
    """Wait until a job has ended well; its answer has its number only where it is one."""
    deadline, pause_s = time.monotonic() + BATCH_DEADLINE_S, POLL_S[0]
    while time.monotonic() < deadline:
        job = client.get(f"/api/{project_id}/jobs/{job_id}/status")["job"]
        if job.get("finished"):
            if job.get("finishedSuccessful"):
                return
            raise JobFailedError(f"job {job_id} of {operation} failed", hint="look at it in Studio")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, POLL_S[1])
    raise JobFailedError(
        f"job {job_id} of {operation} did not end within {BATCH_DEADLINE_S:.0f} s", hint="look at it in Studio"
    )
