"""Kaggle, with the real client against a loopback server."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ei_automation.dataset.fetch import fetch
from ei_automation.dataset.fetch.base import Fetched, FetchRequest
from ei_automation.dataset.fetch.kaggle import fetch_kaggle
from ei_automation.dataset.fetch.kaggle_client import Limits
from ei_automation.errors import (
    DatasetError,
    NetworkError,
    NotFoundError,
    SettingsError,
    StorageError,
    VerificationError,
)
from ei_automation.schema.manifest import KaggleOrigin
from tests.dataset.kaggle_server import Kaggle, basic

REPOSITORY = Path(__file__).resolve().parents[3]
ORIGIN = KaggleOrigin(type="kaggle", slug="ann/cells", version=3)
CUT = 300_000  # bytes that arrive before the line goes dead
KEPT = CUT // 65_536 * 65_536  # whole chunks of them, which the client has written
FROM = f"bytes={KEPT}-"
QUICK = Limits(attempts=2, first_wait_s=0.01, silence_s=1.5, deadline_s=30)


def get(
    tmp_path: Path, origin: KaggleOrigin = ORIGIN, **options: Any
) -> tuple[Fetched, list[tuple[str, int, int]]]:
    """Fetch into `tmp_path/cache`; the answer and the progress."""
    seen: list[tuple[str, int, int]] = []
    fetched = fetch(
        origin,
        project_folder=tmp_path,
        downloads=tmp_path / "cache",
        on_progress=lambda *step: seen.append(step),
        **options,
    )
    return fetched, seen


def get_quick(tmp_path: Path, limits: Limits = QUICK, on_progress: Any = lambda *_: None) -> Fetched:
    """The same with short waits."""
    request = FetchRequest(tmp_path, tmp_path / "cache", None, offline=False, on_progress=on_progress)
    return fetch_kaggle(ORIGIN, request, limits)


def leftovers(tmp_path: Path) -> list[str]:
    """All files of the cache except locks."""
    cache = tmp_path / "cache"
    return sorted(str(p.relative_to(cache)) for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock")


def test_a_public_set_comes_without_credentials_and_only_once(
    kaggle: Kaggle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fetched, seen = get(tmp_path)
    digest = hashlib.sha256(kaggle.archive).hexdigest()
    assert len(list(fetched.root.rglob("*.jpg"))) == 120
    assert fetched.origin.model_dump() == {
        "type": "kaggle",
        "reference": "ann/cells/3",
        "archive_sha256": digest,
        "overridden": False,
    }
    assert {step for step, _, _ in seen} == {"download", "unpack"}
    assert seen[-1] == ("unpack", 120, 120)
    assert all("Authorization" not in call.headers for call in kaggle.calls)
    assert kaggle.named("DownloadDataset")[0].body["datasetVersionNumber"] == 3
    calls = len(kaggle.calls)
    again, _ = get(tmp_path, expected_sha256=digest)
    assert again == fetched
    assert len(kaggle.calls) == calls
    assert capfd.readouterr() == ("", "")  # the client's talk stays in its process
    assert not any((Path.home() / name).exists() for name in (".config", ".kaggle"))


def test_an_unset_version_takes_the_newest_and_says_which(kaggle: Kaggle, tmp_path: Path) -> None:
    unpinned = KaggleOrigin(type="kaggle", slug="ann/cells")
    kaggle.version = 7
    assert get(tmp_path, unpinned)[0].origin.reference == "ann/cells/7"
    assert kaggle.named("DownloadDataset")[0].body["datasetVersionNumber"] == 7
    assert get(tmp_path, unpinned)[0].origin.reference == "ann/cells/7"
    assert len(kaggle.named("DownloadDataset")) == 1
    assert get(tmp_path, unpinned, offline=True)[0].origin.reference == "ann/cells/7"


@pytest.mark.parametrize(
    ("faults", "resumed"),
    [
        ([("drop", CUT)], [FROM]),
        ([("drop", CUT), 503], [FROM]),
        ([("drop", CUT), "ok", ("drop", CUT), "ok", 503], [FROM, "bytes=524288-", "bytes=524288-"]),
        ([503], []),
    ],
    ids=["drop", "drop, then 503", "two drops", "503 first"],
)
def test_a_broken_download_continues(
    kaggle: Kaggle, tmp_path: Path, faults: list[Any], resumed: list[str]
) -> None:
    kaggle.storage_faults = list(faults)
    seen: list[tuple[str, int, int]] = []
    fetched = get_quick(
        tmp_path, limits=Limits(attempts=5, first_wait_s=0.01), on_progress=lambda *step: seen.append(step)
    )
    assert fetched.origin.archive_sha256 == hashlib.sha256(kaggle.archive).hexdigest()
    assert [header for header in kaggle.ranges if header] == resumed
    downloaded = [done for step, done, _ in seen if step == "download"]
    assert downloaded == sorted(downloaded)
    assert leftovers(tmp_path)[1] == "kaggle/ann/cells/3.json"


def test_503_from_the_interface_is_tried_again(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.api_faults = [503]
    assert get(tmp_path)[0].origin.reference == "ann/cells/3"


def test_a_killed_run_leaves_a_part_that_the_next_one_continues(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.storage_faults = [("stall", CUT)]
    program = (
        "import sys; from pathlib import Path; from tests.dataset.fetch.test_kaggle import get;"
        "get(Path(sys.argv[1]))"
    )
    run = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=REPOSITORY)
    part = tmp_path / "cache/kaggle/ann/cells/3.part/cells.zip"
    end = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size >= KEPT) and time.monotonic() < end:
        time.sleep(0.05)
    listing = ["ps", "-o", "pid=", "--ppid", str(run.pid)]
    children = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split()
    run.send_signal(signal.SIGKILL)
    run.wait()
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < end:
        time.sleep(0.05)
    assert len(children) == 1
    assert not Path(f"/proc/{children[0]}").exists()  # the client ends with its parent
    assert part.stat().st_size == KEPT
    get(tmp_path)
    assert FROM in kaggle.ranges


def test_a_changed_archive_is_not_glued_to_the_old_part(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.storage_faults = [("drop", CUT)]
    with pytest.raises(NetworkError, match=r"\(tries: 1\)"):
        get_quick(tmp_path, limits=Limits(attempts=1))
    kaggle.etag, kaggle.archive = '"v2"', kaggle.archive.replace(b"cells/a", b"other/a")
    fetched = get_quick(tmp_path)
    assert fetched.origin.archive_sha256 == hashlib.sha256(kaggle.archive).hexdigest()
    assert not any(kaggle.ranges)


def test_too_many_bytes_are_not_taken_for_a_whole_archive(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.storage_faults = [("drop", CUT), "ok", "overlap"]
    fetched = get_quick(tmp_path, limits=Limits(attempts=3, first_wait_s=0.01))
    assert fetched.origin.archive_sha256 == hashlib.sha256(kaggle.archive).hexdigest()
    assert kaggle.ranges == ["", "", FROM, ""]


def test_without_a_validator_the_download_starts_over(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.etag = None
    kaggle.storage_faults = [("drop", CUT)]
    assert get(tmp_path)[0].origin.archive_sha256 == hashlib.sha256(kaggle.archive).hexdigest()


def test_a_silent_server_is_given_up_and_the_next_try_continues(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.storage_faults = [("stall", CUT)]
    get_quick(tmp_path)
    assert FROM in kaggle.ranges


def test_the_time_is_bounded(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.storage_faults = [("stall", CUT)]
    before = time.monotonic()
    with pytest.raises(NetworkError, match="the time for the download is over"):
        get_quick(tmp_path, limits=Limits(deadline_s=1.0))
    assert time.monotonic() - before < 5


def test_tries_are_bounded_and_the_sentence_hides_signatures(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.storage_faults = [503] * 5
    with pytest.raises(NetworkError, match=r"ann/cells/3 .* \(tries: 2\); the last error: .*HTTP 503") as caught:
        get_quick(tmp_path)
    assert len(kaggle.ranges) == 2
    assert "secret" not in str(caught.value)
    assert "--from PATH" in caught.value.hint
    assert caught.value.exit_code == 5


def test_retry_after_is_heeded(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.storage_faults, kaggle.retry_after = [429], "2"
    before = time.monotonic()
    get_quick(tmp_path)
    assert time.monotonic() - before > 2


def test_a_wrong_hash_is_refused_and_the_file_removed(kaggle: Kaggle, tmp_path: Path) -> None:
    with pytest.raises(
        VerificationError, match=r"from Kaggle has SHA-256 [0-9a-f]{64}, but the record says 000"
    ) as caught:
        get(tmp_path, expected_sha256="0" * 64)
    assert caught.value.exit_code == 8
    assert leftovers(tmp_path) == []


def test_a_cached_archive_with_another_hash_is_refused(kaggle: Kaggle, tmp_path: Path) -> None:
    get(tmp_path)
    with pytest.raises(VerificationError, match="the cached archive of ann/cells/3") as caught:
        get(tmp_path, expected_sha256="0" * 64)
    assert "3.json" in caught.value.hint


def test_a_corrupt_archive_is_not_kept(kaggle: Kaggle, tmp_path: Path) -> None:
    whole = kaggle.archive
    kaggle.archive = whole[:9_000] + b"garbage" + whole[9_007:]
    with pytest.raises(DatasetError, match="corrupt at its member 'cells/"):
        get(tmp_path)
    assert leftovers(tmp_path) == ["kaggle/ann/cells/3.json"]
    kaggle.archive = whole
    assert len(list(get(tmp_path)[0].root.rglob("*.jpg"))) == 120


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, SettingsError, "refused the credentials"),
        (403, SettingsError, "accept its terms"),
        (404, NotFoundError, "no data set ann/cells/3"),
        (400, NetworkError, "refused the request"),
    ],
)
def test_refusals(kaggle: Kaggle, tmp_path: Path, status: int, error: type[Any], words: str) -> None:
    kaggle.api_faults = [status]
    with pytest.raises(error) as caught:
        get(tmp_path)
    assert words in f"{caught.value.message} {caught.value.hint}"
    assert len(kaggle.named("DownloadDataset")) == 1  # none of these is tried again
    if status in (401, 403):
        assert all(form in caught.value.hint for form in ("KAGGLE_API_TOKEN", "access_token", "kaggle.json"))


def test_a_misspelt_slug(kaggle: Kaggle, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no data set ann/sells/3") as caught:
        get(tmp_path, KaggleOrigin(type="kaggle", slug="ann/sells", version=3))
    assert caught.value.exit_code == 4
    assert "dataset.origin.slug" in caught.value.hint


def test_a_closed_set_needs_credentials(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.needs = "Bearer abc"
    with pytest.raises(SettingsError, match="HTTP 403") as caught:
        get(tmp_path)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "form",
    [
        "token",
        "token file named by variable",
        "access_token",
        "username and key",
        "kaggle.json",
        "config dir",
        "xdg",
    ],
)
def test_each_form_of_credentials_reaches_kaggle(
    kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    legacy = json.dumps({"username": "ann", "key": "k1"})
    bearer, key = "Bearer tok", basic("ann", "k1")

    def write(path: Path, text: str) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    if form == "token":
        monkeypatch.setenv("KAGGLE_API_TOKEN", "tok")
    elif form == "token file named by variable":
        monkeypatch.setenv("KAGGLE_API_TOKEN", write(tmp_path / "t/token", "tok\n"))
    elif form == "access_token":
        write(Path.home() / ".kaggle/access_token", "tok\n")
    elif form == "username and key":
        monkeypatch.setenv("KAGGLE_USERNAME", "ann")
        monkeypatch.setenv("KAGGLE_KEY", "k1")
    elif form == "kaggle.json":
        write(Path.home() / ".kaggle/kaggle.json", legacy)
    elif form == "config dir":
        monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "own"))
        write(tmp_path / "own/kaggle.json", legacy)
    else:
        write(Path.home() / ".config/kaggle/kaggle.json", legacy)
    kaggle.needs = bearer if "token" in form else key
    get(tmp_path)
    assert kaggle.named("DownloadDataset")[0].headers["Authorization"] == kaggle.needs
    assert "KAGGLE_CONFIG_DIR" not in os.environ or form == "config dir"


def test_offline_uses_the_cache_and_never_the_network(kaggle: Kaggle, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="offline, and the Kaggle data set ann/cells/3 is not in the cache"):
        get(tmp_path, offline=True)
    assert kaggle.calls == []
    get(tmp_path)
    kaggle.calls.clear()
    get(tmp_path, offline=True)
    assert kaggle.calls == []


def test_no_way_to_kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(NetworkError, match=r"\(tries: 2\)") as caught:
        get_quick(tmp_path)
    assert "run the same command again" in caught.value.hint


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the cache should be")
    with pytest.raises(StorageError, match="downloading from Kaggle failed") as caught:
        get(tmp_path)
    assert caught.value.exit_code == 3


def test_a_full_disk_during_the_download(kaggle: Kaggle, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (KEPT, hard))  # the client's process inherits it
    try:
        with pytest.raises(StorageError, match=r"download of ann/cells/3 cannot be written: .*File too large"):
            get(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    get(tmp_path)
    assert kaggle.ranges == ["", "", FROM]  # what fitted was kept


def test_a_wrong_token(kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kaggle.needs = "Bearer good"
    monkeypatch.setenv("KAGGLE_API_TOKEN", "bad")
    with pytest.raises(SettingsError, match=r"refused the credentials \(HTTP 401\)"):
        get(tmp_path)


@pytest.fixture(scope="module")
def packages_without_kaggle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed packages, linked into a folder of their own, save for Kaggle's."""
    folder = tmp_path_factory.mktemp("packages")
    installed = Path(pytest.__file__).resolve().parents[1]
    for entry in installed.iterdir():
        if not entry.name.lower().startswith("kaggle"):
            (folder / entry.name).symlink_to(entry)
    return folder


@pytest.mark.parametrize(
    ("version", "words"),
    [("", "the Kaggle client is not installed"), ("2.2.4", "2.2.4 corrupts continued downloads; 2.2.5 or newer")],
)
def test_a_missing_or_old_client(packages_without_kaggle: Path, tmp_path: Path, version: str, words: str) -> None:
    if version:
        note = tmp_path / "old" / f"kaggle-{version}.dist-info/METADATA"
        note.parent.mkdir(parents=True)
        note.write_text(f"Metadata-Version: 2.1\nName: kaggle\nVersion: {version}\n")
    program = (
        "from ei_automation.dataset.fetch.kaggle_client import require_client\n"
        "from ei_automation.errors import SettingsError\n"
        "try: require_client()\n"
        "except SettingsError as error: print(error.exit_code, error.message, error.hint)"
    )
    path = os.pathsep.join(map(str, (REPOSITORY, tmp_path / "old", packages_without_kaggle)))
    run = subprocess.run(
        [sys.executable, "-S", "-c", program], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith(f"3 {words}" if not version else "3 the Kaggle client 2.2.4")
    assert words in run.stdout
    assert 'pip install "eiauto[kaggle]"' in run.stdout
