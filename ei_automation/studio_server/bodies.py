"""What requests and answers of the local Studio have in common: bodies with limits, and envelopes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from ei_automation.studio_server.call import File, RefusalError, Upload
from ei_automation.studio_server.multipart import harmless_name
from ei_automation.studio_server.strict_json import read_strictly

MOST_JSON_BYTES = 8 << 20
MOST_FORM_BYTES = 100 << 20
MOST_FORM_PARTS = 1000


def envelope(content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON as a response. NaN in it is a bug; it travels as null, which the official schemas refuse."""
    try:
        text = orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # text that is no Unicode, or a number of more than 64 bits
        plain = json.dumps(_without_nan(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text = plain.encode("utf-8", "replace")
    return Response(text, status, headers, "application/json")


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def refusal(words: str, status: int = 200) -> Response:
    """Studio's envelope of a failure."""
    return envelope({"success": False, "error": words}, status)


def as_response(answer: Mapping[str, Any] | File) -> Response:
    """What a room answers, as a response."""
    if not isinstance(answer, File):
        return envelope(answer)
    headers = {}
    if answer.filename:
        headers["content-disposition"] = disposition(answer.filename)
    return Response(answer.content, media_type=answer.media_type, headers=headers)


def disposition(name: str) -> str:
    """Content-Disposition of a download (RFC 6266).

    Only the extended form, in small letters: the official Python package takes quotes for a part of the name.
    """
    return f"attachment; filename*=utf-8''{quote(name)}"


def is_form(headers: Headers) -> bool:
    """Whether a body is multipart."""
    return headers.get("content-type", "").lower().startswith("multipart/")


def limited(scope: Scope, receive: Receive) -> Receive:
    """`receive` that refuses a body over the limit of its kind.

    Raises:
        RefusalError: With the status 413; before anything is read where the length is announced.
    """
    headers = Headers(scope=scope)
    most, got = MOST_FORM_BYTES if is_form(headers) else MOST_JSON_BYTES, 0
    announced = headers.get("content-length", "0")
    too_large = RefusalError(f"The body is larger than {most:,} bytes", 413)
    if announced.isdecimal() and int(announced) > most:
        raise too_large

    async def counted() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > most:
            raise too_large
        return message

    return counted


async def read_json(request: Request, kinds: tuple[type, ...] = (dict,)) -> Any:
    """The JSON of a body; an empty object where the body is empty, as some clients send it.

    Raises:
        RefusalError: With the status 400: it is no JSON, or of another kind.
    """
    body = await Request(request.scope, limited(request.scope, request.receive)).body()
    if not body:
        return {}
    try:
        content = read_strictly(body)
    except ValueError:
        raise RefusalError("The body is not JSON", 400) from None
    if not isinstance(content, kinds):
        raise RefusalError("The body is not a JSON object", 400)
    return content


async def read_form(request: Request) -> tuple[dict[str, str], tuple[Upload, ...]]:
    """Text fields and files of a multipart body.

    Raises:
        RefusalError: With the status 400: it is none; 413: it is too large.
    """
    stream = Request(request.scope, limited(request.scope, request.receive)).stream()
    parser = MultiPartParser(
        request.headers,
        stream,
        max_files=MOST_FORM_PARTS,
        max_fields=MOST_FORM_PARTS,
        max_part_size=MOST_JSON_BYTES,
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise RefusalError(f"Invalid multipart body: {error}", 400) from None
    try:
        uploads = [
            Upload(name, harmless_name(item.filename or ""), await item.read())
            for name, item in form.multi_items()
            if isinstance(item, UploadFile)
        ]
        return {name: item for name, item in form.items() if isinstance(item, str)}, tuple(uploads)
    finally:
        await form.close()
