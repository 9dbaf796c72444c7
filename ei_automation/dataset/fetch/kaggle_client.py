"""One run of the official Kaggle client: the child process, its events, and what its failures mean."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ei_automation.errors import EiautoError, NetworkError, NotFoundError, SettingsError, StorageError

OLDEST_CLIENT = (2, 2, 5)
"""2.2.4 corrupts a download that is continued after a drop and two HTTP 503, without a word."""
POLL_S = 0.1
MESSAGE_CHARACTERS = 300
CREDENTIALS_HINT = (
    "give credentials: KAGGLE_API_TOKEN, ~/.kaggle/access_token, KAGGLE_USERNAME with KAGGLE_KEY, or"
    " kaggle.json in ~/.kaggle or KAGGLE_CONFIG_DIR (tokens: https://www.kaggle.com/settings)"
)
_BROWSER_HINT = "download the data set in a browser and give it with --from PATH"
_CHILD = Path(__file__).with_name("kaggle_process.py")
_QUERY = re.compile(r"\?[^\s'\")]+")


class TransientError(NetworkError):
    """A failure that another try may mend.

    Args:
        message: What happened.
        wait_s: Seconds that the server asks to wait; 0 when it does not.
    """

    def __init__(self, message: str, *, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(frozen=True)
class Limits:
    """How long a download may take.

    Attributes:
        attempts: Tries in all; each continues where the last one ended.
        deadline_s: After so many seconds no new try is begun, and a running one is stopped.
        silence_s: A try that gets no byte for so long is stopped; the client itself would wait for ever.
        first_wait_s: Before the second try; doubles from try to try, up to `longest_wait_s`.
        longest_wait_s: Longest wait between tries, also when the server asks for more.
    """

    attempts: int = 10
    deadline_s: float = 6 * 3600.0
    silence_s: float = 120.0
    first_wait_s: float = 0.5
    longest_wait_s: float = 60.0


def require_client() -> None:
    """Look at the installed client without importing it.

    Raises:
        SettingsError: It is missing or too old.
    """
    hint = 'pip install "eiauto[kaggle]"; or download the data set yourself and give it with --from PATH'
    try:
        version = metadata.version("kaggle")
    except metadata.PackageNotFoundError as error:
        raise SettingsError("the Kaggle client is not installed", hint=hint) from error
    if tuple(int(number) for number in re.findall(r"\d+", version)[:3]) < OLDEST_CLIENT:
        needed = ".".join(map(str, OLDEST_CLIENT))
        raise SettingsError(
            f"the Kaggle client {version} corrupts continued downloads; {needed} or newer is needed", hint=hint
        )


def run_client(
    task: dict[str, str], limits: Limits, deadline: float, on_bytes: Callable[[int, int], None]
) -> dict[str, Any]:
    """Run the client once.

    Args:
        task: What it shall do, see `kaggle_process`.
        limits: Gives `silence_s`.
        deadline: `time.monotonic()` at which it is stopped.
        on_bytes: Gets the download's bytes on disk and in all (0 while not known).

    Returns:
        Its last event: version or done.

    Raises:
        TransientError: Another try may help: a dropped connection, HTTP 5xx or 429, silence.
        SettingsError: Credentials are missing or refused.
        NotFoundError: There is no such data set.
        StorageError: The download cannot be written.
        NetworkError: The server refused for another reason.
    """
    with tempfile.TemporaryDirectory(prefix="eiauto-kaggle-") as name:
        room = Path(name)
        with _child(task, room) as process:
            _watch(process, room / "events", limits.silence_s, deadline, on_bytes)
        last = _events(room / "events")[-1:]
        if last and last[0]["event"] in ("version", "done"):
            return last[0]
        if last and last[0]["event"] == "failed":
            raise _meaning(last[0], task["dataset"])
        talk = (room / "talk").read_text(errors="replace")
        raise TransientError(f"the Kaggle client ended without a word: {_clean(talk)}")


@contextmanager
def _child(task: dict[str, str], room: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The client's process; ended in any case. `-P`: our own `kaggle.py` must not hide the client."""
    command = [sys.executable, "-P", str(_CHILD)]
    with (
        (room / "events").open("wb") as events,
        (room / "talk").open("wb") as talk,
        subprocess.Popen(
            command, bufsize=0, stdin=subprocess.PIPE, stdout=events, stderr=talk, env=_environment(room)
        ) as process,
    ):
        try:
            if process.stdin is not None:
                with suppress(BrokenPipeError):  # it died at once; its talk says why
                    process.stdin.write(json.dumps(task).encode() + b"\n")
            yield process  # stdin stays open: its end tells the child that we are gone
        finally:
            process.kill()


