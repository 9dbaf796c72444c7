"""The local Studio as a whole: one database, and what is kept in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from ei_automation.errors import ProjectBusyError
from ei_automation.files import storage_errors
from ei_automation.studio_server import auth, deployments, devices, impulses, projects, samples, versions, workshop
from ei_automation.studio_server.database import Database
from ei_automation.studio_server.faults import Faults

OWNER = "me"
"""The one user of a local Studio; its projects are the user's own."""
STORES = (auth, projects, devices, samples, impulses, workshop, deployments)


@dataclass(frozen=True)
class StudioOptions:
    """How a local Studio works.

    Attributes:
        folder: Where everything is kept.
        cache_folder: Downloads and weights; as `eiauto`'s own.
        jobs: `real`: a job runs beside the requests and takes its time; `immediate`: it has ended when the request
            that starts it is answered.
        weights: Pretrained weights file; None for the registry's.
        offline: Whether leaving this machine is an error.
        username: Who may log in.
        password: With what; empty for one that is made at the first start and kept.
    """

    folder: Path
    cache_folder: Path
    jobs: Literal["real", "immediate"] = "real"
    weights: Path | None = None
    offline: bool = False
    username: str = OWNER
    password: str = ""


class Studio:
    """Everything that the rooms work with. Thread-safe as its parts are.

    Args:
        options: How it works.
        faults: What goes wrong on purpose; None for nothing.

    Raises:
        ProjectBusyError: Another server has the folder.
        StorageError: The folder cannot be used.
    """

    def __init__(self, options: StudioOptions, faults: Faults | None = None) -> None:
        self.options, self.faults = options, faults or Faults()
        self.url = "http://127.0.0.1:4800"
        """Where people and clients reach it; whoever starts the server sets it."""
        self._open = ExitStack()
        with ExitStack() as opening:
            opening.enter_context(_only_one(options.folder))
            self.database = Database(options.folder / "studio.sqlite", "".join(store.TABLES for store in STORES))
            opening.callback(self.database.close)
            self.tokens = auth.Tokens(self.database)
            self.password = options.password or auth.kept_password(self.database)
            self.projects = projects.Projects(self.database, options.folder)
            self.devices = devices.Devices(self.database)
            self.samples = samples.Samples(self.database, self.projects)
            self.impulses = impulses.Impulses(self.database)
            self.workshop = workshop.Workshop(self.database, self.projects, self.samples, self.impulses, options)
            opening.callback(self.workshop.close)
            self.workshop.job_fails = self.faults.job_fails
            self.deployments = deployments.Deployments(self.database, self.projects)
            versions.delete_abandoned(self)
            self._open = opening.pop_all()

    def delete_project(self, project_id: int) -> None:
        """Delete a project with all that belongs to it; its jobs are stopped first."""
        self.projects.info(project_id)
        self.workshop.forget(project_id)
        self.projects.delete(project_id)

    def socket_token(self, project_id: int, *, may_cancel: bool) -> tuple[str, float]:
        """A token for the web socket of a project, and when it ends (seconds since 1970)."""
        kind = "socket" if may_cancel else "socket-reader"
        return self.tokens.make(kind, auth.SOCKET_TOKEN_S, project_id)

    def socket_project(self, token: str) -> tuple[int, bool] | None:
        """The project of a socket token, and whether its holder may cancel jobs.

        None where the token is not ours, or its time is over.
        """
        for kind in ("socket", "socket-reader"):
            if (project_id := self.tokens.read(kind, token)) is not None:
                return project_id, kind == "socket"
        return None

    def close(self) -> None:
        """Stop the jobs, close the database, let the folder go; a second time does nothing."""
        self._open.close()


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Have a folder for oneself; a killed server no longer has it."""
    with storage_errors(folder, "opening the local Studio's folder"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock(folder / "studio.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ProjectBusyError(
                f"another local Studio works in {folder}", hint="stop it, or give another --folder"
            ) from None
    try:
        yield
    finally:
        lock.release()
