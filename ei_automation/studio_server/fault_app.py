"""Applies the faults to requests, and the endpoint that sets them while the server runs."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ei_automation.errors import UsageError
from ei_automation.studio_server import auth
from ei_automation.studio_server.bodies import envelope, read_json, refusal
from ei_automation.studio_server.call import RefusalError, ok
from ei_automation.studio_server.faults import Faults, Rule, rules_from

if TYPE_CHECKING:
    from ei_automation.studio_server.studio import Studio

ADMIN = "/admin/"
TRANSPORT = "eiauto.transport"
"""Name of the scope's extension with the connection's transport; `serve` puts it there."""
HANG_LOOK_S = 0.1
FLUSH_S = 0.05
WITHOUT_BODY = (204, 304)
"""Statuses whose answers end with their head (RFC 9110, 15.3.5 and 15.4.5)."""


class FaultyApp:
    """An application with faults in front of it.

    Args:
        app: What works.
        faults: What goes wrong.
        operation: Name of the operation of a method and path; empty where there is none.
    """

    def __init__(self, app: ASGIApp, faults: Faults, operation: Callable[[str, str], str]) -> None:
        self._app, self._faults, self._operation = app, faults, operation
        self._uploads = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, perhaps spoiled."""
        if scope["type"] != "http" or scope["path"].startswith(ADMIN):
            await self._app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        rules = self._faults.of_request(method, path, lambda: self._operation(method, path))
        if delay_ms := sum(rule.delay_ms for rule in rules):
            await asyncio.sleep(delay_ms / 1000)
        for rule in rules:
            if rule.reset == "early":
                reset(scope)
                return
            if rule.hang or rule.reset == "before" or rule.status is not None:
                await _drain(receive)
                await self._spoil(rule, scope, receive, send)
                return
        await self._work(rules, scope, receive, send)

    async def _spoil(self, rule: Rule, scope: Scope, receive: Receive, send: Send) -> None:
        """What happens instead of the work."""
        if rule.hang:
            await self._hang(receive)
        elif rule.status is None:
            reset(scope)
        else:
            await _said(rule)(scope, receive, send)

    async def _hang(self, receive: Receive) -> None:
        """Say nothing until the client goes or the server stops."""
        while not self._faults.stopping:
            try:
                message = await asyncio.wait_for(receive(), HANG_LOOK_S)
            except TimeoutError:
                continue
            if message["type"] == "http.disconnect":
                return

    async def _work(self, rules: list[Rule], scope: Scope, receive: Receive, send: Send) -> None:
        """The work, and what happens to its answer."""
        resets = [rule.reset for rule in rules if rule.reset]
        file_delay_s = sum(rule.file_delay_ms for rule in rules) / 1000
        if not resets and not file_delay_s:
            await self._app(scope, receive, send)
            return
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        await self._app(scope, receive, keep)
        body = b"".join(message.get("body", b"") for message in answer)
        if file_delay_s and (files := _files(body)):
            async with self._uploads:
                await asyncio.sleep(file_delay_s * files)
        if not resets:
            for message in answer:
                await send(message)
            return
        if resets[0] == "during" and answer:
            await send(answer[0])
            await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
            await asyncio.sleep(FLUSH_S)
        reset(scope)


def reset(scope: Scope) -> None:
    """Abort the connection of a request so that the client gets a RST, not an end of file."""
    transport: asyncio.Transport = scope["extensions"][TRANSPORT]["transport"]
    handle = transport.get_extra_info("socket")
    if handle is not None:
        # On a copy of the handle: the transport's own socket object does not let options be set on every loop.
        with socket.socket(fileno=os.dup(handle.fileno())) as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _drain(receive: Receive) -> None:
    """Read a request to its end."""
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass


def _said(rule: Rule) -> Response:
    """The answer of a rule with a status."""
    assert rule.status is not None
    headers = {} if rule.retry_after_s is None else {"retry-after": str(rule.retry_after_s)}
    if rule.status in WITHOUT_BODY:
        return Response(status_code=rule.status, headers=headers)
    if rule.body is not None:
        return Response(rule.body, rule.status, headers, "text/html")
    return envelope({"success": False, "error": rule.error}, rule.status, headers)


def _files(body: bytes) -> int:
    """How many files an answer of the ingestion tells of."""
    try:
        files = json.loads(body)["files"]
    except (ValueError, KeyError, TypeError):
        return 0
    return len(files) if isinstance(files, list) else 0


def admin_routes(studio: Studio) -> list[Route]:
    """`/admin/faults`: GET shows the plan and what it did, POST adds rules, DELETE clears it."""

    async def faults(request: Request) -> Response:
        try:
            return envelope(await _administer(studio, request))
        except RefusalError as error:
            return refusal(error.words, error.status)
        except UsageError as error:
            return refusal(f"{error.message}; {error.hint}", 400)

    return [Route(f"{ADMIN}faults", faults, methods=["GET", "POST", "DELETE"])]


async def _administer(studio: Studio, request: Request) -> dict[str, Any]:
    key = auth.identify(studio, Headers(scope=request.scope))
    if key is None or key.role != "admin":
        raise RefusalError(auth.INVALID_KEY if key is None else auth.INSUFFICIENT, 401 if key is None else 403)
    if request.method == "DELETE":
        studio.faults.clear()
    elif request.method == "POST":
        studio.faults.add(rules_from(await read_json(request, kinds=(dict, list)), "/admin/faults"))
    return ok(rules=studio.faults.report())
