"""OpenMV data sets."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest

from ei_automation.dataset.readers import READERS, read
from ei_automation.errors import DatasetError
from ei_automation.schema.manifest import Dataset, FolderOrigin
from tests.dataset.conftest import make_tree


def dataset(**values: Any) -> Dataset:
    return Dataset(origin=FolderOrigin(type="folder", path="."), reader="openmv", **values)


def test_every_reader_of_the_manifest_is_registered() -> None:
    assert set(READERS) == set(get_args(Dataset.model_fields["reader"].annotation))


def test_the_real_rubbish_set(shared_data: Path) -> None:
    result = read(shared_data / "openmv_rubbish", dataset(root="dataset"))
    counts = Counter(sample.label for sample in result.samples)
    assert counts == {"battery": 194, "bottle": 162, "can": 186, "cigarette": 167}
    assert result.labels == ("battery", "bottle", "can", "cigarette")
    assert result.ignored == {}


def test_labels_txt_gives_the_order(tmp_path: Path) -> None:
    make_tree(tmp_path, ["b.class/00000.jpg", "a b.class/00000.jpg", "dataset_capture_script.py", "x.jpg"])
    assert read(tmp_path, dataset()).labels == ("a b", "b")
    (tmp_path / "labels.txt").write_text("b\na b")
    result = read(tmp_path, dataset(labels={"b": "B"}))
    assert result.labels == ("B", "a b")
    assert result.ignored == {"x.jpg": "not in a folder NAME.class"}


def test_labels_txt_and_folders_must_agree(tmp_path: Path) -> None:
    make_tree(tmp_path, ["a.class/00000.jpg", "b.class/00000.jpg"])
    (tmp_path / "labels.txt").write_text("a\n")
    with pytest.raises(DatasetError, match=r"labels.txt does not name 'b', which has a .class folder"):
        read(tmp_path, dataset())
    assert read(tmp_path, dataset(leave_out=("b",))).labels == ("a",)
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    with pytest.raises(DatasetError, match=r"names 'c', but no .class folder of that name has images"):
        read(tmp_path, dataset())
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DatasetError, match=r"labels.txt cannot be read"):
        read(tmp_path, dataset())
