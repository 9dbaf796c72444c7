"""What was built: every build keeps its number and its file for ever; one that failed keeps its number only."""

from __future__ import annotations

import time
from dataclasses import astuple, dataclass, fields
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ei_automation.errors import VerificationError
from ei_automation.files import sha256_bytes, storage_errors, write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ei_automation.schema.deployment import BuildRequest
    from ei_automation.schema.metrics import ModelVariant
    from ei_automation.studio_server.database import Database
    from ei_automation.studio_server.projects import Projects

TABLES = """
CREATE TABLE IF NOT EXISTS deployments (
    project_id INTEGER NOT NULL, version INTEGER NOT NULL, format TEXT NOT NULL, engine TEXT NOT NULL,
    variant TEXT NOT NULL, impulse_id INTEGER NOT NULL, impulse_name TEXT NOT NULL, made_of TEXT NOT NULL,
    by_public INTEGER NOT NULL, job_id INTEGER, created REAL, filename TEXT, sha256 TEXT,
    PRIMARY KEY (project_id, version)
);
"""
DOING = "writing a deployment"


@dataclass(frozen=True)
class Origin:
    """What a deployment is built from.

    Attributes:
        impulse_id: The impulse's number.
        impulse_name: For people.
        made_of: Fingerprint of model, impulse and thresholds.
        by_public: Whether somebody asked for it who only reads the project.
    """

    impulse_id: int
    impulse_name: str
    made_of: str
    by_public: bool = False


@dataclass(frozen=True)
class Deployment:
    """A build that succeeded.

    Attributes:
        project_id: Whose it is.
        version: Counts the project's builds, from 1.
        format: The target's.
        engine: As built.
        variant: As asked for.
        impulse_id: The impulse's number.
        impulse_name: The impulse's name at that time.
        made_of: Fingerprint of model, impulse and thresholds at that time.
        by_public: Whether somebody asked for it who only reads the project.
        job_id: The job that built it.
        created: Its end, seconds since 1970.
        filename: For the download.
        sha256: Of the file.
    """

    project_id: int
    version: int
    format: str
    engine: str
    variant: ModelVariant
    impulse_id: int
    impulse_name: str
    made_of: str
    by_public: bool
    job_id: int
    created: float
    filename: str
    sha256: str


COLUMNS = ", ".join(field.name for field in fields(Deployment))


class Deployments:
    """Builds of all projects.

    Args:
        database: Where they are listed.
        projects: Knows each project's folder, where the files are.
    """

    def __init__(self, database: Database, projects: Projects) -> None:
        self._database = database
        self._projects = projects

    def begin(self, project_id: int, request: BuildRequest, origin: Origin) -> int:
        """Take the next number, whatever comes of the build.

        Args:
            project_id: Whose build it is.
            request: What will be built.
            origin: From what.

        Returns:
            The deployment version.
        """
        with self._database.transaction() as connection:
            ((version,),) = connection.execute(
                "SELECT COALESCE(MAX(version), 0) + 1 FROM deployments WHERE project_id = ?", (project_id,)
            ).fetchall()
            connection.execute(
                "INSERT INTO deployments (project_id, version, format, engine, variant, impulse_id, impulse_name,"
                " made_of, by_public) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (project_id, version, request.format, request.engine, request.variant, *astuple(origin)),
            )
        return int(version)

    def finish(
        self, project_id: int, version: int, content: bytes, *, filename: str, job_id: int, made_of: str
    ) -> None:
        """Keep a built file; listed from now on.

        Args:
            project_id: Whose build it is.
            version: From `begin`.
            content: The file.
            filename: For its download.
            job_id: The job that built it.
            made_of: Fingerprint of what it was built from.
        """
        write_atomically(self._place(project_id, version, filename), content, doing=DOING)
        self._database.query(
            "UPDATE deployments SET job_id = ?, created = ?, filename = ?, sha256 = ?, made_of = ?"
            " WHERE project_id = ? AND version = ?",
            (job_id, time.time(), filename, sha256_bytes(content), made_of, project_id, version),
        )

    def history(self, project_id: int, deployment_format: str | None = None) -> list[Deployment]:
        """Builds that succeeded, newest first.

        Args:
            project_id: Whose.
            deployment_format: Only of this format.
        """
        return self._select(
            "project_id = ? AND (? IS NULL OR format = ?) ORDER BY version DESC",
            (project_id, deployment_format, deployment_format),
        )

    def get(self, project_id: int, version: int) -> Deployment | None:
        """A build that succeeded; None where there is none of this number."""
        return next(iter(self._select("project_id = ? AND version = ?", (project_id, version))), None)

    def read(self, deployment: Deployment) -> bytes:
        """The file of a build.

        Raises:
            VerificationError: It is not what was built.
        """
        place = self._place(deployment.project_id, deployment.version, deployment.filename)
        with storage_errors(place, "reading a deployment"):
            content = place.read_bytes() if place.is_file() else b""
        if sha256_bytes(content) != deployment.sha256:
            raise VerificationError(
                f"{place} is not what deployment {deployment.version} was built as", hint="build it again"
            )
        return content

    def _select(self, condition: str, values: Sequence[object]) -> list[Deployment]:
        rows = self._database.query(
            f"SELECT {COLUMNS} FROM deployments WHERE sha256 IS NOT NULL AND {condition}", values
        )
        names = COLUMNS.split(", ")
        facts = [dict(zip(names, row, strict=True)) for row in rows]
        return [Deployment(**{**fact, "by_public": bool(fact["by_public"])}) for fact in facts]

    def _place(self, project_id: int, version: int, filename: str) -> Path:
        return self._projects.folder(project_id) / "deployments" / f"{version}{PurePosixPath(filename).suffix}"
