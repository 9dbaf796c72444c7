"""The ingestion service: where samples are sent to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ei_automation.errors import StorageError
from ei_automation.files import storage_errors
from ei_automation.studio_server import auth
from ei_automation.studio_server.call import RefusalError
from ei_automation.studio_server.contents import DOING
from ei_automation.studio_server.multipart import (
    Limits,
    Multipart,
    MultipartError,
    Part,
    boundary_of,
    harmless_name,
    text_of,
)
from ei_automation.studio_server.sample_files import (
    SIDE_FILE,
    Asked,
    FileRefusedError,
    asked_by,
    new_sample,
    read_side_files,
)
from ei_automation.studio_server.samples import Added, NewSample

if TYPE_CHECKING:
    from ei_automation.studio_server.studio import Studio

MOST_FILES = 1000
"""Of a request; as Edge Impulse documents it, like the next one."""
MOST_FILE_BYTES = 100 << 20
MOST_BODY_BYTES = 4 << 30
MOST_MEMORY_BYTES = 16 << 20
"""Of a request's files; the rest waits in files."""
MOST_SIDE_FILES = 8
MOST_DRAINED_BYTES = 32 << 20
"""A refused request's body is read up to here, since a client that still sends does not see an answer."""
FIELD = "data"
STORAGE_FULL_STATUS = 507

Endpoint = Callable[[Request], Awaitable[Response]]
Verdict = dict[str, Any]


def routes(studio: Studio) -> list[Route]:
    """The addresses of the ingestion service.

    Args:
        studio: Where samples go.
    """

    async def files(request: Request) -> Response:
        project_id, asked = _begin(studio, request)
        parts = await _read_parts(request, studio.samples.contents(project_id).incoming)
        verdicts = await run_in_threadpool(_store, studio, project_id, asked, parts)
        return JSONResponse({"success": True, "files": verdicts})

    async def data(request: Request) -> Response:
        project_id, asked = _begin(studio, request)
        part = await _read_body(request)
        (verdict,) = await run_in_threadpool(_store, studio, project_id, asked, [part])
        if not verdict["success"]:
            raise RefusalError(verdict["error"], 400)
        return PlainTextResponse(verdict["fileName"])

    return [
        Route("/api/{category}/files", _guarded(files, _refuse_json), methods=["POST"]),
        Route("/api/{category}/data", _guarded(data, _refuse_text), methods=["POST"]),
    ]


def _begin(studio: Studio, request: Request) -> tuple[int, Asked]:
    """Who may, and what is asked for."""
    project_id = auth.may_ingest(auth.identify(studio, request.headers))
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > MOST_BODY_BYTES:
        raise RefusalError(f"The body is larger than {MOST_BODY_BYTES:,} bytes", 413)
    return project_id, asked_by(request.path_params["category"], request.headers)


def _guarded(endpoint: Endpoint, refuse: Callable[[str, int], Response]) -> Endpoint:
    """Refusals become answers, when the client has sent what it was about to send."""

    @wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except RefusalError as error:
            refusal = refuse(error.words, error.status)
        except MultipartError as error:
            refusal = refuse(f"Failed to parse the request: {error}", 400)
        except StorageError as error:
            refusal = refuse(error.message, STORAGE_FULL_STATUS)
        except ClientDisconnect:
            return refuse("The request came to no end", 400)
        await _drain(request)
        return refusal

    return answer


async def _drain(request: Request) -> None:
    left = MOST_DRAINED_BYTES
    try:
        async for chunk in request.stream():
            left -= len(chunk)
            if left < 0:
                return
    except (RuntimeError, ClientDisconnect):  # all of it was read, or nobody sends any more
        return


async def _read_parts(request: Request, folder: Path) -> list[Part]:
    """The parts of a multipart body; nothing of it is left where it does not come to its end."""
    limits = Limits(MOST_FILES + MOST_SIDE_FILES, MOST_FILE_BYTES, MOST_MEMORY_BYTES)
    reader = Multipart(boundary_of(request.headers.get("content-type", "")), limits, folder)
    total = 0
    try:
        with storage_errors(folder, DOING):
            async for chunk in request.stream():
                total += len(chunk)
                if total > MOST_BODY_BYTES:
                    raise RefusalError(f"The body is larger than {MOST_BODY_BYTES:,} bytes", 413)
                reader.feed(chunk)
        return reader.close()
    except BaseException:
        reader.discard()
        raise


async def _read_body(request: Request) -> Part:
    """The one file of a request to the old addresses."""
    name = harmless_name(text_of(request.headers.get("x-file-name", "").encode("latin-1", "replace")))
    if not name:
        raise RefusalError("Missing header x-file-name", 400)
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MOST_FILE_BYTES:
            raise RefusalError(f"The file is larger than {MOST_FILE_BYTES:,} bytes", 413)
    return Part(FIELD, name, bytes(content), len(content))


def _store(studio: Studio, project_id: int, asked: Asked, parts: list[Part]) -> list[Verdict]:
    """Store what can be stored; what became of each file, in their order."""
    try:
        return _store_files(studio, project_id, asked, parts)
    finally:
        for part in parts:
            if isinstance(part.content, Path):
                part.content.unlink(missing_ok=True)


def _store_files(studio: Studio, project_id: int, asked: Asked, parts: list[Part]) -> list[Verdict]:
    files = [part for part in parts if part.filename is not None]
    images = [part for part in files if not str(part.filename).endswith(SIDE_FILE)]
    if not images:
        raise RefusalError("No files were sent; every file belongs into a part with the name 'data'", 400)
    if len(images) > MOST_FILES:
        raise RefusalError(f"More than {MOST_FILES:,} files in one request", 400)
    side = read_side_files([part for part in files if str(part.filename).endswith(SIDE_FILE)])
    verdicts: list[Verdict] = [{} for _ in images]
    new: dict[int, NewSample] = {}
    for index, part in enumerate(images):
        try:
            if part.name != FIELD:
                raise FileRefusedError(f"the file is in a part with the name '{part.name}', expected '{FIELD}'")
            new[index] = new_sample(part, asked, side)
        except FileRefusedError as error:
            verdicts[index] = _failed(part, str(error))
    stored = studio.samples.add(project_id, list(new.values()), refuse_duplicates=asked.refuse_duplicates)
    for (index, sample), outcome in zip(new.items(), stored, strict=True):
        if isinstance(outcome, Added):
            verdicts[index] = {
                "success": True,
                "projectId": project_id,
                "sampleId": outcome.sample_id,
                "fileName": sample.name,
            }
        else:
            words = f"An item with this hash already exists (ids: {outcome.sample_id})"
            verdicts[index] = _failed(images[index], words)
    return verdicts


def _failed(part: Part, words: str) -> Verdict:
    return {"success": False, "error": words, "fileName": part.filename}


def _refuse_json(words: str, status: int) -> Response:
    return JSONResponse({"success": False, "error": words}, status)


def _refuse_text(words: str, status: int) -> Response:
    return PlainTextResponse(words, status)
