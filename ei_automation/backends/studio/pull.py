"""Samples of a Studio project into a folder: `category/label/name`, continuing where it was stopped."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

from ei_automation.backends.studio.client import StudioClient
from ei_automation.backends.studio.samples import list_rows
from ei_automation.errors import DatasetError
from ei_automation.files import ensure_folder, sha256_bytes, sha256_file, storage_errors
from ei_automation.studio_api.samples import identify

DOING = "downloading samples"
WORKERS = 8
MOST_BYTES = 100 << 20
"""Studio's own limit of a file."""
SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg"}
"""First bytes to suffix: Studio's file names may have lost theirs."""
CATEGORIES = ("training", "validation", "testing")


def pull_samples(
    client: StudioClient, project_id: int, folder: Path, on_progress: Callable[[int, int], None]
) -> dict[str, str]:
    """Download every image of a project.

    Args:
        client: Of a key that may read the project.
        project_id: Which.
        folder: Gets `category/label/name`; files that are there with the right content stay.
        on_progress: Gets samples done and in all.

    Returns:
        Folder name to label, where a label is no good name for a folder.

    Raises:
        DatasetError: A sample is no image.
        EiautoError: As the client's.
    """
    rows = [row for row in list_rows(client, project_id) if row.get("category") in CATEGORIES]
    names = {str(row.get("label")): folder_name(str(row.get("label"))) for row in rows}
    with ThreadPoolExecutor(WORKERS) as pool:
        jobs = [
            pool.submit(
                _pull, client, project_id, row, folder / str(row["category"]) / names[str(row.get("label"))]
            )
            for row in rows
        ]
        try:
            for done, job in enumerate(jobs, 1):
                job.result()
                on_progress(done, len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {name: label for label, name in names.items() if name != label}


def folder_name(label: str) -> str:
    """A label as a folder's name: itself where that can be, else without what a path cannot hold."""
    name = re.sub(r"[\x00-\x1f/\\:*?\"<>|]", "_", label).strip(" .")
    return name or "unlabelled"


def _pull(client: StudioClient, project_id: int, row: Mapping[str, Any], folder: Path) -> None:
    stem = f"{folder_name(str(row.get('filename')))[:100]}.{row['id']}"
    sha256 = identify(row)
    for suffix in SUFFIXES.values():
        place = folder / (stem + suffix)
        if place.is_file() and sha256 is not None and sha256_file(place) == sha256:
            return
    with SpooledTemporaryFile(MOST_BYTES) as target:
        client.download(f"/api/{project_id}/raw-data/{row['id']}/raw", target, most_bytes=MOST_BYTES)
        target.seek(0)
        data = target.read()
    found = next((suffix for start, suffix in SUFFIXES.items() if data.startswith(start)), None)
    if found is None:
        raise DatasetError(
            f"sample {row['id']} ({row.get('filename')}) of project {project_id} is no PNG or JPEG image",
            hint="only image projects can be imported with their data; leave out --with-data",
        )
    if sha256 is not None and sha256_bytes(data) != sha256:
        raise DatasetError(
            f"sample {row['id']} ({row.get('filename')}) is not what its hash says",
            hint="run the same command again",
        )
    ensure_folder(folder, DOING)
    place = folder / (stem + found)
    with storage_errors(place, DOING):
        part = place.with_name(f".{place.name}.part")
        part.write_bytes(data)
        part.replace(place)
