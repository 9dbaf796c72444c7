"""Groups from a CSV or a pattern."""

from __future__ import annotations

from pathlib import Path

import pytest

from ei_automation.dataset.groups import load_groups
from ei_automation.errors import DatasetError, ManifestError, NotFoundError
from ei_automation.schema.manifest import Groups


def write(tmp_path: Path, *rows: str, header: str = "path,group") -> Groups:
    (tmp_path / "groups.csv").write_text("\n".join((header, *rows)) + "\n", encoding="utf-8-sig")
    return Groups(csv="groups.csv")


@pytest.mark.parametrize(
    "prefix",
    ["", "images/", "/data/set/images/", "./images/", "C:\\data\\"],
    ids=["same", "longer", "root", "dot", "win"],
)
def test_the_csv_s_path_may_be_longer(tmp_path: Path, prefix: str) -> None:
    groups = write(tmp_path, f"{prefix}TRAIN/a/1 (2).jpg,g1", f"{prefix}TEST/a/1 (2).jpg,g2")
    names = ["TEST/a/1 (2).jpg", "TRAIN/a/1 (2).jpg"]
    assert load_groups(groups, tmp_path, names) == dict(zip(names, ("g2", "g1"), strict=True))


def test_the_csv_s_path_may_be_shorter(tmp_path: Path) -> None:
    groups = write(tmp_path, "a/1.jpg,g1", "1.jpg,g0", "b\\2.jpg,g2")
    names = ["x/images/a/1.jpg", "x/c/1.jpg", "x/b/2.jpg"]
    assert list(load_groups(groups, tmp_path, names).values()) == ["g1", "g0", "g2"]


def test_a_sample_without_group_is_its_own(tmp_path: Path) -> None:
    groups = write(tmp_path, "a/1.jpg,g1", "a/2.jpg,", "a/3.jpg")
    assert load_groups(groups, tmp_path, ["a/1.jpg", "a/2.jpg", "a/3.jpg"]) == {
        "a/1.jpg": "g1",
        "a/2.jpg": "a/2.jpg",
        "a/3.jpg": "a/3.jpg",
    }


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["a/1.jpg,g1"], r"1 of 2 samples are not in it \(first: 'b/1.jpg'\)"),
        (["a/1.jpg,g1", "TEST/1.jpg,g2"], "1 of 2 samples are not in it"),  # a common file name is not enough
        (["1.jpg,g1"], "2 of 2 samples fit several of its rows, or share one"),
        (["a/1.jpg,g1", "x/b/1.jpg,g2", "y/b/1.jpg,g3"], "1 of 2 samples fit several of its rows"),
        (["a/1.jpg,g1", "b/1.jpg,g2", "b/1.jpg,g3"], "1 of 2 samples stand in several groups"),
    ],
)
def test_what_the_csv_does_not_place(tmp_path: Path, rows: list[str], words: str) -> None:
    with pytest.raises(DatasetError, match=words) as caught:
        load_groups(write(tmp_path, *rows), tmp_path, ["a/1.jpg", "b/1.jpg"])
    assert caught.value.exit_code == 6


def test_wrong_columns_and_files(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no column 'group'") as caught:
        load_groups(write(tmp_path, "a,b", header="path,groups"), tmp_path, ["a"])
    assert (caught.value.key, caught.value.hint) == ("dataset.groups.group_column", "did you mean 'groups'?")
    with pytest.raises(NotFoundError, match=r"none.csv is not there"):
        load_groups(Groups(csv="none.csv"), tmp_path, ["a"])
    (tmp_path / "groups.csv").write_bytes(b"path,group\n\xff,x\n")
    with pytest.raises(DatasetError, match="cannot be read"):
        load_groups(Groups(csv="groups.csv"), tmp_path, ["a"])


def test_patterns(tmp_path: Path) -> None:
    names = ["a/p1_0.jpg", "a/p1_1.jpg", "b/p22_0.jpg", "b/other.jpg"]
    expected = ["p1", "p1", "p22", "b/other.jpg"]
    for pattern in (r"(p\d+)_", r"(\w)/(?P<group>p\d+)_"):
        assert list(load_groups(Groups(pattern=pattern), tmp_path, names).values()) == expected


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (Groups(pattern="(p"), "is no regular expression"),
        (Groups(pattern="p1"), "has no group"),
        (Groups(), "give either csv or pattern"),
        (Groups(csv="x", pattern="y"), "give either csv or pattern"),
    ],
)
def test_wrong_patterns(tmp_path: Path, groups: Groups, words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        load_groups(groups, tmp_path, ["a"])


def test_a_pattern_that_fits_nothing(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"fits none of 2 samples \(first: 'a', 'b'\)"):
        load_groups(Groups(pattern="(zzz)"), tmp_path, ["a", "b"])
