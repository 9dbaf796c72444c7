"""Zip archives: looked through before a byte is written, then unpacked whole or not at all."""

from __future__ import annotations

import lzma
import re
import shutil
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ei_automation.dataset.fetch.base import Fetched, FetchRequest, OnProgress, check_sha256
from ei_automation.dataset.fetch.tree import stored_tree
from ei_automation.errors import DatasetError, NotFoundError, StorageError
from ei_automation.files import sha256_file, storage_errors
from ei_automation.schema.lock import OriginRecord
from ei_automation.schema.manifest import ZipOrigin

MAX_FILES = 1_000_000
"""Above the largest image sets that people ask for (about 600,000 files); a bomb of names stops here."""
MAX_TOTAL_BYTES = 200 * 2**30
"""Kaggle's own limit for one data set is 200 GB; nothing larger can come from there."""
MAX_RATIO = 100
"""Unpacked to packed. Image formats are packed already (about 1); bitmaps reach 50; a bomb of nested
zeros 1,000 for deflate's best case and far more with overlapping members."""
RATIO_FREE_BYTES = 64 * 2**20
"""Under this unpacked size the ratio does not matter: no machine is harmed by it."""
MAX_DEPTH = 64
"""Folders above a file; real sets stay under ten."""
PROGRESS_FILES = 50
"""Files between two calls of the progress callback."""
_DRIVE = re.compile(r"^[A-Za-z]:")
_REFUSED_HINT = "do not use this archive; get it again from a source that you trust"
_CORRUPT_HINT = "get the archive again; nothing of it was kept"


def fetch_zip(origin: ZipOrigin, request: FetchRequest) -> Fetched:
    """The zip that the manifest names, unpacked.

    Raises:
        NotFoundError: It is not there.
        DatasetError: It is corrupt or hostile.
        VerificationError: It is not the recorded archive.
        StorageError: The cache folder cannot be written.
    """
    return open_zip(request.project_folder / Path(origin.path).expanduser(), request, overridden=False)


def open_zip(path: Path, request: FetchRequest, *, overridden: bool) -> Fetched:
    """A zip on this machine, unpacked; raises as `fetch_zip`.

    Args:
        path: The zip.
        request: Cache folder, expected hash, progress.
        overridden: Whether `--from` named it.
    """
    if not path.is_file():
        raise NotFoundError(
            f"the data set's archive {path} is not there",
            hint="correct dataset.origin.path in project.toml, or give the place with --from PATH",
        )
    with storage_errors(path, "reading the archive"):
        digest = sha256_file(path)
    check_sha256(
        digest,
        request.expected_sha256,
        f"the archive {path}",
        hint="use the recorded archive; with another one, unpack it and give its folder with --from PATH",
    )
    root = unpack(path, digest, request.downloads, request.on_progress)
    record = OriginRecord(type="zip", reference=path.name, archive_sha256=digest, overridden=overridden)
    return Fetched(root=root, origin=record)


def unpack(archive: Path, digest: str, downloads: Path, on_progress: OnProgress) -> Path:
    """The folder with an archive's files; unpacked once per content.

    Args:
        archive: The zip.
        digest: Its SHA-256, which names the folder.
        downloads: The cache folder.
        on_progress: Gets "unpack", files done and files in all.

    Raises:
        DatasetError: The archive is corrupt or hostile; nothing of it is kept.
        StorageError: The cache folder cannot be written, or the disk is too small.
    """

    def fill(folder: Path) -> None:
        with _archive_errors(archive), zipfile.ZipFile(archive) as opened:
            members = safe_members(opened, archive)
            _check_room(members, folder)
            _extract(opened, members, folder, on_progress)

    return stored_tree(downloads / "unpacked" / digest, fill, f"unpacking {archive.name}")


def safe_members(opened: zipfile.ZipFile, archive: Path) -> list[tuple[PurePosixPath, zipfile.ZipInfo]]:
    """The files of a zip with the relative path each may be written to.

    Args:
        opened: The zip.
        archive: Its path, for the sentences and the packed size.

    Raises:
        DatasetError: A path that leaves the folder, a link or device, a password, two members for one
            path, too many files, too many bytes, or too good a compression to be images.
    """
    infos = opened.infolist()
    if len(infos) > MAX_FILES:
        raise _refused(archive, f"it has {len(infos):,} members; the limit is {MAX_FILES:,}")
    _check_size(sum(info.file_size for info in infos), archive)
    members = [(safe_path(info.orig_filename, archive), _plain(info, archive)) for info in infos]
    files = [(path, info) for path, info in members if not info.is_dir() and path.parts]
    _check_collisions(files, archive)
    return files


