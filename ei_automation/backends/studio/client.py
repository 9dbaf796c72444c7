"""One session that speaks to the Studio API: JSON, envelopes checked, GETs repeated, keys never shown."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Any, TypeVar
from urllib.parse import urljoin, urlsplit

import orjson
import requests
from requests.adapters import HTTPAdapter
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential, wait_random
from urllib3.exceptions import NewConnectionError

from ei_automation import __version__
from ei_automation.errors import EiautoError, NetworkError, NotFoundError, SettingsError
from ei_automation.settings import Secret, StudioSettings

CONNECT_S, READ_S = 10.0, 60.0
REPEAT_FOR_S = 120.0
"""How long a request that may be repeated is tried again."""
FIRST_CONTACT_S = 5.0
"""The same where nobody listens and nobody ever did: more likely a wrong address than a server's restart."""
FIRST_CONTACT_WAIT_S = 1.0
"""Longest pause between such tries."""
LEAST_WAIT_S = 0.05
"""Before a second try, even where the server says that none is needed."""
PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
CHUNK_BYTES = 1 << 16
DOWNLOAD_WITHIN_S = 3600.0
REDIRECTS = 5
HIDDEN = "ei_(hidden)"
_KEY = re.compile(r"ei_[0-9A-Za-z]{8,}|eyJ[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_.-]+")
_NOT_THERE = re.compile(r"\b(not found|no .{1,80} found|no such|does not exist|unknown job id)\b", re.IGNORECASE)
"""Studio's words for what is not there; it says them with the status 200."""
_Answer = TypeVar("_Answer")


def redact(text: str, secret: Secret | str | None = None) -> str:
    """A text without API keys and JSON web tokens.

    Args:
        text: For instance what a server said.
        secret: What else must not be shown.
    """
    if secret:
        text = text.replace(secret if isinstance(secret, str) else secret.reveal(), HIDDEN)
    return _KEY.sub(HIDDEN, text)


def is_near(endpoint: str) -> bool:
    """Whether an address is this machine's own."""
    return urlsplit(endpoint).hostname in ("127.0.0.1", "localhost", "::1")


