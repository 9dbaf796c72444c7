"""The server as an ASGI application: routing, and one place where an error becomes an answer."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ei_automation.errors import EiautoError
from ei_automation.studio_server import auth, ingestion, sockets
from ei_automation.studio_server.bodies import as_response, is_form, read_form, read_json, refusal
from ei_automation.studio_server.call import NOT_SERVED_STATUS, Call, Key, RefusalError
from ei_automation.studio_server.fault_app import FaultyApp, admin_routes
from ei_automation.studio_server.operations import Handler, Operation, all_operations, handlers
from ei_automation.studio_server.studio import Studio

PREFIX = "/v1"
WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE"})


class Routes:
    """Method and path to operation, in a tree of path segments: 555 patterns one after the other would be slow."""

    def __init__(self) -> None:
        self._root: dict[str, Any] = {}
        for operation in all_operations():
            names, node = [], self._root
            for segment in _segments(operation.path):
                if segment.startswith("{"):
                    names.append(segment[1:-1])
                node = node.setdefault("{}" if segment.startswith("{") else segment, {})
            node.setdefault("", {})[operation.method] = (operation, names)

    def find(self, method: str, path: str) -> tuple[Operation, dict[str, str]] | None:
        """The operation, and the values in its path; None where there is none.

        Args:
            method: GET, POST, ...
            path: With /v1, percent-encoded. Empty segments count for nothing: one operation has `//` in it.
        """
        segments = [unquote(segment) for segment in _segments(path.removeprefix(PREFIX))]
        for leaf, values in _walk(self._root, segments):
            if method in leaf:
                operation, names = leaf[method]
                return operation, dict(zip(names, values, strict=True))
        return None

    def name(self, method: str, path: str) -> str:
        """The operation's name; empty where there is none."""
        found = self.find(method, path)
        return found[0].name if found else ""


def _segments(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment]


def _walk(node: Mapping[str, Any], segments: list[str], at: int = 0) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Every leaf that a path leads to, words before braces, with the values of the braces."""
    if at == len(segments):
        if "" in node:
            yield node[""], []
        return
    if segments[at] in node and segments[at] != "{}":
        yield from _walk(node[segments[at]], segments, at + 1)
    if "{}" in node:
        for leaf, values in _walk(node["{}"], segments, at + 1):
            yield leaf, [segments[at], *values]


def build_app(studio: Studio) -> ASGIApp:
    """The whole server: the API under /v1, ingestion and sockets at the root, faults in front of it all."""
    routes = Routes()
    roots = Router(
        [
            Mount(PREFIX, Api(studio, routes)),
            *ingestion.routes(studio),
            *sockets.routes(studio),
            *admin_routes(studio),
        ],
        redirect_slashes=False,
    )
    return FaultyApp(Guard(roots), studio.faults, routes.name)


class Api:
    """The operations under /v1.

    Args:
        studio: What they work with.
        routes: Which there are.
    """

    def __init__(self, studio: Studio, routes: Routes) -> None:
        self._studio, self._routes, self._handlers = studio, routes, handlers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        response = await self._answer(scope, receive)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        path = _raw_path(scope)
        found = self._routes.find(scope["method"], path)
        if found is None:
            raise RefusalError(f"There is no operation {scope['method']} {path[:200]}", 404)
        operation, values = found
        key = auth.identify(self._studio, Headers(scope=scope))
        auth.check(self._studio, operation, key, values)
        handler = self._handlers.get(operation.name)
        if handler is None:
            raise RefusalError(f"The local Studio does not serve {operation.name}", NOT_SERVED_STATUS)
        call = await self._call(operation, key, values, scope, receive)
        return await run_in_threadpool(_answered, handler, call)

    async def _call(
        self, operation: Operation, key: Key | None, path: Mapping[str, str], scope: Scope, receive: Receive
    ) -> Call:
        make = partial(Call, self._studio, operation.name, key, path, _query(scope))
        if scope["method"] in WITHOUT_BODY:
            return make()
        request = Request(scope, receive)
        if is_form(request.headers):
            form, uploads = await read_form(request)
            return make(form=form, uploads=uploads)
        return make(body=await read_json(request))


def _answered(handler: Handler, call: Call) -> Response:
    return as_response(handler(call))


def _raw_path(scope: Scope) -> str:
    """The path as it was sent, before percent-decoding; made anew where the server does not tell it."""
    raw = scope.get("raw_path")
    return raw.decode("ascii", "replace").split("?")[0] if raw else quote(scope["path"])


def _query(scope: Scope) -> dict[str, str]:
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))


class Guard:
    """Turns what an application raises into an answer: our words, or for a bug none of its inside.

    Args:
        app: What it guards.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        begun = False
        scope["app"] = self  # where this is set, Starlette's routes raise; elsewhere they answer in plain text

        async def tell(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, tell)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - the one place where any error becomes an answer
            if not begun and scope["type"] == "http":
                await _as_answer(error)(scope, receive, send)
            if not isinstance(error, RefusalError | EiautoError | HTTPException):
                _tell_bug(scope)


def _as_answer(error: Exception) -> Response:
    if isinstance(error, RefusalError):
        return refusal(error.words, error.status)
    if isinstance(error, HTTPException):
        return refusal("There is nothing here" if error.status_code == 404 else error.detail, error.status_code)
    if isinstance(error, EiautoError):
        return refusal(f"{error.message}; {error.hint}" if error.hint else error.message)
    return refusal("The local Studio made a mistake; its own output says which", 500)


def _tell_bug(scope: Scope) -> None:
    """A bug's traceback for whoever runs the server."""
    where = f"{scope.get('method', scope['type'])} {scope.get('path', '')}"
    sys.stderr.write(f"the local Studio made a mistake at {where}:\n{traceback.format_exc()}")
