"""Where an impulse lives and trains: the contract (`base`), and the lazy door to its implementations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ei_automation.backends.base import Backend
from ei_automation.errors import UsageError
from ei_automation.schema.published import PublicProject
from ei_automation.settings import BACKENDS, StudioSettings


@dataclass(frozen=True)
class BackendOptions:
    """What a backend needs to open a project.

    Attributes:
        project: The project's name.
        state_folder: Where the project's state and caches are kept.
        split: Which split of the samples this backend project holds.
        cache_folder: The user's cache, for pretrained weights.
        project_folder: Paths in the manifest are relative to it.
        weights: Pretrained weights that replace the registry's, or None.
        offline: Whether leaving this machine is an error.
        facts: What a deployment says of the project (description, source, assumptions, boards).
        studio: How to reach Studio; the local backend ignores it.
    """

    project: str
    state_folder: Path
    split: str
    cache_folder: Path
    project_folder: Path
    weights: Path | None
    offline: bool
    facts: ProjectFacts
    studio: StudioSettings | None = None


@dataclass(frozen=True)
class ProjectFacts:
    """What a model card says of the project.

    Attributes:
        description: One or two sentences.
        published_title: Of the reproduced work; empty where there is none.
        published_url: Where it is; empty where there is none.
        assumptions: What the source left open.
        boards: Board names.
        origin: Where the data came from.
        split: How they were split, with ratio and seed.
        findings: The audit's warnings.
    """

    description: str = ""
    published_title: str = ""
    published_url: str = ""
    assumptions: tuple[str, ...] = ()
    boards: tuple[str, ...] = ()
    origin: str = ""
    split: str = ""
    findings: tuple[str, ...] = ()


def open_backend(name: str, options: BackendOptions) -> Backend:
    """Open a project on a backend; only here is an implementation imported.

    Raises:
        UsageError: No such backend.
    """
    if name == "local":
        from ei_automation.backends.local.backend import LocalBackend

        return LocalBackend(options)
    if name == "studio":
        from ei_automation.backends.studio.backend import StudioBackend

        return StudioBackend(options)
    raise UsageError(f"no backend is called {name!r}", hint=f"known: {', '.join(BACKENDS)}")


def check_studio(studio: StudioSettings, patience_s: float) -> str:
    """Ask Studio whose the key is, and refuse one that may not do everything.

    Args:
        studio: How to reach it.
        patience_s: How long a failure that may pass is tried again.

    Returns:
        The project in words.

    Raises:
        SettingsError: No key, or one that is refused or may not train.
        NetworkError: Studio cannot be reached.
    """
    from ei_automation.backends.studio.account import read_access, require_admin
    from ei_automation.backends.studio.client import StudioClient

    with StudioClient(studio, patience_s=patience_s) as client:
        project_id, role = read_access(client)
        require_admin(role)
    return f"admin of project {project_id} at {studio.api_endpoint}"


def read_published(studio: StudioSettings, reference: str) -> PublicProject:
    """Read a published project of Studio, or one that the key may read.

    Args:
        studio: How to reach it.
        reference: Address or number.

    Raises:
        UsageError: It is no reference.
        NotFoundError: There is no such project.
        SettingsError: No key, or one that may not read it.
    """
    from ei_automation.backends.studio.client import StudioClient
    from ei_automation.backends.studio.public import read_public

    with StudioClient(studio) as client:
        return read_public(client, reference)


def pull_published(
    studio: StudioSettings, project: PublicProject, folder: Path, on_progress: Callable[[int, int], None]
) -> dict[str, str]:
    """Download a project's images into `folder/category/label`.

    Returns:
        Folder name to label, where a label is no good name for a folder.
    """
    from ei_automation.backends.studio.client import StudioClient
    from ei_automation.backends.studio.pull import pull_samples

    with StudioClient(studio) as client:
        return pull_samples(client, project.project_id, folder, on_progress)


def restore_published(backend: Backend, project: PublicProject) -> int:
    """Start copying a published version into the backend's own, empty Studio project; returns the job id.

    Raises:
        UsageError: The backend is no Studio project, or has data.
    """
    from ei_automation.backends.studio.backend import StudioBackend

    if not isinstance(backend, StudioBackend):
        raise UsageError("only a Studio project can be restored into", hint="use --backend studio")
    return backend.start_restoring(project.project_id)
