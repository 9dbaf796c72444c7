"""Folders, bundled sets and the override."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from ei_automation.dataset.fetch import ORIGINS, fetch
from ei_automation.errors import DatasetError, NotFoundError, StorageError
from ei_automation.schema.manifest import BundledOrigin, FolderOrigin, KaggleOrigin, ZipOrigin
from tests.dataset.conftest import make_tree, make_zip

DIGITS = BundledOrigin(type="bundled", name="sklearn-digits")
DIGITS_SHA256 = "380c1b4a184aa18b1815b9f873ad565413e60d0133f798adfafc08b608afe7bb"


def get(origin: Any, tmp_path: Path, **options: Any) -> Any:
    return fetch(
        origin, project_folder=tmp_path, downloads=tmp_path / "cache", on_progress=lambda *_: None, **options
    )


def test_every_origin_of_the_manifest_has_a_module() -> None:
    models = (KaggleOrigin, FolderOrigin, ZipOrigin, BundledOrigin)
    assert {get_args(model.model_fields["type"].annotation)[0] for model in models} == set(ORIGINS)


def test_a_folder_is_used_where_it_stands(tmp_path: Path) -> None:
    make_tree(tmp_path / "data", ["a/1.jpg"])
    fetched = get(FolderOrigin(type="folder", path="data"), tmp_path)
    assert fetched.root == tmp_path / "data"
    assert (fetched.origin.reference, fetched.origin.archive_sha256) == ("data", None)
    assert not (tmp_path / "cache").exists()


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"the data set's folder .*data is not there") as caught:
        get(FolderOrigin(type="folder", path="data"), tmp_path)
    assert caught.value.exit_code == 4
    assert "dataset.origin.path" in caught.value.hint
    (tmp_path / "data").write_text("")
    with pytest.raises(NotFoundError, match="is a file, not a folder"):
        get(FolderOrigin(type="folder", path="data"), tmp_path)


def test_the_override_replaces_the_origin(tmp_path: Path) -> None:
    folder = make_tree(tmp_path / "mine", ["a/1.jpg"])
    archive = make_zip(tmp_path / "mine.zip", {"a/1.jpg": b"1"})
    by_folder = get(KaggleOrigin(type="kaggle", slug="ann/cells"), tmp_path, override=folder)
    assert by_folder.root == folder
    assert (by_folder.origin.type, by_folder.origin.overridden) == ("folder", True)
    by_zip = get(DIGITS, tmp_path, override=archive)
    assert (by_zip.origin.type, by_zip.origin.reference, by_zip.origin.overridden) == ("zip", "mine.zip", True)
    with pytest.raises(NotFoundError, match="that --from names"):
        get(DIGITS, tmp_path, override=tmp_path / "nothing")
    with pytest.raises(DatasetError, match="is no zip"):
        get(DIGITS, tmp_path, override=folder / "a/1.jpg")


def test_the_digits_are_the_dependency_s_own(tmp_path: Path) -> None:
    fetched = get(DIGITS, tmp_path)
    digits = load_digits()
    files = sorted(fetched.root.rglob("*.png"))
    assert len(files) == len(digits.images) == 1797
    for path in files:
        index = int(path.stem.removeprefix("digit_"))
        assert path.parent.name == str(digits.target[index])
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("L", (8, 8))
            assert np.array_equal(np.asarray(image), np.rint(digits.images[index] * 255 / 16).astype(np.uint8))


def test_the_digits_have_the_same_bytes_everywhere(tmp_path: Path) -> None:
    root = get(DIGITS, tmp_path).root
    content = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(root.rglob("*.png"))))
    assert content.hexdigest() == DIGITS_SHA256
    (root / "0/digit_0000.png").unlink()
    assert get(DIGITS, tmp_path).root == root
    assert Image.open(io.BytesIO((root / "0/digit_0000.png").read_bytes())).size == (8, 8)


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(StorageError, match="writing the data set sklearn-digits failed"):
        get(DIGITS, tmp_path)
