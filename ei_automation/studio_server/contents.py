"""Sample contents as files named by their hash."""

from __future__ import annotations

import filecmp
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from uuid import uuid4

from ei_automation.files import ensure_folder, storage_errors

DOING = "storing samples"
INCOMING = "incoming"
"""Folder of what is not whole yet. What a killed server left there is removed when the folder is first used."""

TOGETHER = 64
"""Files that are written before the first is waited for."""

Content = bytes | Path
"""A content at hand, or a finished file in the incoming folder, which is moved from there."""


class Contents:
    """The contents of one project; laid out as the local backend keeps them.

    Args:
        folder: Made where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = ensure_folder(folder, DOING)
        self._shards: set[str] = set()
        self._turn = threading.Lock()
        self._pending: Counter[str] = Counter()
        self.incoming = ensure_folder(folder / INCOMING, DOING)
        with storage_errors(self.incoming, DOING):
            for left in self.incoming.iterdir():
                left.unlink()

    def place(self, sha256: str) -> Path:
        """Where a content is, or would be."""
        return self._folder / sha256[:2] / sha256

    def keep(self, contents: Iterable[tuple[str, Content]]) -> None:
        """Store contents; they are on disk when this returns. A content that is there already stays.

        Many are written before the first is waited for: the disk then does them at once.

        Args:
            contents: SHA-256 and content.

        Raises:
            StorageError: The folder cannot be written, or the disk is full.
        """
        with storage_errors(self._folder, DOING):
            new = [item for item in dict(contents).items() if not self._is_kept(*item)]
            for start in range(0, len(new), TOGETHER):
                self._keep(new[start : start + TOGETHER])

    def _keep(self, contents: Sequence[tuple[str, Content]]) -> None:
        """A few of them: as many files are open at once.

        They get their names first and are waited for then. That brings the names to disk too, without waiting for
        each folder, on the file systems in use: ext4, XFS and btrfs log a file's rename with the file. Where power
        fails in between, a name may stand for nothing; no row knows of it, and `_is_kept` finds it out.
        """
        written: list[tuple[str, str]] = []
        opened: list[int] = []
        names = [sha256 for sha256, _ in contents]
        with self._turn:
            self._pending.update(names)
        try:
            self._make_shards(names)
            for sha256, content in contents:
                temporary = str(content) if isinstance(content, Path) else self._temporary()
                written.append((temporary, self._name(sha256)))
                opened.append(_write(temporary, content))
            for temporary, place in written:
                os.replace(temporary, place)  # noqa: PTH105
            for descriptor in opened:
                os.fsync(descriptor)
        except BaseException:
            for temporary, _ in written:
                Path(temporary).unlink(missing_ok=True)
            raise
        finally:
            for descriptor in opened:
                os.close(descriptor)
            with self._turn:
                self._pending.subtract(names)
                self._pending += Counter()  # drops those that nobody waits for

    def _is_kept(self, sha256: str, content: Content) -> bool:
        """Whether a content is there, whole and on disk. A file that somebody damaged is not, and is replaced."""
        with self._turn:
            if self._pending[sha256]:
                return False
        return _same(self._name(sha256), content)

    def _make_shards(self, sha256s: Iterable[str]) -> None:
        """The folders of some contents, where they are not there; their names are on disk too."""
        new = {sha256[:2] for sha256 in sha256s} - self._shards
        for shard in new:
            (self._folder / shard).mkdir(exist_ok=True)
        if new:
            _wait_for_disk(str(self._folder))
            self._shards |= new

    def link(self, sha256s: Iterable[str], other: Contents) -> None:
        """Take over contents of another project: linked, or copied where the file system has no links."""
        with storage_errors(self._folder, DOING):
            new = [sha256 for sha256 in sha256s if not self.place(sha256).exists()]
            self._make_shards(new)
            written = [(self._temporary(), self._name(sha256)) for sha256 in new]
            for sha256, (temporary, _) in zip(new, written, strict=True):
                _link_or_copy(other.place(sha256), Path(temporary))
            for temporary, place in written:
                os.replace(temporary, place)  # noqa: PTH105
            for folder in {place.rpartition("/")[0] for _, place in written}:
                _wait_for_disk(folder)

    def _name(self, sha256: str) -> str:
        """`place` as text: what is done for every file does without Path objects."""
        return f"{self._folder}/{sha256[:2]}/{sha256}"

    def _temporary(self) -> str:
        return f"{self.incoming}/{uuid4().hex}"


def _same(place: str, content: Content) -> bool:
    """Whether a file has a content."""
    try:
        if isinstance(content, Path):
            return filecmp.cmp(place, content, shallow=False)
        return os.stat(place).st_size == len(content) and Path(place).read_bytes() == content  # noqa: PTH116
    except FileNotFoundError:
        return False


def _write(name: str, content: Content) -> int:
    """Write a file that is not there yet, or open the one that is; returns its descriptor."""
    if isinstance(content, Path):
        return os.open(name, os.O_RDONLY)
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _wait_for_disk(name: str) -> None:
    descriptor = os.open(name, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
        _wait_for_disk(str(target))
