"""Kaggle data sets, through the official client; each version is downloaded once."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, stop_after_delay

from ei_automation.dataset.fetch.archive import unpack
from ei_automation.dataset.fetch.base import Fetched, FetchRequest, check_sha256
from ei_automation.dataset.fetch.kaggle_client import Limits, TransientError, require_client, run_client
from ei_automation.dataset.fetch.tree import locked
from ei_automation.errors import DatasetError, NetworkError
from ei_automation.files import sha256_file, storage_errors, write_atomically
from ei_automation.schema.lock import OriginRecord
from ei_automation.schema.manifest import KaggleOrigin

_DOING = "downloading from Kaggle"
_BY_HAND = "or download it in a browser and give it with --from PATH"


def fetch_kaggle(origin: KaggleOrigin, request: FetchRequest, limits: Limits | None = None) -> Fetched:
    """A Kaggle data set, unpacked. Public ones need no credentials.

    An archive that the record names by its hash is taken from the cache without asking Kaggle.

    Args:
        origin: Slug and version.
        request: Cache folder, expected hash, progress.
        limits: Tries and times; None for the usual ones.

    Raises:
        NotFoundError: No such data set or version.
        SettingsError: Client or credentials missing or refused.
        NetworkError: Kaggle, or the way to it, failed for good.
        VerificationError: The archive is not the recorded one; it is removed.
        DatasetError: The archive is corrupt or hostile.
        StorageError: The cache folder cannot be written.
    """
    shelf = request.downloads / "kaggle" / origin.slug
    version = _cached_version(origin, request, shelf)  # needs no lock, and so no writable cache
    if version is None:
        with storage_errors(shelf, _DOING), locked(shelf):
            version = _cached_version(origin, request, shelf)  # another run may have been faster
            version = version or _download_version(origin, request, shelf, limits or Limits())
    digest = str(_note(shelf, version)["sha256"])
    check_sha256(
        digest,
        request.expected_sha256,
        f"the cached archive of {origin.slug}/{version}",
        hint=f"delete {shelf / f'{version}.json'} to download it again, or correct the record",
    )
    archive = _archive(request, digest)
    try:
        root = unpack(archive, digest, request.downloads, request.on_progress)
    except DatasetError:
        archive.unlink(missing_ok=True)  # as it came from Kaggle it can only be fetched again
        raise
    record = OriginRecord(type="kaggle", reference=f"{origin.slug}/{version}", archive_sha256=digest)
    return Fetched(root=root, origin=record)


def _cached_version(origin: KaggleOrigin, request: FetchRequest, shelf: Path) -> int | None:
    """The version to take from the cache, if it is there and need not be asked for."""
    versions = sorted(int(path.stem) for path in shelf.glob("*.json") if path.stem.isdecimal())
    held = [version for version in versions if _holds(shelf, version, request)]
    if origin.version is not None:
        return origin.version if origin.version in held else None
    if request.offline and held:
        return held[-1]
    return next((number for number in held if _note(shelf, number)["sha256"] == request.expected_sha256), None)


def _holds(shelf: Path, version: int, request: FetchRequest) -> bool:
    """Whether a version's archive is in the cache, with the size it was left with."""
    note = _note(shelf, version)
    archive = _archive(request, str(note["sha256"]))
    return archive.is_file() and archive.stat().st_size == note["size"]


def _note(shelf: Path, version: int) -> dict[str, str | int]:
    """What the cache knows of a version: sha256 and size in bytes of its archive."""
    try:
        note = json.loads((shelf / f"{version}.json").read_text())
        return {"sha256": str(note["sha256"]), "size": int(note["size"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"sha256": "", "size": -1}


def _archive(request: FetchRequest, digest: str) -> Path:
    """Where an archive of this content stands."""
    return request.downloads / "archives" / f"{digest}.zip"


def _download_version(origin: KaggleOrigin, request: FetchRequest, shelf: Path, limits: Limits) -> int:
    """Download the wanted, or the newest, version; check it; put it on the shelf."""
    if request.offline:
        wanted = origin.slug if origin.version is None else f"{origin.slug}/{origin.version}"
        raise NetworkError(
            f"offline, and the Kaggle data set {wanted} is not in the cache",
            hint="run once without EIAUTO_OFFLINE, " + _BY_HAND,
        )
    require_client()
    deadline = time.monotonic() + limits.deadline_s
    version = origin.version or _newest_version(origin.slug, limits, deadline)
    if _holds(shelf, version, request):
        return version
    part = shelf / f"{version}.part"
    path = _download(f"{origin.slug}/{version}", part, request, limits, deadline)
    digest = sha256_file(path)
    try:
        check_sha256(
            digest,
            request.expected_sha256,
            f"the archive of {origin.slug}/{version} from Kaggle",
            hint="it was removed; run again, and if it stays so, the data set is not the recorded one",
        )
        _shelve(path, digest, request, shelf / f"{version}.json")
    finally:
        shutil.rmtree(part)
    return version


def _shelve(path: Path, digest: str, request: FetchRequest, note: Path) -> None:
    """Move a checked archive to its place, then say that it is there."""
    archive = _archive(request, digest)
    archive.parent.mkdir(parents=True, exist_ok=True)
    size = path.stat().st_size
    path.replace(archive)
    write_atomically(note, json.dumps({"sha256": digest, "size": size}), doing=_DOING)


def _newest_version(slug: str, limits: Limits, deadline: float) -> int:
    """Ask Kaggle for the newest version's number."""
    task = {"task": "version", "dataset": slug}
    number = _retrying(task, limits, deadline, lambda _done, _total: None).get("version") or 0
    if number < 1:
        raise NetworkError(
            f"Kaggle does not say which version of {slug} is the newest",
            hint="name one with dataset.origin.version in project.toml",
        )
    return int(number)


def _download(dataset: str, part: Path, request: FetchRequest, limits: Limits, deadline: float) -> Path:
    """Download into a folder of its own, which a later run continues; the zip's path."""
    part.mkdir(parents=True, exist_ok=True)
    task = {"task": "download", "dataset": dataset, "folder": str(part)}
    _retrying(task, limits, deadline, lambda done, total: request.on_progress("download", done, total))
    return part / f"{dataset.split('/')[1]}.zip"


def _retrying(
    task: dict[str, str], limits: Limits, deadline: float, on_bytes: Callable[[int, int], None]
) -> dict[str, Any]:
    """Run the client until it succeeds, the tries are used up, or the time is."""

    def pause(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait_s if isinstance(error, TransientError) else 0.0
        doubled = limits.first_wait_s * 2.0 ** (state.attempt_number - 1)
        return min(max(asked, doubled), limits.longest_wait_s)

    tries = Retrying(
        stop=stop_after_attempt(limits.attempts) | stop_after_delay(max(deadline - time.monotonic(), 0.0)),
        wait=pause,
        retry=retry_if_exception_type(TransientError),
        reraise=True,
    )
    try:
        return tries(run_client, task, limits, deadline, on_bytes)
    except TransientError as error:
        count = tries.statistics["attempt_number"]
        raise NetworkError(
            f"{task['dataset']} could not be had from Kaggle (tries: {count}); the last error: {error.message}",
            hint=f"look at the network and run the same command again, it continues; {_BY_HAND}",
        ) from error