class PassingError(NetworkError):
    """A failure that may be gone at the next try.

    Args:
        message: What happened.
        retry_after_s: How long the server asks to wait; None where it does not say.
        hint: What to do next.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class UnreachableError(PassingError):
    """No connection came about: it was refused, or there is no such host or way to it."""


class StudioError(EiautoError):
    """The server understood and refused: its own words."""

    exit_code = 5


class StudioClient:
    """Requests to the Studio API of one endpoint with one key. May be used by several threads.

    Args:
        settings: Where it is and the key.
        pool: Connections that are kept open.
        patience_s: How long a request that may be repeated is tried again.
        first_contact_s: The same where nobody listens, as long as no answer of any kind has come.
    """

    def __init__(
        self,
        settings: StudioSettings,
        *,
        pool: int = 8,
        patience_s: float = REPEAT_FOR_S,
        first_contact_s: float = FIRST_CONTACT_S,
    ) -> None:
        if not settings.api_key:
            raise SettingsError(
                "there is no Edge Impulse API key",
                hint="set EI_API_KEY to a key of the project with the role admin (Studio: Dashboard, Keys)",
            )
        key = settings.api_key.reveal()
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise SettingsError(
                "EI_API_KEY holds characters that no key has", hint="copy it again (Studio: Dashboard, Keys)"
            )
        self.settings = settings
        self.patience_s = patience_s
        self._first_contact_s, self._answered = min(first_contact_s, patience_s), False
        self.session = requests.Session()
        self.session.headers.update(
            {
                "x-api-key": key,
                "user-agent": f"eiauto/{__version__}",
                "accept": "application/json",
            }
        )
        self.session.trust_env = True
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=pool, max_retries=0))

    def close(self) -> None:
        """Close the connections."""
        self.session.close()

    def __enter__(self) -> StudioClient:
        """Use it in a with statement."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def get(self, path: str, **query: object) -> dict[str, Any]:
        """Read an operation's answer; repeated while the failure is a passing one.

        Args:
            path: After /v1, e.g. `/api/projects`.
            query: Parameters; None is left out, booleans become true and false.

        Raises:
            SettingsError: The key is refused, or may not do this.
            NotFoundError: There is no such thing.
            StudioError: The server refuses, in its own words.
            NetworkError: It cannot be reached, or does not answer as the API does.
        """
        return self._repeated(lambda: self.send("GET", path, query=query))

    def post(self, path: str, body: Mapping[str, Any] | None = None, **query: object) -> dict[str, Any]:
        """Call an operation that changes something; sent once, since a second time might count twice.

        Args:
            path: After /v1.
            body: JSON; None sends none.
            query: Parameters.

        Raises:
            EiautoError: As `get`.
        """
        return self.send("POST", path, body=body, query=query)

    def post_again(self, path: str, body: Mapping[str, Any] | None = None, **query: object) -> dict[str, Any]:
        """Call an operation that may be repeated, because it sets what it is given; patient as `get`."""
        return self._repeated(lambda: self.send("POST", path, body=body, query=query))

    def delete(self, path: str, **query: object) -> dict[str, Any]:
        """Delete something; may be repeated."""
        return self._repeated(lambda: self.send("DELETE", path, query=query))

    def send(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, object] | None = None,
    ) -> dict[str, Any]:
        """One request, one answer, no second try."""
        with self._passing(f"{method} {path}"):
            reply = self.session.request(
                method,
                self.settings.api_endpoint + path,
                params=_query(query or {}),
                json=body,
                timeout=(CONNECT_S, READ_S),
                allow_redirects=False,
            )
        self._answered = True
        return self.read(reply, f"{method} {path}")

    def read(self, reply: requests.Response, what: str) -> dict[str, Any]:
        """As `read_envelope`, with this client's own key hidden whatever it looks like."""
        return read_envelope(reply, what, self.settings.api_key)

    def download(self, path: str, target: IO[bytes], *, most_bytes: int, **query: object) -> str:
        """Write a binary answer into a file; repeated from its beginning while the failure is a passing one.

        Args:
            path: After /v1.
            target: Open for writing; emptied before each try.
            most_bytes: Where an answer counts as endless.
            query: Parameters.

        Returns:
            The answer's Content-Disposition; empty where it has none.

        Raises:
            EiautoError: As `get`.
        """
        return self._repeated(lambda: self._download_once(path, target, most_bytes, query))

    def _download_once(self, path: str, target: IO[bytes], most_bytes: int, query: Mapping[str, object]) -> str:
        what, end = f"GET {path}", time.monotonic() + DOWNLOAD_WITHIN_S
        target.seek(0)
        target.truncate()
        with self._passing(what), self._follow(path, query) as reply:
            if not reply.ok or "json" in reply.headers.get("content-type", ""):
                self.read(reply, what)
                raise NetworkError(f"{what} answered with JSON where a file was expected")
            expected, got = reply.headers.get("content-length"), 0
            for chunk in reply.iter_content(CHUNK_BYTES):
                got += len(chunk)
                if got > most_bytes:
                    raise NetworkError(f"{what} sends more than {most_bytes:,} bytes")
                if time.monotonic() > end:
                    raise NetworkError(f"{what} did not end within {DOWNLOAD_WITHIN_S:.0f} s")
                target.write(chunk)
            if expected and not reply.headers.get("content-encoding") and got != int(expected):
                raise PassingError(f"{what} ended after {got:,} of {int(expected):,} bytes")
            return str(reply.headers.get("content-disposition", ""))

    def _follow(self, path: str, query: Mapping[str, object]) -> requests.Response:
        """The answer at the end of redirects, which lead to Studio's file store: the key does not go there."""
        url, sent = self.settings.api_endpoint + path, _query(query)
        headers: dict[str, str | None] = {"accept": "*/*"}
        for _ in range(REDIRECTS):
            reply = self.session.get(
                url,
                params=sent,
                timeout=(CONNECT_S, READ_S),
                headers=headers,
                stream=True,
                allow_redirects=False,
            )
            self._answered = True
            if not reply.is_redirect:
                return reply
            reply.close()
            before, url, sent = url, urljoin(url, reply.headers["location"]), {}
            if urlsplit(url)[:2] != urlsplit(before)[:2]:
                headers["x-api-key"] = None  # takes the session's away
            if urlsplit(before).scheme == "https" != urlsplit(url).scheme:
                raise NetworkError(f"GET {path} leads to an address that is not encrypted")
        raise NetworkError(f"GET {path} leads from one address to another and does not end")

    def _repeated(self, once: Callable[[], _Answer]) -> _Answer:
        retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, PassingError)),
            stop=self._stop,
            wait=self._wait_s,
            sleep=time.sleep,
            reraise=True,
        )
        return retrying(once)

    def _stop(self, state: RetryCallState) -> bool:
        """Whether patience is at its end."""
        patience_s = self._first_contact_s if self._never_there(state) else self.patience_s
        return (state.seconds_since_start or 0.0) >= patience_s

    def _wait_s(self, state: RetryCallState) -> float:
        """Seconds before the next try."""
        wait_s = wait_as_told(state)
        return min(wait_s, FIRST_CONTACT_WAIT_S) if self._never_there(state) else wait_s

    def _never_there(self, state: RetryCallState) -> bool:
        """Whether nobody listens, and this client has had no answer of any kind yet."""
        error = state.outcome.exception() if state.outcome else None
        return isinstance(error, UnreachableError) and not self._answered

    @contextmanager
    def _passing(self, what: str) -> Iterator[None]:
        """What `requests` raises, as ours; without the address, whose query might hold anything."""
        try:
            yield
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            host = self.settings.api_endpoint.split("/v1")[0]
            raise no_answer(error)(
                f"{what}: {host} did not answer ({type(error).__name__})",
                hint="check the network, and EI_HOST or EI_API_ENDPOINT; then run the same command again",
            ) from None
        except requests.RequestException as error:
            words = redact(str(error), self.settings.api_key)
            raise NetworkError(f"{what}: {words}") from None


