"""Resized pixels of every image, on disk, keyed by content and input block: an image is decoded once.

A folder holds `pixels.u8` (rows of height x width x 3 bytes) and `index.sqlite` (content hash to row and
facts). Rows are appended, then committed to the index: what a killed run wrote beyond the index is overwritten.

It is only a memory of what decoding gives. Opening it mends what can be seen at a glance: a damaged index is made
anew, and rows that the file of pixels no longer holds are forgotten, so that they are decoded again. Bits that
were altered inside the file are not looked for: a checksum over every row would cost each epoch a second.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ei_automation.errors import DatasetError, InterruptedRunError, NotFoundError
from ei_automation.files import ensure_folder, open_cache_database, seal_cache_database, storage_errors
from ei_automation.schema.findings import ImageFacts
from ei_automation.schema.impulse import InputBlock

if TYPE_CHECKING:
    from ei_automation.dsp.image import Pixels

STORE_VERSION = 1
"""Changes when decoding or resizing changes what the pixels are."""

CHUNK = 256
DOING = "writing the image cache"

TABLES = """
CREATE TABLE IF NOT EXISTS images (sha256 TEXT PRIMARY KEY, row INTEGER, width INTEGER, height INTEGER, mode TEXT,
  phash TEXT, problem TEXT, detail TEXT);
"""


class PixelStore:
    """Rows of pixels by number. Reads with `pread`: mapped pages would count as the process's memory.

    Attributes:
        shape: (rows, height, width, 3).
    """

    def __init__(self, path: Path, rows: int, height: int, width: int) -> None:
        self._path = path
        self.shape = (rows, height, width, 3)
        self._descriptor = os.open(path, os.O_RDONLY) if rows else -1

    def read(self, rows: NDArray[np.integer]) -> Pixels:
        """Pixels of some rows, in the order asked for: uint8, (n, height, width, 3), 0..255, RGB."""
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        size = int(np.prod(self.shape[1:]))
        for place, row in enumerate(rows):
            if os.preadv(self._descriptor, [memoryview(out[place]).cast("B")], int(row) * size) != size:
                raise EOFError(f"{self._path} ends before row {row}")
        return out

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> PixelStore:
        """The store itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


