"""A folder on this machine, used where it stands."""

from __future__ import annotations

from pathlib import Path

from ei_automation.dataset.fetch.base import Fetched, FetchRequest
from ei_automation.errors import NotFoundError
from ei_automation.schema.lock import OriginRecord
from ei_automation.schema.manifest import FolderOrigin


def fetch_folder(origin: FolderOrigin, request: FetchRequest) -> Fetched:
    """The folder that the manifest names.

    Raises:
        NotFoundError: It is not there, or no folder.
    """
    return open_folder(request.project_folder / Path(origin.path).expanduser(), overridden=False)


def open_folder(path: Path, *, overridden: bool) -> Fetched:
    """A folder as it is.

    Args:
        path: The folder.
        overridden: Whether `--from` named it.

    Raises:
        NotFoundError: It is not there, or no folder.
    """
    if not path.is_dir():
        what = "is a file, not a folder" if path.exists() else "is not there"
        raise NotFoundError(
            f"the data set's folder {path} {what}",
            hint="correct dataset.origin.path in project.toml, or give the place with --from PATH",
        )
    record = OriginRecord(type="folder", reference=path.resolve().name, overridden=overridden)
    return Fetched(root=path, origin=record)
