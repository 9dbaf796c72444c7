"""`eiauto init`: a manifest to start from."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import resources
from pathlib import Path

from ei_automation.errors import NotFoundError, UsageError
from ei_automation.files import write_atomically
from ei_automation.workflow.manifest import FILE_NAME, parse_manifest

TEMPLATE = "project.toml"


def init(folder: Path, data: Path | None = None) -> Path:
    """Write a commented project.toml that is valid as it stands.

    Args:
        folder: The new project's; made where it is not there.
        data: A folder or zip with the labelled images; None for the digits that scikit-learn ships.

    Returns:
        The manifest's path.

    Raises:
        UsageError: The folder has a manifest already, or its name is no project name.
        NotFoundError: `data` is not there.
    """
    path = folder / FILE_NAME
    if path.exists():
        raise UsageError(f"{path} is there already", hint="edit it, or choose another folder")
    if data is not None and not data.exists():
        raise NotFoundError(f"there is no {data}", hint="give the folder or zip that holds the labelled images")
    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")
    if not name:
        raise UsageError(
            f"{folder.name!r} gives no project name", hint="use letters or digits in the folder's name"
        )
    template = (
        resources.files("ei_automation.workflow").joinpath("templates", TEMPLATE).read_text(encoding="utf-8")
    )
    text = template.replace("@NAME@", name).replace("@ORIGIN@", _origin(data))
    parse_manifest(tomllib.loads(text), text, path)
    write_atomically(path, text, doing="writing a new manifest")
    return path


def _origin(data: Path | None) -> str:
    if data is None:
        return 'type = "bundled"\nname = "sklearn-digits"'
    kind = "folder" if data.is_dir() else "zip"
    return f'type = "{kind}"\npath = {json.dumps(str(data.resolve()))}'