def _watch(
    process: subprocess.Popen[bytes],
    events: Path,
    silence_s: float,
    deadline: float,
    on_bytes: Callable[[int, int], None],
) -> None:
    """Wait for the client's end; stop it when nothing arrives any more."""
    seen, since = (0, 0), time.monotonic()
    while True:
        try:
            process.wait(POLL_S)
            running = False
        except subprocess.TimeoutExpired:
            running = True
        now = _progress(events)
        if now != seen:
            seen, since = now, time.monotonic()
            on_bytes(*now)
        if not running:
            return
        if time.monotonic() - since > silence_s:
            raise TransientError(f"Kaggle sent nothing for {silence_s:.0f} s")
        if time.monotonic() > deadline:
            raise TransientError("the time for the download is over")


def _progress(events: Path) -> tuple[int, int]:
    """Bytes on disk and in all; (0, 0) before the download has begun."""
    event = next((event for event in _events(events) if event["event"] == "size"), None)
    if event is None:
        return (0, 0)
    path = Path(event["path"])
    return (path.stat().st_size if path.exists() else 0, event["size"])


def _events(path: Path) -> list[dict[str, Any]]:
    """The whole lines that the child has written so far."""
    return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def _environment(room: Path) -> dict[str, str]:
    """The child's environment.

    Where the user has no Kaggle folder an empty one stands in for it; or else the client would make one in
    the user's home.
    """
    environment = dict(os.environ)
    given = environment.get("KAGGLE_CONFIG_DIR")
    xdg = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    candidates = [Path(given)] if given else [Path.home() / ".kaggle", xdg / "kaggle"]
    if not any(candidate.is_dir() for candidate in candidates):
        environment["KAGGLE_CONFIG_DIR"] = str(room / "config")
    return environment


def _meaning(event: dict[str, Any], dataset: str) -> EiautoError:
    """The error that a failure of the client is for the user."""
    status, words = int(event["status"]), _clean(event["message"])
    page = "https://www.kaggle.com/datasets/" + "/".join(dataset.split("/")[:2])
    if status == 401:
        return SettingsError(f"Kaggle refused the credentials (HTTP 401): {words}", hint=CREDENTIALS_HINT)
    if status == 403:
        return SettingsError(
            f"Kaggle does not give {dataset} with these credentials, or without any (HTTP 403): {words}",
            hint=f"open {page} and accept its terms if it asks for that; {CREDENTIALS_HINT}",
        )
    if status == 404:
        return NotFoundError(
            f"Kaggle has no data set {dataset} (HTTP 404)",
            hint=f"check dataset.origin.slug and .version against {page}",
        )
    if status == 429 or status >= 500:
        return TransientError(f"Kaggle answered HTTP {status}: {words}", wait_s=_seconds(event["retry_after"]))
    if status >= 400:
        return NetworkError(
            f"Kaggle refused the request for {dataset} (HTTP {status}): {words}", hint=_BROWSER_HINT
        )
    if event["type"] in ("ImportError", "ModuleNotFoundError"):
        return SettingsError(f"the Kaggle client cannot be imported: {words}", hint='pip install "eiauto[kaggle]"')
    if event["type"] in _STORAGE_ERRORS or (event["type"] == "OSError" and event["errno"] is not None):
        return StorageError(
            f"the download of {dataset} cannot be written: {words}", hint="free space, then run it again"
        )
    if "NameResolutionError" in words:
        return NetworkError(
            f"Kaggle cannot be reached for {dataset}: no address is known for its name; is there a network?",
            hint=f"run it again with a network, or {_BROWSER_HINT}",
        )
    return TransientError(f"the download of {dataset} broke off ({event['type']}): {words}")


_STORAGE_ERRORS = ("PermissionError", "NotADirectoryError", "FileExistsError", "IsADirectoryError")


def _clean(words: str) -> str:
    """Words of the client on one line, without the signatures that stand behind a `?` in addresses."""
    return _QUERY.sub("?...", " ".join(words.split()))[:MESSAGE_CHARACTERS]


def _seconds(retry_after: str) -> float:
    """A Retry-After header in seconds; its date form counts as not given."""
    return float(retry_after) if retry_after.isdecimal() else 0.0
