"""File habits: whole or not at all, and errors that say what to do."""

import sqlite3
from contextlib import closing

import pytest

from ei_automation.errors import DatasetError, StorageError
from ei_automation.files import open_cache_database, seal_cache_database, storage_errors, write_atomically
from ei_automation.workflow.hashing import hash_files

TABLES = "CREATE TABLE IF NOT EXISTS things (name TEXT PRIMARY KEY)"


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    place = tmp_path / "below" / "file.txt"
    write_atomically(place, "one")
    place.with_name("folder").mkdir()
    with pytest.raises(StorageError, match="drawing failed at") as caught:
        write_atomically(place.with_name("folder"), "two", doing="drawing")
    assert "free space or make the folder writable" in caught.value.hint
    assert place.read_text() == "one"
    assert sorted(path.name for path in place.parent.iterdir()) == ["file.txt", "folder"]


def test_a_full_database_asks_for_space(tmp_path):
    place = tmp_path / "full.sqlite"
    with closing(sqlite3.connect(place)) as database:
        database.execute(TABLES)
        database.execute("PRAGMA max_page_count = 1")
        with pytest.raises(StorageError, match="is full") as caught, storage_errors(place, "counting"):
            database.execute("INSERT INTO things VALUES (?)", ("x" * 9000,))
    assert caught.value.message == f"counting failed at {place}: database or disk is full"
    assert "free space" in caught.value.hint


@pytest.mark.parametrize("content", [b"no database" * 1000, None])
def test_a_damaged_or_strange_database_is_to_be_deleted(tmp_path, content):
    place = tmp_path / "state.sqlite"
    if content:
        place.write_bytes(content)
    with (
        closing(sqlite3.connect(place)) as database,
        pytest.raises(StorageError, match=r"counting failed: .* is damaged: ") as caught,
        storage_errors(place, "counting"),
    ):
        database.execute("SELECT name FROM things")
    assert caught.value.hint == f"delete {place}, then run the same command again; it makes it anew"


def test_a_mistake_of_ours_in_a_query_stays_one(tmp_path):
    with (
        closing(sqlite3.connect(tmp_path / "a.sqlite")) as database,
        pytest.raises(sqlite3.ProgrammingError),
        storage_errors(tmp_path, "counting"),
    ):
        database.execute("SELECT ?", ())


def fill(place):
    """Make a database of several pages; returns its bytes."""
    with closing(open_cache_database(place, TABLES, "counting")) as database, database:
        database.executemany("INSERT INTO things VALUES (?)", [(f"{number:0900}",) for number in range(20)])
        seal_cache_database(database)
    return place.read_bytes()


def count(place):
    with closing(open_cache_database(place, TABLES, "counting")) as database:
        return database.execute("SELECT count(*) FROM things").fetchone()[0]


def test_a_cache_that_is_whole_is_kept(tmp_path):
    fill(tmp_path / "cache.sqlite")
    assert count(tmp_path / "cache.sqlite") == 20


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"no database" * 1000,
        lambda data: data[:6000],
        lambda data: data[:4096] + b"\x5a" * (len(data) - 4096),
        lambda data: data.replace(b"0" * 50, b"0" * 49 + b"7", 1),
        lambda data: data.replace(b"0" * 50, b"\xff" * 50, 1),
        lambda data: data.replace(b"TABLE things", b"TABL\xff things", 1),
        lambda data: data.replace(b"name TEXT", b"n\xffme TEXT", 1),
    ],
)
def test_a_damaged_cache_is_made_anew(tmp_path, damage):
    place = tmp_path / "cache.sqlite"
    place.write_bytes(damage(fill(place)))
    assert count(place) == 0
    fill(place)
    assert count(place) == 20


def test_remembered_hashes_that_are_damaged_are_counted_again(tmp_path):
    paths = [tmp_path / name for name in ("a", "b")]
    for path in paths:
        path.write_text(path.name)
    read = []
    found = hash_files(paths, tmp_path / "cache", lambda done, total: read.append(total))
    assert hash_files(paths, tmp_path / "cache", lambda done, total: read.append(total)) == found
    assert read == [2], "the second time nothing was read"
    (tmp_path / "cache" / "hashes.sqlite").write_bytes(b"no database" * 1000)
    assert hash_files(paths, tmp_path / "cache", lambda done, total: read.append(total)) == found
    assert hash_files(paths, tmp_path / "cache", lambda done, total: read.append(total)) == found
    assert read == [2, 2]
    paths[0].unlink()
    with pytest.raises(DatasetError, match="a cannot be read: No such file"):
        hash_files(paths, tmp_path / "cache", lambda done, total: None)
