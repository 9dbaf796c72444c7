"""Zips: what is unpacked, what is refused, and that nothing half-written stays."""

from __future__ import annotations

import resource
import stat
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ei_automation.dataset.fetch import archive as archive_module
from ei_automation.dataset.fetch import fetch
from ei_automation.dataset.fetch.archive import safe_path
from ei_automation.errors import DatasetError, NotFoundError, StorageError, VerificationError
from ei_automation.files import sha256_file
from ei_automation.schema.manifest import ZipOrigin
from tests.dataset.conftest import jpeg, make_zip


def get(tmp_path: Path, name: str = "set.zip", **options: Any) -> Any:
    return fetch(
        ZipOrigin(type="zip", path=name),
        project_folder=tmp_path,
        downloads=tmp_path / "cache",
        on_progress=options.pop("on_progress", lambda *_: None),
        **options,
    )


def unpacked(tmp_path: Path) -> list[str]:
    """What stands in the cache, locks apart."""
    cache = tmp_path / "cache"
    return sorted(str(p.relative_to(cache)) for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock")


def test_a_zip_is_unpacked_once_under_its_hash(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "set.zip", {"a/1 (2).jpg": jpeg(1), "b/дом.jpg": jpeg(2), "b\\3.jpg": jpeg(3)})
    steps: list[tuple[str, int, int]] = []
    fetched = get(tmp_path, on_progress=lambda *step: steps.append(step))
    assert sorted(p.relative_to(fetched.root).as_posix() for p in fetched.root.rglob("*.jpg")) == [
        "a/1 (2).jpg",
        "b/3.jpg",
        "b/дом.jpg",
    ]
    assert (fetched.root / "a/1 (2).jpg").read_bytes() == jpeg_of(path, "a/1 (2).jpg")
    assert fetched.origin.reference == "set.zip"
    assert fetched.origin.archive_sha256 == sha256_file(path) == fetched.root.name
    assert steps[-1] == ("unpack", 3, 3)
    steps.clear()
    assert get(tmp_path, on_progress=lambda *step: steps.append(step)) == fetched
    assert steps == []


def jpeg_of(path: Path, member: str) -> bytes:
    with zipfile.ZipFile(path) as opened:
        return opened.read(member)


def test_two_runs_at_once_share_one_unpacking(tmp_path: Path) -> None:
    make_zip(tmp_path / "set.zip", {f"a/{n}.jpg": b"1" for n in range(200)})
    steps: list[int] = []
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(get, tmp_path, on_progress=lambda *step: steps.append(step[1])) for _ in range(4)]
        assert len({run.result().root for run in runs}) == 1
    assert steps == [50, 100, 150, 200]


@pytest.mark.parametrize("harm", ["lost file", "cut file", "extra file", "lost state", "broken state"])
def test_a_damaged_folder_is_unpacked_again(tmp_path: Path, harm: str) -> None:
    make_zip(tmp_path / "set.zip", {"a/1.jpg": b"11", "b/2.jpg": b"22"})
    root = get(tmp_path).root
    if harm == "lost file":
        (root / "a/1.jpg").unlink()
    elif harm == "cut file":
        (root / "a/1.jpg").write_bytes(b"1")
    elif harm == "extra file":
        (root / "a/9.jpg").write_bytes(b"9")
    else:
        root.with_name(f"{root.name}.json").write_text("{}" if harm == "lost state" else "[")
    get(tmp_path)
    assert {p.name: p.read_bytes() for p in root.rglob("*.jpg")} == {"1.jpg": b"11", "2.jpg": b"22"}


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "set.zip", {"a/1.jpg": b"11"})
    stale = tmp_path / f"cache/unpacked/.{sha256_file(path)}.abc/a"
    stale.mkdir(parents=True)
    (stale / "1.jpg").write_bytes(b"1")
    get(tmp_path)
    assert not stale.parent.exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../evil.jpg", "leads out of its folder"),
        ("a/../../evil.jpg", "leads out of its folder"),
        ("a\\..\\..\\evil.jpg", "leads out of its folder"),
        ("/etc/evil.jpg", "absolute path"),
        ("\\\\host\\evil.jpg", "absolute path"),
        ("C:\\evil.jpg", "absolute path"),
        ("c:evil.jpg", "absolute path"),
        ("/".join(["d"] * 80) + "/x.jpg", "no file system"),
    ],
)
def test_hostile_paths(tmp_path: Path, name: str, words: str) -> None:
    make_zip(tmp_path / "set.zip", {"a/ok.jpg": b"1", name: b"evil"})
    with pytest.raises(DatasetError, match=words) as caught:
        get(tmp_path)
    assert caught.value.exit_code == 6
    assert "set.zip is refused" in caught.value.message
    assert unpacked(tmp_path) == []
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices(tmp_path: Path, kind: int) -> None:
    info = zipfile.ZipInfo("a/link.jpg")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as opened:
        opened.writestr(info, "/etc/passwd")
    with pytest.raises(DatasetError, match=r"'a/link.jpg', a symbolic link or device"):
        get(tmp_path)
    assert unpacked(tmp_path) == []


