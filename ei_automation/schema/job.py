"""Jobs: work that a backend does while others wait."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class JobStatus(StrEnum):
    """Where a job stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Job:
    """A job's state at one moment.

    Attributes:
        job_id: The backend's number.
        kind: features, training, testing or build.
        status: Where it stands.
        error: Why it failed; empty otherwise.
        step: What it is doing now, for a progress bar.
        done: Units of the step that are done.
        total: Units of the step; 0 when not known.
    """

    job_id: int
    kind: str
    status: JobStatus
    error: str = ""
    step: str = ""
    done: int = 0
    total: int = 0

    @property
    def finished(self) -> bool:
        """Whether it has ended, well or not."""
        return self.status in (JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.CANCELLED)

    @property
    def finished_successful(self) -> bool:
        """Whether it has ended well."""
        return self.status is JobStatus.SUCCESS


@dataclass(frozen=True)
class JobLogLine:
    """One line of a job's log.

    Attributes:
        index: Position, from 0.
        text: The line, without its end.
    """

    index: int
    text: str
