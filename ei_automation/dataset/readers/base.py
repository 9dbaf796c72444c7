"""What every reader shares: the files of a folder, and which of them can be images."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ei_automation.dataset.names import one_spelling
from ei_automation.errors import DatasetError

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}  # as Pillow reads them
)
JUNK = frozenset({"__macosx", "thumbs.db", "desktop.ini"})
"""What operating systems leave behind, in lower case. Hidden files count as junk too."""


@dataclass(frozen=True)
class FolderFile:
    """A file below the reader's root.

    Attributes:
        path: The file.
        folders: Names of the folders between root and file, in one spelling (NFC).
        name: Folders and file name joined with `/`, in one spelling.
        is_file: Whether the folder says that it is a plain file; else it may be a link, or anything.
    """

    path: Path
    folders: tuple[str, ...]
    name: str
    is_file: bool = False


@dataclass(frozen=True)
class Found:
    """An image as a reader found it, before the manifest's mapping.

    Attributes:
        file: The file.
        label: The source's label.
        category: Name of its category folder; empty where it has none.
    """

    file: FolderFile
    label: str
    category: str = ""


@dataclass(frozen=True)
class Listing:
    """What a reader returns.

    Attributes:
        found: The images.
        ignored: Name of each other file to why it is no sample.
        labels: Source labels in the order that the source gives them; empty for alphabetical.
    """

    found: tuple[Found, ...]
    ignored: dict[str, str]
    labels: tuple[str, ...] = ()


Reader = Callable[[Path, Iterable[FolderFile], frozenset[str]], Listing]
"""Gets the root, its files (junk and what is left out are gone) and the category folders' names in lower case."""


def walk(root: Path) -> Iterator[FolderFile]:
    """All files below a folder except junk; linked folders are followed, each once.

    Raises:
        DatasetError: A folder cannot be listed.
    """
    return _walk(root, (), {_identity(root)})


def _walk(folder: Path, folders: tuple[str, ...], visited: set[tuple[int, int]]) -> Iterator[FolderFile]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=_name)
    except OSError as error:
        raise DatasetError(
            f"the folder {folder} cannot be listed: {error.strerror}", hint="make it readable"
        ) from error
    below = []
    prefix = "".join(f"{part}/" for part in folders)
    for entry in entries:
        if _is_folder(entry):
            below.append(entry.name)
        elif not is_junk(entry.name):
            plain = entry.is_file(follow_symlinks=False)
            yield FolderFile(folder / entry.name, folders, prefix + one_spelling(entry.name), plain)
    for name in below:
        if _enter(folder / name, visited):
            yield from _walk(folder / name, (*folders, one_spelling(name)), visited)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one; a link in a circle is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def sort_out(files: Iterable[FolderFile], ignored: dict[str, str]) -> Iterator[FolderFile]:
    """The files that can be images; the others are entered in `ignored` with the reason."""
    for file in files:
        reason = _why_not(file)
        if reason:
            ignored[file.name.encode(errors="backslashreplace").decode()] = reason
        else:
            yield file


def _why_not(file: FolderFile) -> str:
    """Why a file is no image; empty when it may be one."""
    if os.path.splitext(file.name)[1].lower() not in IMAGE_SUFFIXES:  # noqa: PTH122 - thousands of names
        return "not an image by its name"
    try:
        file.name.encode()
    except UnicodeEncodeError:
        return "its name is no valid text; rename it"
    return "" if file.is_file else _unreadable_kind(file.path)


def _unreadable_kind(path: Path) -> str:
    """Why a name is no file that can be read; opening a named pipe would wait for ever."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return "a link that leads nowhere" if path.is_symlink() else f"it cannot be reached: {error.strerror}"
    return "" if stat.S_ISREG(mode) else "a pipe, a socket or a device, not a file"


def _enter(folder: Path, visited: set[tuple[int, int]]) -> bool:
    """Whether to go into a folder; links can lead in a circle."""
    if is_junk(folder.name) or (identity := _identity(folder)) in visited:
        return False
    visited.add(identity)
    return True


def _identity(folder: Path) -> tuple[int, int]:
    """Device and inode."""
    status = folder.stat()
    return (status.st_dev, status.st_ino)


def is_junk(name: str) -> bool:
    """Whether a file or folder is hidden, or left behind by an operating system."""
    return name.startswith(".") or name.lower() in JUNK
