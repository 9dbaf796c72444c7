"""OpenMV data sets, as its IDE's Dataset Editor writes them: `LABEL.class/00000.jpg` and labels.txt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ei_automation.dataset.names import listed, one_spelling
from ei_automation.dataset.readers.base import FolderFile, Found, Listing, sort_out
from ei_automation.errors import DatasetError

CLASS_SUFFIX = ".class"
LABELS_FILE = "labels.txt"
OWN_FILES = frozenset({LABELS_FILE, "dataset_capture_script.py"})
"""Files of the layout that are no samples and no strangers either."""


def read_openmv(root: Path, files: Iterable[FolderFile], _categories: frozenset[str]) -> Listing:
    """Find the label of each image from its `.class` folder.

    labels.txt, where there is one, decides: a class folder that it does not name, or a name without a
    folder, is an error, because the labels' order on the board comes from that file.

    Args:
        root: Where the reader starts.
        files: The files below it.

    Raises:
        DatasetError: labels.txt and the class folders do not agree, or labels.txt cannot be read.
    """
    ignored: dict[str, str] = {}
    found: list[Found] = []
    for file in sort_out((file for file in files if file.name not in OWN_FILES), ignored):
        if file.folders and file.folders[0].endswith(CLASS_SUFFIX):
            found.append(Found(file, file.folders[0].removesuffix(CLASS_SUFFIX)))
        else:
            ignored[file.name] = f"not in a folder NAME{CLASS_SUFFIX}"
    labels = _labels(root / LABELS_FILE)
    if labels and found:
        _check(root, labels, {item.label for item in found})
    return Listing(tuple(found), ignored, labels)


def _labels(path: Path) -> tuple[str, ...]:
    """Names in labels.txt, one a line; none where there is no such file."""
    if not path.is_file():
        return ()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}", hint="write one label a line, in UTF-8") from error
    return tuple(one_spelling(line.strip()) for line in lines if line.strip())


def _check(root: Path, labels: Sequence[str], present: set[str]) -> None:
    """Hold labels.txt and the folders against each other."""
    unnamed, absent = sorted(present - set(labels)), sorted(set(labels) - present)
    if unnamed:
        raise DatasetError(
            f"{root / LABELS_FILE} does not name {listed(unnamed)}, which has a {CLASS_SUFFIX} folder",
            hint=f"add the line to {LABELS_FILE}, or leave the folder out with dataset.leave_out",
        )
    if absent:
        raise DatasetError(
            f"{root / LABELS_FILE} names {listed(absent)}, but no {CLASS_SUFFIX} folder of that name has images",
            hint=f"add images, or take the line out of {LABELS_FILE}",
        )
