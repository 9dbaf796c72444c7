"""Rows and contents of samples, without a server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ei_automation.errors import StorageError
from ei_automation.files import fingerprint, sha256_bytes
from ei_automation.schema.sample import BoundingBox
from ei_automation.studio_server import projects, samples
from ei_automation.studio_server.database import Database
from ei_automation.studio_server.sample_filter import Filter, MetadataFilter, MetadataRule
from ei_automation.studio_server.samples import Added, Duplicate, NewSample, Samples

BOX = BoundingBox("cell", 1, 2, 3, 4)


class Kept:
    """A store in a folder."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(folder / "studio.sqlite", projects.TABLES + samples.TABLES)
        self.projects = projects.Projects(self.database, folder)
        known = self.projects.all()
        self.project_id = known[0].project_id if known else self.projects.create("one", owner="me")
        self.samples = Samples(self.database, self.projects)

    def add(self, *items: NewSample, refuse: bool = True) -> list[Added | Duplicate]:
        return self.samples.add(self.project_id, items, refuse_duplicates=refuse)

    def ids(self, which: Filter) -> list[int]:
        assert self.samples.count(self.project_id, which) == len(self.samples.find(self.project_id, which))
        return [row.sample_id for row in self.samples.find(self.project_id, which)]


def new(text: str, label: str = "a", category: str = "training", **more: object) -> NewSample:
    content = text.encode()
    return NewSample(f"{text}.jpg", content, sha256_bytes(content), len(content), 8, 6, label, category, **more)  # type: ignore[arg-type]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    store = Kept(tmp_path)
    yield store
    store.database.close()


def test_what_is_added_is_there_after_a_restart(kept: Kept, tmp_path: Path) -> None:
    kept.add(new("x.1", metadata={"eiauto_group": "p1", "k": "ü"}, boxes=(BOX,), device_type="cam"))
    kept.database.close()
    again = Kept(tmp_path)
    (row,) = again.samples.find(again.project_id)
    assert (row.sample_id, row.filename, row.extension, row.label) == (1, "x.1", ".jpg", "a")
    assert (row.metadata["k"], row.group, row.boxes, row.device_type) == ("ü", "p1", (BOX,), "cam")
    assert again.samples.content(row).read_bytes() == b"x.1"
    assert again.samples.content(row) == tmp_path / "projects/1/samples" / row.sha256[:2] / row.sha256
    again.database.close()


def test_duplicates_are_refused_over_all_categories_and_inside_one_request(kept: Kept) -> None:
    assert kept.add(new("1"), new("1"), new("2")) == [Added(1), Duplicate(1), Added(2)]
    assert kept.add(new("2", category="testing")) == [Duplicate(2)]
    assert kept.add(new("2", category="testing"), refuse=False) == [Added(3)]


def test_ids_are_never_given_again(kept: Kept) -> None:
    kept.add(new("1"), new("2"))
    assert kept.samples.delete(kept.project_id, Filter(ids=(2,))) == 1
    assert kept.add(new("2")) == [Added(3)]


def test_a_damaged_content_is_replaced(kept: Kept) -> None:
    kept.add(new("1"))
    place = kept.samples.content(kept.samples.find(kept.project_id)[0])
    place.write_bytes(b"?")
    assert kept.add(new("1")) == [Duplicate(1)]
    assert place.read_bytes() == b"1"


def test_contents_in_files_are_moved(kept: Kept) -> None:
    incoming = kept.samples.contents(kept.project_id).incoming / "part"
    incoming.write_bytes(b"large")
    kept.add(NewSample("l.jpg", incoming, sha256_bytes(b"large"), 5, 1, 1, "", "training"))
    assert kept.samples.content(kept.samples.find(kept.project_id)[0]).read_bytes() == b"large"
    assert not incoming.exists()


def test_what_a_killed_server_left_is_removed(kept: Kept, tmp_path: Path) -> None:
    left = kept.samples.contents(kept.project_id).incoming / "half"
    left.write_bytes(b"hal")
    again = Samples(kept.database, kept.projects)
    again.contents(kept.project_id)
    assert not left.exists()