class ImageCache:
    """The store of one input block: adds what is new, knows the facts of all.

    Args:
        folder: Where the stores of all input blocks live.
        block: Size and resize mode.
    """

    def __init__(self, folder: Path, block: InputBlock) -> None:
        size = f"{block.image_width}x{block.image_height}"
        self.block = block
        self.folder = ensure_folder(folder / f"{size}-{block.resize_mode}-v{STORE_VERSION}", DOING)
        self._pixels = self.folder / "pixels.u8"
        self._place = self.folder / "index.sqlite"
        self._index = open_cache_database(self._place, TABLES, DOING)
        try:
            self._forget_lost_rows()
        except BaseException:
            self._index.close()
            raise

    def _forget_lost_rows(self) -> None:
        """Rows beyond the end of the file of pixels count as never decoded."""
        held = self._pixels.stat().st_size // self._row_bytes if self._pixels.exists() else 0
        if self._count() > held:
            with storage_errors(self._place, DOING), self._index:
                self._index.execute("DELETE FROM images WHERE row >= ?", (held,))
                seal_cache_database(self._index)

    def close(self) -> None:
        """Close the index."""
        self._index.close()

    def __enter__(self) -> ImageCache:
        """The cache itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    @property
    def _row_bytes(self) -> int:
        return self.block.image_height * self.block.image_width * 3

    def _query(self, statement: str) -> list[tuple[Any, ...]]:
        with storage_errors(self._place, DOING):
            return self._index.execute(statement).fetchall()

    def facts(self) -> dict[str, ImageFacts]:
        """Facts of every image seen so far, by content hash."""
        query = "SELECT sha256, width, height, mode, phash, problem, detail FROM images"
        return {
            sha: ImageFacts(sha, width, height, mode, None if phash is None else int(phash, 16), problem, detail)
            for sha, width, height, mode, phash, problem, detail in self._query(query)
        }

    def known(self) -> set[str]:
        """Content hash of every image seen so far; `add` decodes none of them again."""
        return {sha for (sha,) in self._query("SELECT sha256 FROM images")}

    def rows(self, hashes: Sequence[str]) -> NDArray[np.int64]:
        """Row of each content hash.

        Raises:
            NotFoundError: One was not added, or cannot be used.
        """
        known = dict(self._query("SELECT sha256, row FROM images WHERE row IS NOT NULL"))
        missing = [sha for sha in hashes if sha not in known]
        if missing:
            raise NotFoundError(
                f"the image cache {self.folder} has no pixels of {len(missing):,} of {len(hashes):,} samples;"
                f" the first has the SHA-256 {missing[0]}",
                hint="run `eiauto reproduce`; it decodes what is missing and sets aside what cannot be decoded",
            )
        return np.array([known[sha] for sha in hashes], np.int64)

    def content_ids(self) -> tuple[str, ...]:
        """The content hash of every row, in the order of the rows."""
        return tuple(sha for (sha,) in self._query("SELECT sha256 FROM images WHERE row IS NOT NULL ORDER BY row"))

    def pixels(self) -> PixelStore:
        """The rows that are committed now."""
        return PixelStore(self._pixels, self._count(), self.block.image_height, self.block.image_width)

    def _count(self) -> int:
        ((top,),) = self._query("SELECT max(row) FROM images")
        return 0 if top is None else int(top) + 1

    def add(
        self,
        files: Sequence[tuple[str, Path]],
        *,
        on_progress: Callable[[int, int], None] = lambda _done, _total: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> int:
        """Decode what is not known yet, on one thread per core.

        Args:
            files: Content hash and path of each image; order does not matter.
            on_progress: Gets new images done and in all.
            should_stop: Asked between chunks.

        Returns:
            How many were new.

        Raises:
            DatasetError: A file cannot be read; what was committed stays.
            StorageError: The cache cannot be written; what was committed stays.
            InterruptedRunError: `should_stop` said so; what was committed stays.
        """
        known = self.known()
        new = sorted({sha: path for sha, path in files if sha not in known}.items())
        with storage_errors(self._pixels, DOING), ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(new), CHUNK):
                if should_stop():
                    raise InterruptedRunError("interrupted while decoding", hint="run it again; it continues")
                chunk = new[start : start + CHUNK]
                self._commit(pool.map(lambda item: self._read(*item), chunk))
                on_progress(start + len(chunk), len(new))
        return len(new)

    def _read(self, sha256: str, path: Path) -> tuple[ImageFacts, Pixels | None]:
        from ei_automation.dsp.image import (
            read_image,
        )  # decoders take long to import, and most runs decode nothing

        try:
            data = path.read_bytes()
        except OSError as error:
            raise DatasetError(
                f"{path} cannot be read: {error.strerror}", hint="make it readable or remove it"
            ) from error
        return read_image(data, sha256, self.block)

    def _commit(self, images: Iterator[tuple[ImageFacts, Pixels | None]]) -> None:
        """Append the pixels, make them durable, then name them in the index."""
        first = row = self._count()
        records: list[tuple[object, ...]] = []
        blocks: list[bytes] = []
        for facts, pixels in images:
            place = None
            if pixels is not None:
                blocks.append(pixels.tobytes())
                place, row = row, row + 1
            phash = None if facts.perceptual_hash is None else f"{facts.perceptual_hash:016x}"
            records.append(
                (
                    facts.sha256,
                    place,
                    facts.width,
                    facts.height,
                    facts.mode,
                    phash,
                    facts.problem,
                    facts.detail,
                )
            )
        with os.fdopen(os.open(self._pixels, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0) as stream:
            _write_all(stream.fileno(), b"".join(blocks), first * self._row_bytes)
            os.fsync(stream.fileno())
        with storage_errors(self._place, DOING), self._index:
            self._index.executemany("INSERT OR REPLACE INTO images VALUES (?,?,?,?,?,?,?,?)", records)
            seal_cache_database(self._index)


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    """`pwrite` until everything is written."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
