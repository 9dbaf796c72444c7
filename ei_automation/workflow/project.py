"""A project folder: manifest, lock, state, and the guard that lets one run in at a time."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from ei_automation.backends import BackendOptions, ProjectFacts, open_backend
from ei_automation.backends.base import Backend
from ei_automation.errors import ProjectBusyError, VerificationError
from ei_automation.files import ensure_folder, fingerprint, storage_errors, write_atomically
from ei_automation.schema.lock import MAIN_SPLIT, DatasetRecord, EnvironmentRecord, Lock, SplitRecord
from ei_automation.schema.manifest import Manifest, Split
from ei_automation.settings import Settings
from ei_automation.workflow.manifest import load_manifest

LOCK_NAME = "project.lock.json"
STATE_NAME = ".eiauto"
VERSIONED = (
    "eiauto",
    "tensorflow",
    "keras",
    "ai-edge-litert",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "scikit-learn",
)
"""Distributions whose versions can change a result."""


@dataclass(frozen=True)
class Event:
    """What a workflow tells while it works.

    Attributes:
        kind: step (a new one begins or is unchanged), progress, line (of a job's log), note.
        text: For people.
        done: Units done, for progress.
        total: Units in all, for progress.
    """

    kind: str
    text: str
    done: int = 0
    total: int = 0


def _silent(_: Event) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Session:
    """One command's project and surroundings.

    Attributes:
        folder: The project's.
        manifest: What is wanted.
        settings: Of the user.
        backend_name: Where it runs.
        override: Data set that replaces the manifest's origin (`--from`), or None.
        groups: CSV of groups that belongs to it (`--groups`), or None.
        new_split: Whether the recorded split is dropped and all samples are split anew.
        on_event: Gets what happens.
    """

    folder: Path
    manifest: Manifest
    settings: Settings
    backend_name: str = "local"
    override: Path | None = None
    groups: Path | None = None
    new_split: bool = False
    on_event: Callable[[Event], None] = field(default=_silent)

    @property
    def state_folder(self) -> Path:
        """Where the state and the caches of the project are."""
        return self.folder / STATE_NAME

    def content(self, sha256: str) -> Path:
        """Where the local copy of a sample's content is, or would be."""
        return self.state_folder / "samples" / sha256[:2] / sha256

    @property
    def splits(self) -> dict[str, Split]:
        """Every split by name, the main one first."""
        return {MAIN_SPLIT: self.manifest.dataset.split, **self.manifest.dataset.compare}

    @property
    def active_splits(self) -> dict[str, Split]:
        """The splits that the backend has room for: a Studio project holds one."""
        return self.splits if self.backend_name == "local" else {MAIN_SPLIT: self.splits[MAIN_SPLIT]}

    def step(self, text: str) -> None:
        """Tell that a step begins."""
        self.on_event(Event("step", text))

    def note(self, text: str) -> None:
        """Tell something that the user should know."""
        self.on_event(Event("note", text))

    def progress(self, text: str, done: int, total: int) -> None:
        """Tell how far a step is."""
        self.on_event(Event("progress", text, done, total))

    def open_backend(self, split: str = MAIN_SPLIT, dataset: DatasetRecord | None = None) -> Backend:
        """The backend's project for a split.

        Args:
            split: Its name.
            dataset: What a deployment's model card says of the data; not needed for anything else.
        """
        published = self.manifest.published
        spec = self.splits[split]
        findings = dataset.findings if dataset else []
        facts = ProjectFacts(
            description=self.manifest.description,
            published_title=published.title if published else "",
            published_url=published.url if published else "",
            assumptions=self.manifest.assumptions,
            boards=tuple(board.name for board in self.manifest.boards),
            origin=f"{dataset.origin.type} {dataset.origin.reference}" if dataset else "",
            split=describe_split(spec),
            findings=tuple(finding.message for finding in findings if finding.severity == "warning"),
        )
        options = BackendOptions(
            project=self.manifest.name,
            state_folder=self.state_folder,
            split=split,
            cache_folder=self.settings.cache_folder,
            project_folder=self.folder,
            weights=self.settings.weights,
            offline=self.settings.offline,
            facts=facts,
            studio=self.settings.studio,
        )
        return open_backend(self.backend_name, options)

    # The lock

    def read_lock(self) -> Lock:
        """The lock, or an empty one before the first run.

        Raises:
            VerificationError: The file is no lock of this version.
        """
        path = self.folder / LOCK_NAME
        if not path.is_file():
            return Lock(schema=1, project=self.manifest.name)
        try:
            status = path.stat()
            return _parse_lock(path, status.st_mtime_ns, status.st_ino)
        except ValidationError as error:
            detail = error.errors()[0]
            reason = f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
        except (ValueError, OSError) as error:
            reason = str(error)
        raise VerificationError(
            f"{path} is damaged, or of another version: {reason}", hint="restore it, or delete it and run again"
        )

    def write_lock(self, lock: Lock, step: str) -> None:
        """Write the lock with today's environment; one that differs in nothing else is left as it is."""
        if (self.folder / LOCK_NAME).is_file() and lock == self.read_lock():
            return
        updated = lock.model_copy(update={"seals": seals(lock)})
        times = {**lock.environment.times, step: datetime.now(UTC).isoformat(timespec="seconds")}
        environment = EnvironmentRecord(machine=_machine(), versions=environment_versions(), times=times)
        updated = updated.model_copy(update={"environment": environment})
        write_atomically(self.folder / LOCK_NAME, _dump(updated), doing="writing the lock")

    def update_split(self, split: str, step: str, **changes: Any) -> None:
        """Change one split's record in the lock."""
        lock = self.read_lock()
        record = lock.splits.get(split, SplitRecord()).model_copy(update=changes)
        self.write_lock(lock.model_copy(update={"splits": {**lock.splits, split: record}}), f"{step} {split}")


def describe_split(spec: Split) -> str:
    """A split in words."""
    if spec.method == "source":
        return "the source's own categories"
    whole = ", whole groups" if spec.method == "group" else ""
    return f"stratified by label{whole}, {spec.testing_ratio:.0%} testing, seed {spec.seed}"


def open_session(
    folder: Path,
    settings: Settings,
    *,
    backend_name: str = "local",
    override: Path | None = None,
    groups: Path | None = None,
    on_event: Callable[[Event], None] = _silent,
) -> Session:
    """Read a project's manifest and bind it to its surroundings.

    Args:
        folder: The project's; a path to its project.toml is taken too.
        settings: Of the user.
        backend_name: local or studio.
        override: Data set that replaces the manifest's origin.
        groups: CSV of groups that belongs to it.
        on_event: Gets what happens.
    """
    folder = folder.parent if folder.name == "project.toml" else folder
    manifest = load_manifest(folder)
    return Session(folder.resolve(), manifest, settings, backend_name, override, groups, on_event=on_event)


@contextmanager
def exclusive(session: Session) -> Iterator[None]:
    """Hold the project for one run; say so and wait while another one holds it.

    Raises:
        ProjectBusyError: The other run did not end within the settings' time.
        StorageError: The project folder cannot be written.
    """
    folder = ensure_folder(session.state_folder, "keeping the project's state")
    holder = folder / "run.lock"
    guard = FileLock(holder)
    with storage_errors(holder, "keeping the project's state"):
        try:
            guard.acquire(timeout=0)
        except Timeout:
            _wait_for(session, guard, folder / "run.pid")
    try:
        write_atomically(folder / "run.pid", str(os.getpid()), doing="keeping the project's state")
        yield
    finally:
        guard.release()


def _wait_for(session: Session, guard: FileLock, pid_file: Path) -> None:
    who = f"process {pid_file.read_text()}" if pid_file.is_file() else "another process"
    limit = session.settings.lock_timeout_s
    session.note(f"{who} is working in {session.folder}; waiting up to {limit:.0f} s for it")
    try:
        guard.acquire(timeout=limit)
    except Timeout:
        raise ProjectBusyError(
            f"{who} is still working in {session.folder} after {limit:.0f} s",
            hint="wait for it or stop it, then run the same command again",
        ) from None


def data_fingerprint(manifest: Manifest) -> str:
    """Of what a sync depends on in the manifest: its values, not its layout."""
    return fingerprint(manifest.model_dump(mode="json", include={"dataset", "impulse"}))


def seals(lock: Lock) -> dict[str, str]:
    """Fingerprint of each section of a lock, by name."""
    content = lock.model_dump(mode="json")
    sections = {"project": lock.project, "dataset": content["dataset"], "samples": content["samples"]}
    if lock.flashed:
        sections["flashed"] = content["flashed"]
    sections |= {f"split {name}": content["splits"][name] for name in lock.splits}
    return {name: fingerprint(section) for name, section in sections.items()}


@lru_cache(maxsize=1)
def _parse_lock(path: Path, _time: int, _inode: int) -> Lock:
    """A lock, parsed once for as long as the file is the same one: it is replaced, never written into."""
    return Lock.model_validate(json.loads(path.read_text(encoding="utf-8")))


def _machine() -> dict[str, str]:
    return {"system": platform.system(), "machine": platform.machine(), "cores": str(os.cpu_count())}


def environment_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that can change a result."""
    versions = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _dump(lock: Lock) -> str:
    """Sorted keys; one line a sample, so that a change shows as one line."""
    content = lock.model_dump(mode="json", by_alias=True)
    samples = [{key: row[key] for key in row if key != "group" or row[key]} for row in content.pop("samples")]
    rows = ",\n".join("  " + json.dumps(row, sort_keys=True, ensure_ascii=False) for row in samples)
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
    listing = f'"samples": [\n{rows}\n ]' if rows else '"samples": []'
    return f"{text[:-2]},\n {listing}\n}}\n"
