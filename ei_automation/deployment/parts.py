"""Reading the parts of a deployment, a zip or a folder, without trusting what it says of itself."""

from __future__ import annotations

import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ei_automation.errors import NotFoundError, VerificationError
from ei_automation.files import storage_errors

MAX_FILE_BYTES = 64 * 1024 * 1024
"""No file of a deployment comes near it; what does is no deployment."""
MAX_BYTES = 256 * 1024 * 1024
"""Of all files of a zip together."""
MAX_FILES = 20_000
ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
"""How a zip begins, and one without files."""
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
)
"""What the zipfile module raises for damaged, encrypted or exotic files."""


def read_parts(path: Path, is_wanted: Callable[[str], bool], *, is_strict: bool = False) -> dict[str, bytes]:
    """The wanted files of a deployment, by name, with `/` between folders.

    Args:
        path: The zip, or a folder: of that the files at its top and in the folders there.
        is_wanted: Whether to read the file of a name.
        is_strict: Whether to refuse a zip for what it would do to who unpacks it, also with files that are not
            wanted.

    Raises:
        NotFoundError: There is nothing.
        VerificationError: The zip is damaged, or refused.
        StorageError: It cannot be read.
    """
    with storage_errors(path, "reading a deployment"):
        if path.is_dir():
            found = {name: entry for name, entry in _folder_files(path) if is_wanted(name)}
            sizes = {name: entry.stat().st_size for name, entry in found.items()}
            return _read(sizes, lambda name: found[name].read_bytes())
        if path.is_file():
            return _read_zip(path, is_wanted, is_strict)
    raise NotFoundError(f"there is no deployment at {path}", hint="give a zip or a folder")


def check_entries(
    entries: Sequence[zipfile.ZipInfo],
    what: str,
    *,
    most_bytes: int = MAX_BYTES,
    most_files: int = MAX_FILES,
    show: Callable[[str], str] = repr,
    outcome: str = "",
) -> None:
    """Refuse what would write outside a folder, overwrite itself or fill a disk, before anything is unpacked.

    Args:
        entries: Of a zip, without its folders.
        what: For sentences, e.g. `deployment 3`.
        most_bytes: Of all files together.
        most_files: How many.
        show: How a file's name is put into a sentence.
        outcome: What follows a sentence, e.g. `; nothing was stored`.

    Raises:
        VerificationError: Says which file, and what is wrong with it.
    """
    total = sum(entry.file_size for entry in entries)
    if total > most_bytes or len(entries) > most_files:
        raise VerificationError(
            f"{what} would unpack to {total:,} bytes in {len(entries):,} files; at most {most_bytes:,} bytes in "
            f"{most_files:,} files are taken"
        )
    seen: set[str] = set()
    for entry in entries:
        shown = show(entry.filename)
        if problem := _name_problem(entry):
            raise VerificationError(f"{what} has a file {shown}, {problem}{outcome}")
        if entry.filename.casefold() in seen:
            raise VerificationError(f"{what} has the file {shown} twice{outcome}")
        seen.add(entry.filename.casefold())


def _name_problem(entry: zipfile.ZipInfo) -> str:
    """Why an entry must not be unpacked; empty when it may."""
    name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
    parts = name.split("/")
    if entry.orig_filename != name or not name.isprintable() or "\\" in name:
        return "whose name holds characters that no file name should"
    if name.startswith("/") or ":" in parts[0] or ".." in parts or "" in parts or "." in parts:
        return "which would be written outside its folder"
    if kind not in (0, stat.S_IFREG):
        return "which is a link or a device"
    return "which is encrypted" if entry.flag_bits & 1 else ""


def _folder_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files at a folder's top and one folder deeper, by name."""
    for entry in sorted(folder.iterdir()):
        if entry.is_file():
            yield entry.name, entry
        elif entry.is_dir():
            yield from ((f"{entry.name}/{each.name}", each) for each in sorted(entry.iterdir()) if each.is_file())


def _read_zip(path: Path, is_wanted: Callable[[str], bool], is_strict: bool) -> dict[str, bytes]:
    """The wanted files of a zip."""
    with path.open("rb") as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                entries = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
                if is_strict:
                    check_entries(entries, str(path))
                sizes = {entry.filename: entry.file_size for entry in entries if is_wanted(entry.filename)}
                return _read(sizes, archive.read)
        except BROKEN as error:
            raise VerificationError(
                f"{path} is no zip, or a damaged one: {error}", hint="download or build it again"
            ) from error


def _read(sizes: Mapping[str, int], read: Callable[[str], bytes]) -> dict[str, bytes]:
    """Read files whose sizes are sane."""
    for name, size in sizes.items():
        if size > MAX_FILE_BYTES:
            raise VerificationError(f"{name} says it has {size} bytes; no part of a deployment is as large")
    return {name: read(name) for name in sizes}
