"""Fetch: from an origin of the manifest to a folder on this machine. One module per origin.

A new origin is a model in `schema/manifest.py`, a module here and a line in `ORIGINS`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ei_automation.dataset.fetch.archive import fetch_zip, open_zip
from ei_automation.dataset.fetch.base import Fetched, FetchRequest, OnProgress
from ei_automation.dataset.fetch.bundled import fetch_bundled
from ei_automation.dataset.fetch.folder import fetch_folder, open_folder
from ei_automation.dataset.fetch.kaggle import fetch_kaggle
from ei_automation.errors import NotFoundError
from ei_automation.schema.manifest import Origin

ORIGINS: dict[str, Callable[[Any, FetchRequest], Fetched]] = {
    "kaggle": fetch_kaggle,
    "folder": fetch_folder,
    "zip": fetch_zip,
    "bundled": fetch_bundled,
}
"""Type of an origin to what fetches it."""


def fetch(
    origin: Origin,
    *,
    project_folder: Path,
    downloads: Path,
    override: Path | None = None,
    expected_sha256: str | None = None,
    offline: bool = False,
    on_progress: OnProgress,
) -> Fetched:
    """Bring the data of an origin onto this machine; what is there already is not fetched again.

    Args:
        origin: Section `[dataset.origin]` of the manifest.
        project_folder: Relative paths of the manifest start here.
        downloads: Cache folder for archives and unpacked data, shared by all projects.
        override: A folder or zip that stands in for the origin (`--from`).
        expected_sha256: Of the archive, where the record knows it; checked for an overriding zip too.
        offline: Whether the network is off limits; the cache still serves.
        on_progress: Called with step, done and total (bytes or files; total 0 while not known).

    Raises:
        NotFoundError: There is no such folder, zip or data set.
        DatasetError: The archive is corrupt or hostile.
        NetworkError: The server, or the way to it, failed for good, or `offline` forbids it.
        SettingsError: Credentials or the Kaggle client are missing or refused.
        StorageError: The cache folder cannot be written.
        VerificationError: The archive is not the recorded one.
    """
    request = FetchRequest(project_folder, downloads, expected_sha256, offline, on_progress)
    if override is None:
        return ORIGINS[origin.type](origin, request)
    return _fetch_override(override, request)


def _fetch_override(path: Path, request: FetchRequest) -> Fetched:
    """A folder or a zip that the user names instead of the manifest's origin."""
    if path.is_dir():
        return open_folder(path, overridden=True)
    if path.is_file():
        return open_zip(path, request, overridden=True)
    raise NotFoundError(
        f"there is no folder or zip at {path}, the place that --from names",
        hint="check the path; it starts in the folder where the command runs",
    )


__all__ = ["ORIGINS", "Fetched", "fetch"]
