"""One POST to the ingestion service: files in, a verdict for each out. `transfer` decides on a second try."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter

from ei_automation.backends.studio.client import (
    PASSING_STATUS,
    PassingError,
    StudioClient,
    no_answer,
    redact,
    retry_after_s,
)
from ei_automation.errors import NetworkError, SettingsError
from ei_automation.schema.sample import Sample
from ei_automation.studio_api.samples import BOXES_FILE, SHORT_HASH, bounding_boxes_file, metadata_of, upload_name

MOST_FILE_BYTES = 100 * 1024 * 1024
"""The service's own limit for a file."""
BLOCK_BYTES = 1 << 17
"""Of a body, sent in one go: a deadline holds for each."""
DUPLICATE_WORDS = "An item with this hash already exists"
"""How the service's answer begins for content that is there; counts as a failure in the answer, not for us."""
TOO_LARGE, TOO_MANY = 413, 429
"""HTTP status."""
LASTING_STATUS = frozenset({501, 505, 507})
"""Failures of a server that the next try meets again; 507: its disk is full."""
MEDIA_TYPES = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "json": "application/json",
    "wav": "audio/wav",
}
_SHORT = re.compile(rf"\.([0-9a-f]{{{SHORT_HASH}}})(?=\.|$)")
_IDS = re.compile(r"\bids?:?\s*((?:\d+[,\s]*)+)", re.IGNORECASE)
_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})
"""Of a file name in a multipart header, as browsers do it (WHATWG)."""


@dataclass(frozen=True)
class Stored:
    """The service has stored a file.

    Attributes:
        sample_id: Its number there; None where the answer does not say.
    """

    sample_id: int | None = None


@dataclass(frozen=True)
class Duplicate:
    """The content is there.

    Attributes:
        ids: Numbers of the samples that have it, where the answer says.
    """

    ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Refused:
    """A file that is not stored.

    Attributes:
        words: Why.
        final: Whether another try cannot end otherwise: the file itself cannot be sent.
    """

    words: str
    final: bool = False


Verdict = Stored | Duplicate | Refused


class WholeRefusedError(Exception):
    """The service understood the POST and refused all of it; a smaller one may tell which file it was about.

    Args:
        words: Its own.
        status: HTTP status.
    """

    def __init__(self, words: str, status: int) -> None:
        super().__init__(words)
        self.words, self.status = words, status


class AnsweredError(PassingError):
    """A failure that may pass, of a service that does answer.

    Args:
        message: What happened.
        status: HTTP status.
        retry_after_s: How long it asks to wait.
    """

    def __init__(self, message: str, status: int, retry_after_s: float | None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.status = status

    @property
    def throttles(self) -> bool:
        """Whether it asks for fewer requests."""
        return self.status == TOO_MANY or self.retry_after_s is not None


@dataclass(frozen=True)
class Body:
    """A multipart body.

    Attributes:
        content: Its bytes, as a stream: sent block by block, each with its own deadline, so that a slow line is
            not taken for a dead one.
        boundary: Between its parts.
        sent: The samples whose files are in it, in order.
        left_out: Those whose files cannot be sent, and why.
    """

    content: io.BytesIO
    boundary: str
    sent: tuple[Sample, ...]
    left_out: dict[str, Refused]


class _Adapter(HTTPAdapter):
    """Sends a body in blocks that fit its size."""

    def init_poolmanager(self, *values: Any, **named: Any) -> None:
        """As it is done, with another size of blocks."""
        super().init_poolmanager(*values, blocksize=BLOCK_BYTES, **named)


def open_session(client: StudioClient, connections: int) -> requests.Session:
    """A session that keeps as many connections to the ingestion service open as an upload uses.

    Proxy and certificates are as the environment has them, looked up once: for every request it costs more than
    the request.
    """
    session = requests.Session()
    session.headers.update(client.session.headers)
    found = session.merge_environment_settings(client.settings.ingestion_endpoint, {}, None, None, None)
    session.trust_env, session.proxies, session.verify = False, found["proxies"], found["verify"]
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(pool_connections=2, pool_maxsize=connections, max_retries=0))
    return session


def send(
    session: requests.Session, endpoint: str, samples: Sequence[Sample], *, timeout: tuple[float, float]
) -> dict[str, Verdict]:
    """Send files of one label, category and group.

    Args:
        session: Of `open_session`.
        endpoint: Of the service, without a path.
        samples: At most `BATCH_FILES`.
        timeout: Seconds for connecting and for the answer.

    Returns:
        Content hash to verdict. A file that the answer says nothing of is missing.

    Raises:
        SettingsError: The key is refused.
        WholeRefusedError: All of it is refused.
        PassingError: It may go well the next time; an `AnsweredError` where the service has answered.
        NetworkError: This is not an ingestion service.
    """
    body = make_body(samples)
    if not body.sent:
        return dict(body.left_out)
    what = f"POST /api/{samples[0].category.value}/files"
    try:
        reply = session.post(
            f"{endpoint}/api/{samples[0].category.value}/files",
            data=body.content,
            headers=_headers(body),
            timeout=timeout,
            allow_redirects=False,
        )
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise no_answer(error)(
            f"{what}: {endpoint} did not answer ({type(error).__name__})",
            hint="check the network, and EI_HOST or EI_INGESTION_ENDPOINT; then run the same command again",
        ) from None
    except requests.RequestException as error:
        raise NetworkError(f"{what}: {redact(str(error), _key(session))}") from None
    return {**body.left_out, **_read(reply, body.sent, what, _key(session))}