def no_answer(error: requests.RequestException) -> type[PassingError]:
    """What kind of failure it is that no answer came.

    Args:
        error: As `requests` raised it: round urllib3's MaxRetryError where no connection came about.
    """
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return UnreachableError if isinstance(reason, NewConnectionError) else PassingError


_BACKOFF = wait_exponential(multiplier=0.25, max=20.0) + wait_random(0.0, 0.25)


def wait_as_told(state: RetryCallState) -> float:
    """Seconds before the next try: as the server says, else exponential with jitter."""
    error = state.outcome.exception() if state.outcome else None
    told = getattr(error, "retry_after_s", None)
    return float(_BACKOFF(state)) if told is None else min(max(float(told), LEAST_WAIT_S), REPEAT_FOR_S)


def retry_after_s(reply: requests.Response) -> float | None:
    """What a Retry-After header says, in seconds; a date or nonsense counts as not said."""
    value = reply.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdecimal() else None


def read_envelope(reply: requests.Response, what: str, secret: Secret | None = None) -> dict[str, Any]:
    """The JSON of an answer, if it says success.

    Args:
        reply: The answer.
        what: Was asked, for messages.
        secret: Must not be shown if the server says it.

    Raises:
        SettingsError: 401 or 403, or the words of a refused key or role.
        NotFoundError: 404, or words to that effect.
        PassingError: A status that may be gone at the next try.
        StudioError: Refused, in the server's words.
        NetworkError: Not an answer of this API.
    """
    if reply.status_code in PASSING_STATUS:
        raise PassingError(
            f"{what} answered {reply.status_code}{_words(reply, secret)}",
            retry_after_s=retry_after_s(reply),
            hint="the server is busy or being repaired; run the same command again later",
        )
    try:
        content = orjson.loads(reply.content)  # three times as fast, which a listing of thousands shows
    except ValueError:
        content = None
    if not isinstance(content, dict):
        _raise_refused(reply.status_code, "", what)
        raise NetworkError(
            f"{what} answered {reply.status_code} without the JSON of the Studio API",
            hint="check EI_HOST or EI_API_ENDPOINT",
        )
    if reply.ok and content.get("success") is True:
        return content
    words = redact(str(content.get("error") or f"status {reply.status_code}, no reason given"), secret)
    _raise_refused(reply.status_code, words, what)
    raise StudioError(f"{what}: {words}")


def _raise_refused(status: int, words: str, what: str) -> None:
    said = f": {words}" if words else ""
    lower = words.lower()
    if status == requests.codes.not_implemented:
        raise StudioError(
            f"{what}{said or ': not implemented'}",
            hint="this server does not offer it; of a local Studio, `eiauto studio coverage` lists what it serves",
        )
    if "insufficient permissions" in lower or status == 403:
        raise SettingsError(
            f"{what}{said}; the API key may not do this",
            hint="use a key with the role admin (Studio: Dashboard, Keys)",
        )
    if status == 401 or "invalid api key" in lower:
        raise SettingsError(
            f"{what}{said or ': the API key is refused'}",
            hint="check EI_API_KEY, and where EI_HOST or EI_API_ENDPOINT points",
        )
    if status == 404 or _NOT_THERE.search(words):
        nothing = status == requests.codes.not_found and (not words or lower.startswith("there is nothing here"))
        raise NotFoundError(
            f"{what}{said or ': not there'}",
            hint="check EI_API_ENDPOINT: it ends with /v1" if nothing else "",
        )


def _words(reply: requests.Response, secret: Secret | None) -> str:
    try:
        content = reply.json()
    except ValueError:
        return ""
    words = content.get("error") if isinstance(content, dict) else None
    return f": {redact(str(words), secret)}" if words else ""


def _query(values: Mapping[str, object]) -> dict[str, str]:
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in values.items()
        if value is not None
    }
