"""Image folders: `LABEL/FILE`, or with category folders, `TRAIN/LABEL/FILE` or `LABEL/TRAIN/FILE`.

Folders below a label's folder belong to that label.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ei_automation.dataset.names import listed
from ei_automation.dataset.readers.base import FolderFile, Found, Listing, sort_out
from ei_automation.errors import DatasetError


def read_image_folder(root: Path, files: Iterable[FolderFile], categories: frozenset[str]) -> Listing:
    """Find label and category of each image from the folders above it.

    Args:
        root: Where the reader starts, for the sentences.
        files: The files below it.
        categories: Names of category folders, lower case.

    Raises:
        DatasetError: Some images stand in category folders and some do not.
    """
    ignored: dict[str, str] = {}
    found: list[Found] = []
    for file in sort_out(files, ignored):
        label, category = _place(file.folders, categories)
        if label:
            found.append(Found(file, label, category))
        else:
            ignored[file.name] = "not in the folder of a label"
    _check_categories(root, found)
    return Listing(tuple(found), ignored)


def _place(folders: Sequence[str], categories: frozenset[str]) -> tuple[str, str]:
    """Label and category folder: the label stands right below the category folder, or else right above."""
    at = next((index for index, name in enumerate(folders) if name.casefold() in categories), None)
    if at is None:
        return (folders[0] if folders else ""), ""
    if at + 1 < len(folders):
        return folders[at + 1], folders[at]
    return (folders[at - 1] if at else ""), folders[at]


def _check_categories(root: Path, found: Sequence[Found]) -> None:
    """Refuse a folder beside TRAIN and TEST that is neither; it would pass for a label."""
    known = {item.category for item in found if item.category}
    others = {item.file.folders[0] for item in found if not item.category}
    if known and others:
        raise DatasetError(
            f"in {root} the folder {listed(sorted(others))} stands beside the category folders"
            f" {listed(sorted(known))} and is none of them",
            hint="name it under dataset.categories or dataset.leave_out, or let dataset.root start deeper",
        )
