"""Image folders: the layouts of real sets, the manifest's mapping, and what is no sample."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ei_automation.dataset.readers import read
from ei_automation.errors import DatasetError, ManifestError, NotFoundError
from ei_automation.schema.manifest import Dataset, FolderOrigin
from ei_automation.schema.sample import Category
from tests.dataset.conftest import make_tree


def dataset(**values: Any) -> Dataset:
    return Dataset(origin=FolderOrigin(type="folder", path="."), **values)


def names(folder: Path, **values: Any) -> list[tuple[str, str, str]]:
    """Name, label and category of each sample."""
    return [(s.name, s.label, s.category or "") for s in read(folder, dataset(**values)).samples]


def test_the_colon_set_s_layout(tmp_path: Path) -> None:
    classes = ("0_normal", "1_ulcerative_colitis", "2_polyps", "3_esophagitis")
    make_tree(
        tmp_path,
        [
            f"{part}/{label}/{part}_{label[2:]}_ ({index}).jpg"
            for part in ("train", "val", "test")
            for label in classes
            for index in (1, 2)
        ],
    )
    result = read(
        tmp_path,
        dataset(
            labels={"0_normal": "normal", "2_polyps": "polyps", "3_esophagitis": "esophagitis"},
            leave_out=("1_ulcerative_colitis",),
        ),
    )
    assert len(result.samples) == 18
    assert result.labels == ("esophagitis", "normal", "polyps")
    assert result.left_out == {"1_ulcerative_colitis": 6}
    first = result.samples[0]
    assert (first.name, first.label, first.category) == (
        "test/0_normal/test_normal_ (1).jpg",
        "normal",
        Category.TESTING,
    )
    assert first.path.is_file()
    assert Counter(sample.category for sample in result.samples) == dict.fromkeys(Category, 6)
    assert [s.name for s in result.samples] == sorted(s.name for s in result.samples)


def test_the_blood_cell_set_s_layout(tmp_path: Path) -> None:
    tree = "dataset2-master/dataset2-master/images"
    make_tree(
        tmp_path,
        [
            f"{tree}/{part}/{label}/_0_{n}.jpeg"
            for part in ("TRAIN", "TEST", "TEST_SIMPLE")
            for label in "AB"
            for n in (1,)
        ]
        + [
            "dataset-master/dataset-master/JPEGImages/BloodImage_00000.jpg",
            "dataset2-master/dataset2-master/labels.csv",
        ],
    )
    with pytest.raises(
        DatasetError, match="'TEST_SIMPLE' stands beside the category folders 'TEST', 'TRAIN'"
    ) as caught:
        read(tmp_path, dataset(root="**/images"))
    assert "dataset.leave_out" in caught.value.hint
    assert names(tmp_path, root="**/images", leave_out=("TEST_SIMPLE",)) == [
        ("TEST/A/_0_1.jpeg", "A", "testing"),
        ("TEST/B/_0_1.jpeg", "B", "testing"),
        ("TRAIN/A/_0_1.jpeg", "A", "training"),
        ("TRAIN/B/_0_1.jpeg", "B", "training"),
    ]
    mapped = names(
        tmp_path, root=tree, categories={"TRAIN": "training", "TEST": "testing", "TEST_SIMPLE": "validation"}
    )
    assert Counter(category for _, _, category in mapped) == {"training": 2, "testing": 2, "validation": 2}


def test_the_real_blood_cells(shared_data: Path, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(shared_data / "blood-cells/blood-cells.zip") as archive:
        archive.extractall(tmp_path)
    result = read(tmp_path, dataset(root="**/images"))
    counts = Counter((sample.category, sample.label) for sample in result.samples)
    labels = ("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL")
    assert result.labels == labels
    assert counts == {
        (c, label): n for c, n in ((Category.TRAINING, 220), (Category.TESTING, 60)) for label in labels
    }


@pytest.mark.parametrize("name", ["Training", "TRAIN", "train"])
def test_category_folders_in_any_case_above_or_below_the_label(tmp_path: Path, name: str) -> None:
    make_tree(tmp_path, [f"{name}/a/1.jpg", f"{name}/b/deep/er/1.jpg", f"c/{name}/1.jpg", "c/Valid/2.jpg"])
    assert names(tmp_path) == sorted(
        [
            (f"{name}/a/1.jpg", "a", "training"),
            (f"{name}/b/deep/er/1.jpg", "b", "training"),
            (f"c/{name}/1.jpg", "c", "training"),
            ("c/Valid/2.jpg", "c", "validation"),
        ]
    )


def test_names_in_any_script_and_one_spelling(tmp_path: Path) -> None:
    decomposed = "cafe\u0301"
    make_tree(tmp_path, [f"{decomposed}/кот (1).JPG", "猫/a b.png"])
    assert names(tmp_path, labels={"caf\u00e9": "coffee"}) == [
        ("caf\u00e9/кот (1).JPG", "coffee", ""),
        ("猫/a b.png", "猫", ""),
    ]


def test_junk_is_skipped_and_strangers_are_listed(tmp_path: Path) -> None:
    make_tree(
        tmp_path,
        [
            *("a/1.jpg", "b/2.jpg", "a/.hidden.jpg", ".git/x.jpg", "__MACOSX/a/._1.jpg", "a/Thumbs.db"),
            *("a/notes.txt", "loose.jpg", "readme.md", "b/DESKTOP.INI"),
        ],
    )
    result = read(tmp_path, dataset())
    assert [sample.name for sample in result.samples] == ["a/1.jpg", "b/2.jpg"]
    assert result.ignored == {
        "a/notes.txt": "not an image by its name",
        "loose.jpg": "not in the folder of a label",
        "readme.md": "not an image by its name",
    }


def test_a_name_that_is_no_text_is_listed(tmp_path: Path) -> None:
    make_tree(tmp_path, ["a/1.jpg", "b/2.jpg"])
    (tmp_path / "a" / os.fsdecode(b"\xe9.jpg")).write_bytes(b"x")
    assert read(tmp_path, dataset()).ignored == {"a/\\udce9.jpg": "its name is no valid text; rename it"}


def test_links_are_followed_once(tmp_path: Path) -> None:
    make_tree(tmp_path, ["data/a/1.jpg", "elsewhere/2.jpg"])
    (tmp_path / "data/b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/a/loop").symlink_to(tmp_path / "data")
    assert names(tmp_path / "data") == [("a/1.jpg", "a", ""), ("b/2.jpg", "b", "")]


@pytest.mark.timeout(20)
def test_what_cannot_be_opened_is_listed(tmp_path: Path) -> None:
    make_tree(tmp_path, ["a/1.jpg", "b/2.jpg", "elsewhere.txt"])
    (tmp_path / "a/gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "a/circle.jpg").symlink_to(tmp_path / "a/circle.jpg")
    (tmp_path / "b/link.jpg").symlink_to(tmp_path / "a/1.jpg")
    (tmp_path / "b/device.jpg").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "b/pipe.png")
    result = read(tmp_path, dataset())
    assert [sample.name for sample in result.samples] == ["a/1.jpg", "b/2.jpg", "b/link.jpg"]
    assert result.ignored == {
        "a/circle.jpg": "a link that leads nowhere",
        "a/gone.jpg": "a link that leads nowhere",
        "b/device.jpg": "a pipe, a socket or a device, not a file",
        "b/pipe.png": "a pipe, a socket or a device, not a file",
        "elsewhere.txt": "not an image by its name",
    }


def test_two_labels_may_become_one(tmp_path: Path) -> None:
    make_tree(tmp_path, ["a/1.jpg", "b/1.jpg", "c/1.jpg"])
    result = read(tmp_path, dataset(labels={"a": "x", "b": "x"}))
    assert result.labels == ("c", "x")


@pytest.mark.parametrize(
    ("values", "key", "hint"),
    [
        ({"labels": {"0_norml": "normal"}}, "dataset.labels", "did you mean '0_normal'?"),
        ({"labels": {"0_NORMAL": "normal"}}, "dataset.labels", "did you mean '0_normal'?"),
        ({"leave_out": ("2_polips",)}, "dataset.leave_out", "did you mean '2_polyps'?"),
        ({"labels": {"zzz": "x"}}, "dataset.labels", "there are: '0_normal', '2_polyps'"),
        ({"categories": {"train": "training", "evl": "testing"}}, "dataset.categories", "there are: 'train'"),
    ],
)
def test_names_that_are_not_there(tmp_path: Path, values: dict[str, Any], key: str, hint: str) -> None:
    make_tree(tmp_path, ["train/0_normal/1.jpg", "train/2_polyps/1.jpg"])
    with pytest.raises(ManifestError, match=f"{key}: the data set has no '") as caught:
        read(tmp_path, dataset(**values))
    assert (caught.value.key, caught.value.hint, caught.value.exit_code) == (key, hint, 2)


def test_no_images(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"no labelled images in .*; it holds 'empty/'") as caught:
        read(tmp_path, dataset())
    assert caught.value.exit_code == 6
    with pytest.raises(DatasetError, match="it is empty"):
        read(tmp_path / "empty", dataset())
    make_tree(tmp_path, ["a/1.txt", "a/2.csv", "3.jpg"])
    with pytest.raises(
        DatasetError,
        match="it holds 3 files: 2 not an image by its name, 1 not in the folder of a label",
    ):
        read(tmp_path, dataset())


def test_roots(tmp_path: Path) -> None:
    make_tree(tmp_path, ["x/images/a/1.jpg", "__MACOSX/x/images/a/1.jpg", "y/z/other/b/1.jpg", "w/other/b/1.jpg"])
    assert names(tmp_path, root="**/images") == [("a/1.jpg", "a", "")]
    assert names(tmp_path, root="y/z/other") == [("b/1.jpg", "b", "")]
    with pytest.raises(DatasetError, match=r"has 2 folders '\*\*/other': 'w/other', 'y/z/other'"):
        read(tmp_path, dataset(root="**/other"))
    with pytest.raises(NotFoundError, match=r"no folder 'imgs'; .* holds '__MACOSX/', 'w/', 'x/', 'y/'"):
        read(tmp_path, dataset(root="imgs"))
    for outside in ("../x", "/etc", "x/../../y"):
        with pytest.raises(ManifestError, match="leads out of the data set"):
            read(tmp_path, dataset(root=outside))