def test_a_bomb(tmp_path: Path) -> None:
    make_zip(tmp_path / "set.zip", {"a/zeros.bmp": bytes(archive_module.RATIO_FREE_BYTES + 1)})
    with pytest.raises(DatasetError, match=r"it grows [\d,]+ times; the limit is 100"):
        get(tmp_path)
    assert unpacked(tmp_path) == []


def test_small_bitmaps_may_shrink_well(tmp_path: Path) -> None:
    make_zip(tmp_path / "set.zip", {"a/black.bmp": bytes(2_000_000)})
    assert (get(tmp_path).root / "a/black.bmp").stat().st_size == 2_000_000


def test_declared_sizes_count(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "set.zip", {"a/1.jpg": b"x" * 50}, zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\x01\x02") + 24  # uncompressed size in the central directory
    raw[at : at + 4] = (0xFFFFFFF0).to_bytes(4, "little")
    path.write_bytes(raw)
    with pytest.raises(DatasetError, match="it grows"):
        get(tmp_path)


@pytest.mark.parametrize("names", [("a/1.jpg", "a//1.jpg"), ("a", "a/1.jpg"), ("a/1.jpg", "./a/1.jpg")])
def test_members_that_collide(tmp_path: Path, names: tuple[str, str]) -> None:
    make_zip(tmp_path / "set.zip", dict.fromkeys(names, b"1"))
    with pytest.raises(DatasetError, match=r"two members for the path|below a path that is a file"):
        get(tmp_path)


def test_a_password(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "set.zip", {"a/1.jpg": b"x" * 50})
    raw = bytearray(path.read_bytes())
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(DatasetError, match=r"locked with a password \(member 'a/1.jpg'\)"):
        get(tmp_path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_corrupt_member_is_named(tmp_path: Path, method: int) -> None:
    path = make_zip(tmp_path / "set.zip", {"a/0.jpg": jpeg(0), "a/1.jpg": jpeg(1)}, method)
    with zipfile.ZipFile(path) as opened:
        start = opened.getinfo("a/1.jpg").header_offset + 60
    raw = bytearray(path.read_bytes())
    raw[start : start + 40] = bytes(byte ^ 0xFF for byte in raw[start : start + 40])
    path.write_bytes(raw)
    with pytest.raises(DatasetError, match=r"set.zip is corrupt at its member 'a/1.jpg'") as caught:
        get(tmp_path)
    assert caught.value.hint == "get the archive again; nothing of it was kept"
    assert unpacked(tmp_path) == []


@pytest.mark.parametrize("cut", [0, 10, -30])
def test_no_zip_at_all(tmp_path: Path, cut: int) -> None:
    path = make_zip(tmp_path / "set.zip", {"a/1.jpg": jpeg(1)})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DatasetError, match="is no zip, or was cut short"):
        get(tmp_path)
    assert unpacked(tmp_path) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    make_zip(tmp_path / "set.zip", {"a/1.jpg": b"1" * 1000, "a/2.jpg": b"2" * 300_000})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # the system refuses to let a file grow further
    try:
        with pytest.raises(StorageError, match=r"unpacking set.zip failed at .*: File too large") as caught:
            get(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.exit_code == 3
    assert unpacked(tmp_path) == []
    assert len(list(get(tmp_path).root.rglob("*.jpg"))) == 2


def test_missing_and_wrong_archives(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"archive .*set.zip is not there") as missing:
        get(tmp_path)
    assert missing.value.exit_code == 4
    assert "--from PATH" in missing.value.hint
    make_zip(tmp_path / "set.zip", {"a/1.jpg": b"1"})
    with pytest.raises(VerificationError, match="but the record says"):
        get(tmp_path, expected_sha256="ab" * 32)
    assert unpacked(tmp_path) == []


PIECES = st.sampled_from(["a", "..", ".", "", "b c", "C:", "é", "...", "/", "\\", "..\\", "x\0"])


@given(st.lists(PIECES, max_size=6), st.sampled_from(["/", "\\"]))
def test_no_path_ever_leads_out(pieces: list[str], separator: str) -> None:
    name = separator.join(pieces)
    try:
        path = safe_path(name, Path("x.zip"))
    except DatasetError:
        return
    assert not path.is_absolute()
    assert ".." not in path.parts
    assert (Path("/data/set") / path).resolve().is_relative_to("/data/set")
    assert "\\" not in str(path)
