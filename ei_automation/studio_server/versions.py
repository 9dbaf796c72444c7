"""Versions: a copy of a project as it was, kept as a project of its own that nobody works in."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ei_automation.errors import NotFoundError, UsageError
from ei_automation.files import storage_errors
from ei_automation.studio_server.impulses import TRAINING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ei_automation.studio_server.studio import Studio

SETTING = "versions"
SNAPSHOT = "snapshotOf"
"""Setting of a copy: `{"project": ..., "version": ...}`, the version None until it is whole."""
NOT_COPIED = (SETTING, SNAPSHOT)
FOLDERS = ("models", "pretrained", "local")
"""Of a project's state folder: what its settings and blocks refer to, and what the local backend knows of it."""
DOING = "copying a project"
ACCURACY_VARIANT = "int8"
"""Studio's default variant."""


@dataclass(frozen=True)
class Version:
    """One version of a project.

    Attributes:
        number: Counts the project's versions, from 1.
        description: By whom made it.
        created: Seconds since 1970.
        snapshot_id: The project that holds it.
        public: Whether everybody may read it.
        samples: How many it has.
        accuracy: Of the model on its validation samples, 0..1; None without a model.
    """

    number: int
    description: str
    created: float
    snapshot_id: int
    public: bool
    samples: int
    accuracy: float | None


def versions(studio: Studio, project_id: int) -> list[Version]:
    """A project's versions, oldest first."""
    kept = studio.projects.get(project_id, SETTING, {}).get("versions", [])
    return [Version(**value) for value in kept]


def next_number(studio: Studio, project_id: int) -> int:
    """The number that the next version gets; numbers of deleted ones are not given again."""
    return int(studio.projects.get(project_id, SETTING, {}).get("next", 1))


def version(studio: Studio, project_id: int, number: int) -> Version:
    """One version.

    Raises:
        NotFoundError: There is none of this number.
    """
    found = next((item for item in versions(studio, project_id) if item.number == number), None)
    if found is None:
        raise NotFoundError(f"There is no version with ID {number}")
    return found


def newest_public(studio: Studio, project_id: int) -> Version | None:
    """The newest version that everybody may read."""
    return next((item for item in reversed(versions(studio, project_id)) if item.public), None)


def make(studio: Studio, project_id: int, description: str, *, public: bool) -> Version:
    """Keep a project as it is now.

    Args:
        studio: Whose project.
        project_id: Which.
        description: What to say of it.
        public: Whether everybody may read it.
    """
    row = studio.projects.info(project_id)
    snapshot_id = studio.projects.create(row.name, owner=row.owner)
    try:
        studio.projects.set(snapshot_id, SNAPSHOT, {"project": project_id, "version": None})
        studio.projects.update(snapshot_id, description=row.description)
        samples = copy_project(studio, project_id, snapshot_id)
        with studio.database.transaction():
            number = next_number(studio, project_id)
            studio.projects.set(snapshot_id, SNAPSHOT, {"project": project_id, "version": number})
            accuracy = _accuracy(studio, snapshot_id)
            made = Version(number, description, time.time(), snapshot_id, public, samples, accuracy)
            _keep(studio, project_id, [*versions(studio, project_id), made], number + 1)
    except BaseException:
        studio.delete_project(snapshot_id)
        raise
    studio.projects.update(snapshot_id, public=public)
    return made


def change(studio: Studio, project_id: int, number: int, changes: Mapping[str, Any]) -> None:
    """Change a version's description, or whether it is public.

    Raises:
        NotFoundError: There is none of this number.
    """
    with studio.database.transaction():
        changed = replace(version(studio, project_id, number), **changes)
        others = versions(studio, project_id)
        _keep(studio, project_id, [changed if item.number == number else item for item in others])
    studio.projects.update(changed.snapshot_id, public=changed.public)


def delete(studio: Studio, project_id: int, number: int) -> None:
    """Forget a version and what it holds.

    Raises:
        NotFoundError: There is none of this number.
    """
    gone = version(studio, project_id, number)
    with studio.database.transaction():
        _keep(studio, project_id, [item for item in versions(studio, project_id) if item.number != number])
    studio.delete_project(gone.snapshot_id)


def delete_all(studio: Studio, project_id: int) -> None:
    """Forget every version of a project that is to be deleted, those that a job is making too."""
    studio.workshop.forget(project_id)
    for item in versions(studio, project_id):
        delete(studio, project_id, item.number)


def delete_abandoned(studio: Studio) -> None:
    """Delete copies that no version names: what a server left that was killed while it made or deleted one."""
    named = {item.snapshot_id for row in studio.projects.all() for item in versions(studio, row.project_id)}
    for row in studio.projects.all():
        if row.project_id not in named and studio.projects.get(row.project_id, SNAPSHOT) is not None:
            studio.delete_project(row.project_id)


def restore(studio: Studio, from_id: int, to_id: int, say: Callable[[str], None]) -> None:
    """Make an empty project what another one is.

    Args:
        studio: Whose projects.
        from_id: The project to copy.
        to_id: The project without data.
        say: Gets what is being done.

    Raises:
        UsageError: The project has data.
    """
    require_empty(studio, to_id)
    samples = copy_project(studio, from_id, to_id)
    say(f"Restored {samples} samples, the impulse, its settings and its models")


def require_empty(studio: Studio, project_id: int) -> None:
    """Refuse to overwrite data.

    Raises:
        UsageError: The project has samples.
    """
    if count := studio.samples.count(project_id):
        raise UsageError(
            f"Can only restore into a project without data, this one has {count} samples",
            hint="delete all samples first, or create another project",
        )


def copy_project(studio: Studio, from_id: int, to_id: int) -> int:
    """Copy samples, impulse, settings and models; the samples last, as the mark that all is there.

    Returns:
        How many samples.
    """
    for name in FOLDERS:
        source, target = (studio.projects.folder(project) / name for project in (from_id, to_id))
        if source.is_dir():
            with storage_errors(target, DOING):
                shutil.copytree(source, target, ignore=_beside_database, copy_function=_copy, dirs_exist_ok=True)
    for name, value in studio.projects.settings(from_id).items():
        if name not in NOT_COPIED:
            studio.projects.set(to_id, name, value)
    studio.impulses.copy(from_id, to_id)
    samples = studio.samples.copy(from_id, to_id)
    studio.projects.touch(to_id)
    return samples


def _beside_database(_folder: str, names: list[str]) -> list[str]:
    """Files that are part of a database while it is open; its copy is made without them."""
    return [name for name in names if name.endswith((".sqlite-wal", ".sqlite-shm", ".sqlite-journal"))]


def _copy(source: str, target: str) -> None:
    """Copy a file; a database as it is at one moment, whoever writes to it meanwhile."""
    if not source.endswith(".sqlite"):
        shutil.copy2(source, target)
        return
    with closing(sqlite3.connect(source)) as here, closing(sqlite3.connect(target)) as there:
        here.backup(there)


def _keep(studio: Studio, project_id: int, items: list[Version], following: int | None = None) -> None:
    value = {
        "next": following or next_number(studio, project_id),
        "versions": [asdict(item) for item in items],
    }
    studio.projects.set(project_id, SETTING, value)


def _accuracy(studio: Studio, project_id: int) -> float | None:
    """Of the trained model on its validation samples, 0..1; None without a model."""
    for block in (studio.impulses.get(project_id) or {}).get("learnBlocks", ()):
        trained = studio.impulses.value(project_id, block["id"], TRAINING) or {}
        for metrics in trained.get("metrics", ()):
            if metrics["variant"] == ACCURACY_VARIANT:
                return float(metrics["accuracy"])
    return None
