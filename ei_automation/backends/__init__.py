"""Where an impulse lives and trains: the contract (`base`), and the lazy door to its implementations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ei_automation.backends.base import Backend
from ei_automation.errors import UsageError
from ei_automation.settings import BACKENDS


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
    """

    project: str
    state_folder: Path
    split: str
    cache_folder: Path
    project_folder: Path
    weights: Path | None
    offline: bool
    facts: ProjectFacts


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
    raise UsageError(f"no backend is called {name!r}", hint=f"known: {', '.join(BACKENDS)}")