def test_a_full_disk_adds_nothing(kept: Kept) -> None:
    kept.samples.contents(kept.project_id)
    folder = kept.projects.folder(kept.project_id) / "samples"
    blocked = sha256_bytes(b"2")
    (folder / blocked[:2]).write_bytes(b"a file where a folder is needed")
    with pytest.raises(StorageError, match="storing samples"):
        kept.add(new("1"), new("2"))
    assert kept.samples.count(kept.project_id) == 0
    assert not any((folder / "incoming").iterdir())


def test_two_at_once_with_the_same_content_give_one_sample(kept: Kept) -> None:
    outcomes: list[Added | Duplicate] = []
    threads = [
        threading.Thread(target=lambda: outcomes.extend(kept.add(*(new(str(i)) for i in range(40)))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(one, Added) for one in outcomes) == 40
    assert kept.samples.count(kept.project_id) == 40


@pytest.mark.parametrize(
    ("which", "ids"),
    [
        (Filter(), [5, 4, 3, 2, 1]),
        (Filter(category="all"), [5, 4, 3, 2, 1]),
        (Filter(category="training"), [5, 3, 1]),
        (Filter(labels=("b",)), [4, 2]),
        (Filter(labels=("cell",)), [5]),
        (Filter(labels=()), []),
        (Filter(labels=('b"]', "a' OR 1=1 --")), []),
        (Filter(filename="IMG.1"), [1]),
        (Filter(filename="%"), []),
        (Filter(search="b"), [4, 2]),
        (Filter(ids=(1, 2, 99)), [2, 1]),
        (Filter(exclude_ids=(1, 2)), [5, 4, 3]),
        (Filter(min_id=2, max_id=4), [3, 2]),
        (Filter(disabled=True), [3]),
        (Filter(disabled=False), [5, 4, 2, 1]),
        (Filter(min_label=3), [5]),
        (Filter(category="training", max_label=3), [3, 1]),
        (Filter(max_date=1.0), []),
        (Filter(min_date=1.0), [5, 4, 3, 2, 1]),
        (Filter(nothing=True), []),
        (Filter(limit=2, offset=1), [4, 3]),
        (Filter(metadata=MetadataFilter((MetadataRule("site", True, ("x",)),))), [1]),
        (Filter(metadata=MetadataFilter((MetadataRule("site", True),))), [2, 1]),
        (Filter(metadata=MetadataFilter((MetadataRule("site", False, ("x",)),))), [5, 4, 3, 2]),
        (Filter(metadata=MetadataFilter((MetadataRule("site", False, ("x",)),), without_metadata=False)), [4, 2]),
        (Filter(metadata=MetadataFilter((MetadataRule("site", True, ("x",)),), without_metadata=True)), [5, 3, 1]),
        (Filter(metadata=MetadataFilter(without_metadata=True)), [5, 3]),
        (Filter(metadata=MetadataFilter((MetadataRule("site", True, ("x",)),), any_rule=True)), [4, 1]),
        (
            Filter(metadata=MetadataFilter((MetadataRule("site", True), MetadataRule('k"', True, ("1",))))),
            [1],
        ),
    ],
)
def test_filters(kept: Kept, which: Filter, ids: list[int]) -> None:
    kept.add(
        new("img.1", metadata={"site": "x", 'k"': "1"}),
        new("img.2", "b", "testing", metadata={"site": "y"}),
        new("img.3"),
        new("img.4", "b", "validation", metadata={"other": "x"}),
        new("img.5", "3.5", boxes=(BOX,)),
    )
    kept.samples.disable(kept.project_id, Filter(ids=(3,)))
    found = [row.sample_id for row in kept.samples.find(kept.project_id, which)]
    assert found == ids
    if which.limit is None:
        assert kept.samples.count(kept.project_id, which) == len(ids)


def test_a_shuffled_listing_is_the_same_every_time_and_complete(kept: Kept) -> None:
    kept.add(*(new(str(number)) for number in range(30)))
    pages = [kept.ids(Filter(shuffled=True))[start : start + 10] for start in (0, 10, 20)]
    together = [number for page in pages for number in page]
    assert sorted(together) == list(range(1, 31))
    assert together not in (sorted(together), sorted(together, reverse=True))
    assert kept.ids(Filter(shuffled=True)) == together


def test_changes(kept: Kept) -> None:
    kept.add(new("1", boxes=(BOX,)), new("2"))
    store, project, one = kept.samples, kept.project_id, Filter(ids=(1,))
    before = kept.projects.info(project).modified
    assert store.relabel(project, one, "猫") == 1
    assert store.move(project, one, "testing") == 1
    assert store.rename(project, one, "new") == 1
    assert store.relabel_boxes(project, Filter(), ["cell"], "blob") == 2
    assert store.add_metadata(project, Filter(), 'k"y', "v") == 2
    row = store.get(project, 1)
    assert row is not None
    assert (row.label, row.category, row.filename) == ("猫", "testing", "new")
    assert (row.boxes, row.metadata) == ((BoundingBox("blob", 1, 2, 3, 4),), {'k"y': "v"})
    assert row.modified > row.created
    assert kept.projects.info(project).modified > before
    store.relabel_boxes(project, Filter(), ["blob"], "")
    store.clear_metadata(project, one, 'k"y')
    store.clear_metadata(project, Filter(ids=(2,)))
    assert [(row.boxes, row.metadata) for row in store.find(project)] == [((), {}), ((), {})]
    assert store.relabel(project, Filter(ids=(99,)), "x") == 0
    assert store.get(project, 99) is None


def test_projects_do_not_see_each_other(kept: Kept) -> None:
    kept.add(new("1"))
    other = kept.projects.create("two", owner="me")
    assert kept.samples.get(other, 1) is None
    assert kept.samples.delete(other, Filter()) == 0
    assert kept.samples.add(other, [new("1")], refuse_duplicates=True) == [Added(2)]
    assert kept.samples.count(kept.project_id) == 1


def test_a_copy_has_rows_and_contents_of_its_own(kept: Kept) -> None:
    kept.add(new("1", boxes=(BOX,), metadata={"k": "v"}), new("2", category="testing"))
    other = kept.projects.create("two", owner="me")
    assert kept.samples.copy(kept.project_id, other) == 2
    original = kept.samples.content(kept.samples.find(kept.project_id)[0])
    original.unlink()
    rows = kept.samples.find(other)
    assert [(row.sample_id, row.filename, row.category) for row in rows] == [
        (4, "2", "testing"),
        (3, "1", "training"),
    ]
    assert [kept.samples.content(row).read_bytes() for row in rows] == [b"2", b"1"]
    assert rows[1].boxes == (BOX,)


def test_the_learning_fingerprint_is_that_of_the_local_backend_and_follows_changes(kept: Kept) -> None:
    kept.add(new("1", metadata={"eiauto_group": "g"}), new("2", "b", "validation"), new("3", "c", "testing"))
    items = [(sha256_bytes(b"1"), "a", "training", "g"), (sha256_bytes(b"2"), "b", "validation", "")]
    first = kept.samples.learning_fingerprint(kept.project_id)
    assert first == fingerprint(sorted(items))
    kept.samples.relabel(kept.project_id, Filter(ids=(3,)), "other")
    kept.samples.rename(kept.project_id, Filter(), "other")
    assert kept.samples.learning_fingerprint(kept.project_id) == first
    kept.samples.disable(kept.project_id, Filter(ids=(1,)))
    assert kept.samples.learning_fingerprint(kept.project_id) == fingerprint([items[1]])
    kept.samples.enable(kept.project_id, Filter())
    assert kept.samples.learning_fingerprint(kept.project_id) == first


def test_summary_and_metadata_values(kept: Kept) -> None:
    kept.add(new("1", metadata={"b": "2", "a": "1"}), new("2", metadata={"b": "1"}), new("3", "x", "testing"))
    assert kept.samples.summary(kept.project_id) == {("testing", "x"): 1, ("training", "a"): 2}
    assert kept.samples.metadata_values(kept.project_id) == {"a": ["1"], "b": ["1", "2"]}


def test_a_name_that_begins_with_its_only_dot_has_no_extension(kept: Kept) -> None:
    kept.add(replace(new("x"), name=".png"))
    (row,) = kept.samples.find(kept.project_id)
    assert (row.filename, row.extension) == (".png", "")
