"""Where the base's weights come from: a path, the cache, or the published address. Imports no TensorFlow."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import requests
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from ei_automation.errors import NetworkError, NotFoundError, VerificationError
from ei_automation.files import ensure_folder, sha256_file, storage_errors
from ei_automation.schema.impulse import Channels
from ei_automation.schema.training import LearnBlock, TransferLearnBlock
from ei_automation.trainer.architectures.registry import PUBLISHED, PublishedWeights
from ei_automation.trainer.request import ResolvedWeights

PUBLISHED_ROOT = "https://cdn.edgeimpulse.com/"
ATTEMPTS = 3
TIMEOUT_S = (10.0, 60.0)
"""To connect, and between two pieces."""
PIECE_BYTES = 1 << 16
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
DOING = "storing pretrained weights"

OnBytes = Callable[[int, int], None]
"""Gets bytes done and in all; 0 in all when the server did not say."""


def resolve_weights(
    learn_block: LearnBlock,
    channels: Channels,
    *,
    project_folder: Path,
    override: Path | None = None,
    cache_folder: Path,
    offline: bool = False,
    on_progress: OnBytes = lambda _done, _total: None,
) -> ResolvedWeights | None:
    """Find the weights that a learn block asks for, downloading them where that is needed and allowed.

    Args:
        learn_block: Of the manifest.
        channels: RGB or Grayscale; published files are for one of them.
        project_folder: What a relative path in the manifest is relative to.
        override: `--weights PATH`; wins over the manifest.
        cache_folder: Where downloads are kept, and where a file may be put by hand under its name.
        offline: Use what is there, ask no server.
        on_progress: Of a download.

    Returns:
        The file; or a random start, which `source` says; or None for a block without a base.

    Raises:
        NotFoundError: No such file, or nothing published for this network.
        NetworkError: The server could not be reached.
        VerificationError: A file is not what was published.
    """
    if not isinstance(learn_block, TransferLearnBlock):
        return None
    if override is not None or learn_block.weights not in ("none", "pretrained"):
        return _given(override or project_folder / learn_block.weights)
    if learn_block.weights == "none":
        return ResolvedWeights(None, "none", None)
    layer = learn_block.visual_layer.type
    published = PUBLISHED.get((layer, channels))
    if published is None:
        raise NotFoundError(
            f"no pretrained {channels} weights were ever published for {layer}",
            hint="give a file with `--weights PATH`, choose another visual layer type or colour depth, or set"
            ' weights = "none" to train from scratch',
        )
    return _published(published, cache_folder, offline, on_progress)


def _given(path: Path) -> ResolvedWeights:
    """A file that the user named."""
    if not path.is_file():
        raise NotFoundError(
            f"the weight file {path} does not exist",
            hint='give its path with `--weights PATH`; weights = "pretrained" takes the published file, "none"'
            " trains from scratch",
        )
    return ResolvedWeights(path, path.name, sha256_file(path))


def _published(published: PublishedWeights, folder: Path, offline: bool, on_progress: OnBytes) -> ResolvedWeights:
    """The cached file, or a download of it."""
    path = folder / published.name
    if not path.is_file():
        if offline:
            raise NotFoundError(
                f"the pretrained weights {published.name} are not in the cache and the run is offline",
                hint=ways_on(published, folder),
            )
        download(published, folder, on_progress=on_progress)
    return ResolvedWeights(path, "pretrained", _checked(path, published))


def _checked(path: Path, published: PublishedWeights) -> str:
    """The file's SHA-256, held against the published one where that is known."""
    found = sha256_file(path)
    if published.sha256 not in (None, found):
        raise VerificationError(
            f"{path} has SHA-256 {found}, the published file has {published.sha256}",
            hint="delete that file and run again to download it, or use it on purpose with `--weights PATH`",
        )
    return found


def ways_on(published: PublishedWeights, folder: Path) -> str:
    """The three ways on for somebody whose weights are not to be had."""
    return (
        f"(1) give a Keras .h5 file with `--weights PATH`; (2) put {published.name} from"
        f" {PUBLISHED_ROOT}{published.path} into {folder} under that name; (3) set"
        ' weights = "none" in the manifest to train from scratch'
    )


def download(
    published: PublishedWeights,
    folder: Path,
    *,
    on_progress: OnBytes = lambda _done, _total: None,
    root: str = PUBLISHED_ROOT,
) -> Path:
    """Fetch a published file into the cache: whole and checked, or not at all.

    Args:
        published: Which.
        folder: The cache.
        on_progress: Bytes done and in all.
        root: Server, with a final slash.

    Raises:
        NotFoundError: The server does not have it.
        NetworkError: The server failed, or sent something that is no HDF5 file, `ATTEMPTS` times.
        VerificationError: It is not the published file.
        StorageError: The cache cannot be written.
    """
    ensure_folder(folder, DOING)
    url = root + published.path
    with storage_errors(folder, DOING), tempfile.TemporaryDirectory(dir=folder, prefix=".download.") as place:
        part = Path(place) / published.name
        try:
            for attempt in _retrying():
                with attempt:
                    _fetch(url, part, on_progress)
        except requests.HTTPError as error:
            raise _refused(url, error, ways_on(published, folder)) from error
        except requests.RequestException as error:
            raise NetworkError(
                f"{url} could not be downloaded: {error}", hint=ways_on(published, folder)
            ) from error
        _checked(part, published)
        return part.replace(folder / published.name)


def _refused(url: str, error: requests.HTTPError, hint: str) -> NotFoundError | NetworkError:
    """What an HTTP status means for the user."""
    status = error.response.status_code
    kind = NotFoundError if status in (403, 404, 410) else NetworkError
    return kind(f"{url} could not be downloaded: HTTP {status}", hint=hint)


def _retrying() -> Retrying:
    """Another attempt for what may pass: broken connections, 429 and 5xx."""
    return Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(multiplier=0.2, max=5),
        retry=retry_if_exception(_may_pass),
        reraise=True,
    )


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, requests.HTTPError):
        return error.response.status_code == 429 or error.response.status_code >= 500
    return isinstance(error, requests.RequestException)


def _fetch(url: str, part: Path, on_progress: OnBytes) -> None:
    """One attempt, from the first byte."""
    with requests.get(url, stream=True, timeout=TIMEOUT_S) as response:
        response.raise_for_status()
        total = int(response.headers.get("Content-Length", 0))
        done = 0
        with part.open("wb") as stream:
            for piece in response.iter_content(PIECE_BYTES):
                stream.write(piece)
                done += len(piece)
                on_progress(done, total)
    if total and done != total:
        raise requests.ConnectionError(f"{done} of {total} bytes came")
    with part.open("rb") as stream:
        if stream.read(len(HDF5_SIGNATURE)) != HDF5_SIGNATURE:
            raise requests.ConnectionError("what came is not an HDF5 file")