def safe_path(name: str, archive: Path) -> PurePosixPath:
    r"""A member's path below the folder that it is unpacked into.

    Args:
        name: As the archive has it; `\\` counts as `/`, as some Windows tools write it.
        archive: For the sentence.

    Raises:
        DatasetError: It is absolute, names a drive, goes up with `..`, holds a NUL, or is too deep.
    """
    plain = name.replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    if plain.startswith("/") or _DRIVE.match(plain):
        raise _refused(archive, f"it holds the absolute path {name!r}")
    if ".." in parts:
        raise _refused(archive, f"it holds the path {name!r}, which leads out of its folder")
    if "\0" in name or len(parts) > MAX_DEPTH:
        raise _refused(archive, f"it holds the path {name[:80]!r}, which no file system should get")
    return PurePosixPath(*parts)


def _plain(info: zipfile.ZipInfo, archive: Path) -> zipfile.ZipInfo:
    """The member, if it is a file or folder that can be read without a password."""
    kind = stat.S_IFMT(info.external_attr >> 16)  # upper half: Unix mode, 0 where the zip has none
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused(archive, f"it holds {info.filename!r}, a symbolic link or device")
    if info.flag_bits & 0x1:
        raise DatasetError(
            f"the archive {archive} is locked with a password (member {info.filename!r})",
            hint="unpack it yourself and give the folder with --from PATH",
        )
    return info


def _check_size(total_bytes: int, archive: Path) -> None:
    """Refuse what would fill the disk."""
    packed = max(archive.stat().st_size, 1)
    if total_bytes > MAX_TOTAL_BYTES:
        raise _refused(archive, f"it grows to {total_bytes:,} bytes; the limit is {MAX_TOTAL_BYTES:,}")
    if total_bytes > RATIO_FREE_BYTES and total_bytes > MAX_RATIO * packed:
        ratio = total_bytes // packed
        raise _refused(archive, f"it grows {ratio:,} times; the limit is {MAX_RATIO}, and images stay near 1")


def _check_collisions(files: Sequence[tuple[PurePosixPath, zipfile.ZipInfo]], archive: Path) -> None:
    """Refuse two members for one path, and a file where a folder must be."""
    paths = {path for path, _ in files}
    if len(paths) < len(files):
        twice = Counter(path for path, _ in files).most_common(1)[0][0]
        raise _refused(archive, f"it holds two members for the path '{twice}'")
    clash = next((path for path in paths if not paths.isdisjoint(path.parents)), None)
    if clash is not None:
        raise _refused(archive, f"it holds '{clash}' below a path that is a file")


def _check_room(members: Sequence[tuple[PurePosixPath, zipfile.ZipInfo]], folder: Path) -> None:
    """Refuse to start what the disk cannot hold."""
    needed, free = sum(info.file_size for _, info in members), shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"unpacking needs {needed:,} bytes, and {folder.parent} has {free:,} free",
            hint="free space, or put the cache elsewhere with XDG_CACHE_HOME",
        )


def _extract(
    opened: zipfile.ZipFile,
    members: Sequence[tuple[PurePosixPath, zipfile.ZipInfo]],
    folder: Path,
    on_progress: OnProgress,
) -> None:
    """Write the members; zipfile checks each one's CRC and stops at its declared size."""
    for done, (path, info) in enumerate(members, start=1):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with _member_errors(opened, info), opened.open(info) as source, target.open("xb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
        if done % PROGRESS_FILES == 0 or done == len(members):
            on_progress("unpack", done, len(members))


@contextmanager
def _archive_errors(archive: Path) -> Iterator[None]:
    """Say which archive is no zip."""
    try:
        yield
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise DatasetError(
            f"the archive {archive} is no zip, or was cut short: {error}", hint=_CORRUPT_HINT
        ) from error


@contextmanager
def _member_errors(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[None]:
    """Say which member is corrupt."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError) as error:
        raise _corrupt(opened, info, error) from error
    except OSError as error:
        if error.errno is None:  # bz2's word for corrupt data; the system's own errors carry a number
            raise _corrupt(opened, info, error) from error
        raise


def _corrupt(opened: zipfile.ZipFile, info: zipfile.ZipInfo, error: Exception) -> DatasetError:
    """The error for a member that does not unpack to what the archive says."""
    return DatasetError(
        f"the archive {opened.filename} is corrupt at its member '{info.filename}': {error}", hint=_CORRUPT_HINT
    )


def _refused(archive: Path, what: str) -> DatasetError:
    """The error for an archive that no honest tool makes."""
    return DatasetError(f"the archive {archive} is refused: {what}", hint=_REFUSED_HINT)
