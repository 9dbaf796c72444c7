"""The Judge: an ASGI wrapper that holds every JSON exchange of a known operation against the official schema."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from tests.studio_server.official import OfficialOperation, operations, problems

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
OURS = "eiauto/"
"""How the user agent of our own client begins: its requests are held to the schema whatever the answer says."""


class Judge:
    """Wraps an application; `found` is what was not as the official client has it.

    Args:
        app: The server.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        operations()  # parsed here, not in the server's thread: Python 3.11 must not parse in two at a time
        self.found: list[str] = []
        self.judged = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Any) -> None:
        operation = find(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if operation is None:
            await self._app(scope, receive, send)
            return
        asked, answered, headers = bytearray(), bytearray(), {}

        async def listen() -> MutableMapping[str, Any]:
            message = await receive()
            asked.extend(message.get("body", b""))
            return message

        async def tell(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers.update({name.decode().lower(): value.decode() for name, value in message["headers"]})
            answered.extend(message.get("body", b""))
            await send(message)

        await self._app(scope, listen, tell)
        if not headers or len(answered) != int(headers.get("content-length", len(answered))):
            return  # the connection was reset before the answer or in it
        self.judged += 1
        agent = dict(scope["headers"]).get(b"user-agent", b"").decode("latin-1")
        answer = as_json(answered) if "json" in headers.get("content-type", "") else None
        self.found += [f"{operation.name}: {line}" for line in judge_answer(operation, answer)]
        if agent.startswith(OURS) or (isinstance(answer, dict) and answer.get("success") is True):
            self.found += [f"{operation.name} was asked: {line}" for line in judge_request(operation, asked)]
        if agent.startswith(OURS):
            unknown = {name for name, _ in parse_qsl(scope["query_string"].decode())} - operation.query
            self.found += [f"{operation.name} has no parameter {name}" for name in sorted(unknown)]


def judge_answer(operation: OfficialOperation, answer: Any) -> list[str]:
    """What is wrong with an answer; None stands for one that is not JSON."""
    if answer is None:
        return [] if operation.response in ("str", "") else ["no JSON"]
    if not isinstance(answer, dict) or not isinstance(answer.get("success"), bool):
        return ["no envelope"]
    if not answer["success"]:
        return problems("GenericApiResponse", answer) or (
            [] if answer.get("error") else ["a failure without words"]
        )
    if operation.response in ("", "str"):
        return []
    return problems(operation.response, answer)


def judge_request(operation: OfficialOperation, body: bytes | bytearray) -> list[str]:
    """What is wrong with a JSON request body."""
    content = as_json(body) if operation.body and body else {}
    if content is None:
        return []  # multipart
    return problems(operation.body, content) if operation.body and body else []


def as_json(body: bytes | bytearray) -> Any:
    """A body's JSON; None where it is none."""
    try:
        return json.loads(body)
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def find(method: str, path: str) -> OfficialOperation | None:
    """The operation of a request, words before braces."""
    path = path.removeprefix("/v1")
    fitting = [item for item in operations() if item.method == method and re.fullmatch(pattern(item.path), path)]
    return min(fitting, key=lambda item: item.path.count("{"), default=None)


@lru_cache(maxsize=1024)
def pattern(path: str) -> str:
    """A path with braces as a regular expression; a double slash may be a single one."""
    parts = ["[^/]+" if part.startswith("{") else re.escape(part) for part in path.split("/") if part]
    return "/+" + "/+".join(parts) + "/?"
