"""The pixel cache: decoded once, continues after a kill, says when the disk is full."""

import hashlib
import io
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ei_automation.dsp.image import resize
from ei_automation.dsp.store import ImageCache
from ei_automation.errors import DatasetError, InterruptedRunError, NotFoundError, StorageError
from ei_automation.schema.impulse import InputBlock

BLOCK = InputBlock(image_width=12, image_height=10, resize_mode="squash")


def make_images(folder: Path, count: int, first: int = 0) -> list[tuple[str, Path]]:
    files = []
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(stream, "PNG")
        path = folder / f"{number}.png"
        path.write_bytes(stream.getvalue())
        files.append((hashlib.sha256(stream.getvalue()).hexdigest(), path))
    return files


def test_rows_hold_the_resized_pixels_of_their_content(tmp_path):
    files = make_images(tmp_path, 5)
    with ImageCache(tmp_path / "cache", BLOCK) as cache:
        assert cache.add(files) == 5
        with cache.pixels() as store:
            assert store.shape == (5, 10, 12, 3)
            got = store.read(cache.rows([sha for sha, _ in files[::-1]]))
    for pixels, (_, path) in zip(got, files[::-1], strict=True):
        assert (pixels == resize(np.asarray(Image.open(path)), BLOCK)).all()


def test_known_content_is_not_read_again_even_under_another_name(tmp_path):
    files = make_images(tmp_path, 3)
    with ImageCache(tmp_path / "cache", BLOCK) as cache:
        cache.add(files)
        gone = [(sha, tmp_path / "not-there.png") for sha, _ in files]
        assert cache.add(gone + make_images(tmp_path, 1, first=9)) == 1


def test_a_bad_image_has_facts_and_no_row(tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    with ImageCache(tmp_path / "cache", BLOCK) as cache:
        cache.add([("ab" * 32, bad)])
        facts = cache.facts()["ab" * 32]
        assert (facts.problem, facts.perceptual_hash) == ("unreadable", None)
        with pytest.raises(NotFoundError, match="no pixels of 1 of 1 samples") as caught:
            cache.rows(["ab" * 32])
        assert "eiauto reproduce" in caught.value.hint


def test_bytes_that_a_killed_run_left_beyond_the_index_are_overwritten(tmp_path):
    files = make_images(tmp_path, 4)
    with ImageCache(tmp_path / "cache", BLOCK) as cache:
        cache.add(files[:2])
        with (cache.folder / "pixels.u8").open("ab") as stream:
            stream.write(b"\xff" * 500)
        cache.add(files)
        with cache.pixels() as store:
            got = store.read(cache.rows([sha for sha, _ in files]))
    assert (got[3] == resize(np.asarray(Image.open(files[3][1])), BLOCK)).all()


def test_a_stop_keeps_what_is_committed(tmp_path):
    files = make_images(tmp_path, 3)
    with ImageCache(tmp_path / "cache", BLOCK) as cache:
        with pytest.raises(InterruptedRunError):
            cache.add(files, should_stop=lambda: True)
        assert cache.add(files) == 3


def test_a_full_disk_is_said_and_nothing_is_indexed(tmp_path):
    files = make_images(tmp_path, 2)
    with ImageCache(tmp_path / "cache", BLOCK) as cache:
        (cache.folder / "pixels.u8").symlink_to("/dev/full")
        with pytest.raises(StorageError, match=r"image cache failed at .*No space left") as caught:
            cache.add(files)
        assert "free space" in caught.value.hint
        assert cache.facts() == {}
        (cache.folder / "pixels.u8").unlink()
        assert cache.add(files) == 2
    with closing(sqlite3.connect(cache.folder / "index.sqlite")) as index:
        assert index.execute("SELECT count(*) FROM images").fetchone() == (2,)


def check(cache: ImageCache, files: list[tuple[str, Path]]) -> None:
    """Every row has the pixels of its content, and the rows have no gap."""
    rows = cache.rows([sha for sha, _ in files])
    assert sorted(rows.tolist()) == list(range(len(files)))
    assert [cache.content_ids()[row] for row in rows] == [sha for sha, _ in files]
    with cache.pixels() as store:
        for pixels, (_, path) in zip(store.read(rows), files, strict=True):
            assert (pixels == resize(np.asarray(Image.open(path)), BLOCK)).all()


@pytest.mark.parametrize(("kept_bytes", "new"), [(None, 6), (0, 6), (12 * 10 * 3 * 4 + 7, 2)])
def test_rows_that_the_pixels_no_longer_hold_are_decoded_again(tmp_path, kept_bytes, new):
    files = make_images(tmp_path, 6)
    with ImageCache(tmp_path / "cache", BLOCK) as cache:
        cache.add(files)
    pixels = cache.folder / "pixels.u8"
    if kept_bytes is None:
        pixels.unlink()
    else:
        os.truncate(pixels, kept_bytes)
    with ImageCache(tmp_path / "cache", BLOCK) as again:
        assert again.add(files) == new
        check(again, files)


@pytest.mark.parametrize("damage", ["other file", "pages", "cut"])
def test_a_damaged_index_is_made_anew(tmp_path, damage):
    files = make_images(tmp_path, 40)
    with ImageCache(tmp_path / "cache", BLOCK) as cache:
        cache.add(files)
    place = cache.folder / "index.sqlite"
    data = place.read_bytes()
    contents = {"other file": b"no database" * 500, "pages": data[:500] + b"\x5a" * (len(data) - 500)}
    place.write_bytes(contents.get(damage, data[:5000]))
    with ImageCache(tmp_path / "cache", BLOCK) as again:
        assert again.add(files) == 40
        check(again, files)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with ImageCache(tmp_path / "cache", BLOCK) as cache, pytest.raises(DatasetError, match=r"gone\.png cannot be"):
        cache.add([("ab" * 32, tmp_path / "gone.png")])
