"""The export of a project's samples: the files as they were uploaded, and `info.labels`, which describes them."""

from __future__ import annotations

import json
import os
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ei_automation.files import ensure_folder, storage_errors
from ei_automation.studio_api.samples import boxes_json

if TYPE_CHECKING:
    from ei_automation.studio_server.samples import SampleRow
    from ei_automation.studio_server.studio import Studio

INFO_NAME = "info.labels"
DOING = "exporting samples"


def export_place(studio: Studio, project_id: int) -> Path:
    """Where a project's export is, once there is one."""
    return studio.projects.folder(project_id) / "export" / "export.zip"


def write_export(studio: Studio, project_id: int, *, label_in_name: bool) -> int:
    """Export every sample of a project, in place of an earlier export.

    Args:
        studio: Whose project.
        project_id: Which.
        label_in_name: Whether file names begin with the label, for uploaders that take it from there.

    Returns:
        How many samples; with none nothing is written.
    """
    rows = sorted(studio.samples.find(project_id), key=lambda row: row.sample_id)
    place = export_place(studio, project_id)
    if not rows:
        return 0
    ensure_folder(place.parent, DOING)
    with storage_errors(place, DOING):
        temporary = place.with_suffix(".part")
        with temporary.open("wb") as stream:
            _write_zip(stream, [(row, studio.samples.content(row)) for row in rows], label_in_name=label_in_name)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(place)
    return len(rows)


def _write_zip(stream: Any, rows: list[tuple[SampleRow, Path]], *, label_in_name: bool) -> None:
    """Images are compressed already and are stored as they are."""
    taken: Counter[str] = Counter()
    described = []
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for row, content in rows:
            path = _free_path(row, taken, label_in_name=label_in_name)
            archive.write(content, path)
            described.append(_describe(row, path))
        archive.writestr(INFO_NAME, json.dumps({"version": 1, "files": described}, indent=4, ensure_ascii=False))


def _free_path(row: SampleRow, taken: Counter[str], *, label_in_name: bool) -> str:
    """A path in the zip that no other sample has: names are free in a project, and there may be two of one."""
    stem = f"{row.label}.{row.filename}" if label_in_name and row.label else row.filename
    stem = PurePosixPath(stem.replace("/", "_").replace("\\", "_")).name or "sample"
    path = f"{row.category}/{stem}{row.extension}"
    while taken[path.casefold()]:
        stem = f"{stem}.{row.sample_id}"
        path = f"{row.category}/{stem}{row.extension}"
    taken[path.casefold()] += 1
    return path


def _describe(row: SampleRow, path: str) -> dict[str, Any]:
    return {
        "path": path,
        "name": row.filename,
        "category": row.category,
        "label": {"type": "label", "label": row.label} if row.label else {"type": "unlabeled"},
        "metadata": row.metadata,
        "boundingBoxes": boxes_json(row.boxes),
        "enabled": not row.disabled,
    }