def make_body(samples: Sequence[Sample]) -> Body:
    """The multipart body of a POST, each file read into its place and checked against its hash.

    Raises:
        PassingError: Too many files are open just now.
    """
    boundary = f"eiauto-{secrets.token_hex(16)}"
    content, sent, left_out = io.BytesIO(), [], {}
    for sample in samples:
        data, words = _read_file(sample)
        if words:
            left_out[sample.sha256] = Refused(words, final=True)
            continue
        content.write(_part_header(boundary, upload_name(sample.name, sample.sha256)))
        content.write(data)
        content.write(b"\r\n")
        sent.append(sample)
    boxes = {upload_name(one.name, one.sha256): one.bounding_boxes for one in sent if one.bounding_boxes}
    if boxes:
        content.write(_part_header(boundary, BOXES_FILE) + bounding_boxes_file(boxes) + b"\r\n")
    content.write(f"--{boundary}--\r\n".encode())
    content.seek(0)
    return Body(content, boundary, tuple(sent), left_out)


def _part_header(boundary: str, filename: str) -> bytes:
    media_type = MEDIA_TYPES.get(filename.rpartition(".")[2].lower(), "application/octet-stream")
    if filename == BOXES_FILE:
        media_type = "application/json"
    name = filename.translate(_ESCAPES)
    return (
        f'--{boundary}\r\nContent-Disposition: form-data; name="data"; filename="{name}"\r\n'
        f"Content-Type: {media_type}\r\n\r\n"
    ).encode("utf-8", "surrogateescape")


def _read_file(sample: Sample) -> tuple[bytes, str]:
    """A file's bytes, and why it cannot be sent where that is so."""
    try:
        with sample.path.open("rb", buffering=0) as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > MOST_FILE_BYTES:
                return b"", f"the file has {size:,} bytes; the ingestion service takes {MOST_FILE_BYTES:,}"
            data = stream.read()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise PassingError("too many files are open", hint="raise the limit of `ulimit -n`") from error
        return b"", f"the file cannot be read: {error.strerror}"
    if hashlib.sha256(data).hexdigest() != sample.sha256:
        return b"", "the file changed since it was hashed"
    return data, "" if data else "the file is empty"


def _headers(body: Body) -> dict[str, str]:
    first = body.sent[0]
    metadata = metadata_of([sample.sha256 for sample in body.sent], first.group)
    headers = {
        "content-type": f"multipart/form-data; boundary={body.boundary}",
        "x-disallow-duplicates": "1",
        "x-metadata": json.dumps(metadata),
        "x-upload-source": "EIAUTO",
    }
    if first.label:
        headers["x-label"] = quote(first.label, safe="")
    elif not any(sample.bounding_boxes for sample in body.sent):
        headers.update({"x-label": "", "x-no-label": "1"})  # else the label would come from the file name
    return headers


def _key(session: requests.Session) -> str:
    return str(session.headers["x-api-key"])


def _read(reply: requests.Response, sent: Sequence[Sample], what: str, key: str) -> dict[str, Verdict]:
    status = reply.status_code
    if status in PASSING_STATUS or (status >= 500 and status not in LASTING_STATUS):
        raise AnsweredError(f"{what} answered {status}", status, retry_after_s(reply))
    content = _json(reply)
    files = content.get("files")
    if status == requests.codes.ok and isinstance(files, list):
        return _verdicts(files, sent, key)
    words = redact(str(content.get("error") or reply.text[:200] or f"status {status}, no reason given"), key)
    if status in (401, 403) or "invalid api key" in words.lower() or "insufficient permissions" in words.lower():
        raise SettingsError(f"{what}: {words}", hint="check EI_API_KEY: a key of this project that may upload")
    if words.startswith(DUPLICATE_WORDS) and len(sent) == 1:
        return {sent[0].sha256: Duplicate(_ids(words))}
    if status == requests.codes.ok or (400 <= status < 500 and status not in (404, 405)):
        raise WholeRefusedError(words, status)
    raise NetworkError(
        f"{what} answered {status}: {words}",
        hint="check EI_HOST or EI_INGESTION_ENDPOINT",
    )


def _json(reply: requests.Response) -> dict[str, Any]:
    with suppress(ValueError):
        content = json.loads(reply.content)
        if isinstance(content, dict):
            return content
    return {}


def _verdicts(files: list[Any], sent: Sequence[Sample], key: str) -> dict[str, Verdict]:
    """Which entry speaks of which file: by the hash in its name, else by its place."""
    by_short = {sample.sha256[:SHORT_HASH]: sample.sha256 for sample in sent}
    in_order = [sample.sha256 for sample in sent] if len(files) == len(sent) else []
    found: dict[str, Verdict] = {}
    for place, file in enumerate(files):
        if not isinstance(file, dict):
            continue
        shorts = _SHORT.findall(str(file.get("fileName", "")))
        named = next((by_short[short] for short in shorts if short in by_short), None)
        sha256 = named or (in_order[place] if in_order else None)
        if sha256 is not None:
            found[sha256] = _verdict(file, key)
    return found


def _verdict(file: dict[str, Any], key: str) -> Verdict:
    if file.get("success") is True:
        sample_id = file.get("sampleId")
        return Stored(sample_id if isinstance(sample_id, int) else None)
    words = redact(str(file.get("error") or "no reason given"), key)
    return Duplicate(_ids(words)) if words.startswith(DUPLICATE_WORDS) else Refused(words)


def _ids(words: str) -> tuple[int, ...]:
    found = _IDS.search(words)
    return tuple(int(number) for number in re.findall(r"\d+", found[1])) if found else ()


__all__ = [
    "AnsweredError",
    "Duplicate",
    "Refused",
    "Stored",
    "Verdict",
    "WholeRefusedError",
    "make_body",
    "open_session",
    "send",
]
