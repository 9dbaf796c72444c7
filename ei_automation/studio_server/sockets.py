"""Job logs over `/socket.io/`: the web socket transport of Engine.IO 3 and 4, and Socket.IO's main namespace.

Engine.IO 4 (Python): the client connects with `40`, the server pings with `2`. Engine.IO 3 (Node): the server says
`40` and `hello` by itself, the client pings. Protocol: the repositories engine.io-protocol and socket.io-protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ei_automation.studio_server.job_rows import JobRow, LogLine
from ei_automation.studio_server.strict_json import read_strictly

if TYPE_CHECKING:
    from starlette.requests import Request

    from ei_automation.studio_server.studio import Studio

PLACES = ("/socket.io/", "/socket.io")
PING_INTERVAL_S, PING_TIMEOUT_S = 25.0, 20.0
CLOSE_S = 2.0
"""How long a goodbye may take: a client that does not read does not take it."""
MOST_BYTES = 100_000
"""Of one message of a client."""
MOST_WAITING = 50_000
"""Messages that wait for a client that does not read; then its socket is closed."""
MOST_STREAMS = 200
"""Jobs that one socket may follow."""
NOT_ALLOWED, FAILED = 1008, 1011
"""Close codes of RFC 6455."""
EVENT = re.compile(r"42(\d*)(\[.*)", re.DOTALL)


def routes(studio: Studio) -> list[BaseRoute]:
    """The routes of the sockets, for the root of the Studio's address.

    Args:
        studio: Whose jobs they tell of.
    """

    async def serve(socket: WebSocket) -> None:
        await _serve(studio, socket)

    found: list[BaseRoute] = []
    for place in PLACES:
        found += [WebSocketRoute(place, serve), Route(place, _no_polling, methods=["GET", "POST"])]
    return found


async def _no_polling(_request: Request) -> JSONResponse:
    """Engine.IO's other transport is not served."""
    words = "Transport not served: the local Studio speaks socket.io over transport=websocket only"
    return JSONResponse({"success": False, "error": words, "code": 0, "message": words}, 400)


async def _serve(studio: Studio, socket: WebSocket) -> None:
    """One socket, from its handshake to its end; leaves no task, thread or watcher behind."""
    holder = studio.socket_project(socket.query_params.get("token", ""))
    dialect = socket.query_params.get("EIO", "4")
    if holder is None or dialect not in ("3", "4"):
        await socket.close(NOT_ALLOWED)
        return
    await socket.accept()
    session = Session(studio, socket, holder, dialect)
    over = (WebSocketDisconnect, ConnectionError, TimeoutError)
    try:
        with contextlib.suppress(*over):
            await session.run()
    finally:
        session.unsubscribe()
    if WebSocketState.CONNECTED is socket.client_state is socket.application_state:
        with contextlib.suppress(*over):
            await asyncio.wait_for(socket.close(), CLOSE_S)


class Session:
    """A socket that is open.

    Args:
        studio: Whose jobs it tells of.
        socket: Accepted.
        holder: The project whose jobs are told of, and whether they may be cancelled.
        dialect: 3 or 4: Engine.IO's version.
    """

    def __init__(self, studio: Studio, socket: WebSocket, holder: tuple[int, bool], dialect: str) -> None:
        self._studio, self._socket, self._dialect = studio, socket, dialect
        self._project_id, self._may_cancel = holder
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._too_slow = asyncio.Event()
        self._streams: dict[int, Callable[[], None]] = {}
        self._over: set[int] = set()
        self._sid = secrets.token_urlsafe(15)
        self._drop_after = studio.faults.socket_drop_after()
        self._sent = 0

    async def run(self) -> None:
        """Talk until one side ends it."""
        self._open()
        tasks = [
            asyncio.ensure_future(work()) for work in (self._read, self._write, self._ping, self._too_slow.wait)
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def unsubscribe(self) -> None:
        """Stop watching every job."""
        for stop in self._streams.values():
            stop()
        self._streams.clear()

    def _open(self) -> None:
        facts: dict[str, Any] = {
            "sid": self._sid,
            "upgrades": [],
            "pingInterval": int(PING_INTERVAL_S * 1000),
            "pingTimeout": int(PING_TIMEOUT_S * 1000),
        }
        if self._dialect == "4":
            facts["maxPayload"] = MOST_BYTES
        self._put("0" + json.dumps(facts))
        if self._dialect == "3":
            self._put("40")
            self._emit("hello", {"hello": {"version": 1}})

    # What is sent

    def _put(self, message: str) -> None:
        """Send a message; to a client that does not read none any more."""
        if self._queue.qsize() < MOST_WAITING:
            self._queue.put_nowait(message)
        else:
            self._too_slow.set()

    def _emit(self, event: str, content: Any) -> None:
        self._put("42" + json.dumps([event, content], ensure_ascii=False))

    async def _write(self) -> None:
        while True:
            message = await self._queue.get()
            if self._sent == self._drop_after:
                await self._socket.close(FAILED)
                return
            await self._socket.send_text(message)
            self._sent += 1

    async def _ping(self) -> None:
        """Of Engine.IO 4; in Engine.IO 3 the client does it."""
        while True:
            await asyncio.sleep(PING_INTERVAL_S)
            if self._dialect == "4":
                self._put("2")

    # What is received

    async def _read(self) -> None:
        while True:
            message = await asyncio.wait_for(self._receive(), PING_INTERVAL_S + PING_TIMEOUT_S)
            if message == "1" or message.startswith("41"):
                return
            await self._take(message)

    async def _receive(self) -> str:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        return str(message.get("text") or "")[: MOST_BYTES + 1]

    async def _take(self, message: str) -> None:
        """One message; what is not understood is left alone, as newer clients may say more."""
        if message.startswith("2"):
            self._put("3" + message[1:])
        elif message.startswith("40"):
            self._connect(message[2:])
        elif len(message) <= MOST_BYTES and (found := EVENT.fullmatch(message)):
            number, text = found.groups()
            try:
                name, *values = read_strictly(text)
            except ValueError:
                return
            await self._on_event(name, values[0] if values else None)
            if number:
                self._put(f"43{number}[]")

    def _connect(self, rest: str) -> None:
        if rest.startswith("/") and not rest.startswith(("/,", "/{")):
            self._put(f"44{rest.split(',')[0]}," + json.dumps({"message": "Invalid namespace"}))
        elif self._dialect == "4":
            self._put("40" + json.dumps({"sid": self._sid}))
            self._emit("hello", {"hello": {"version": 1}})

    async def _on_event(self, name: object, value: Any) -> None:
        job_id = value.get("jobId") if isinstance(value, dict) else value
        if name not in ("start-log-stream", "job-cancel") or type(job_id) is not int:
            return
        row = await asyncio.to_thread(self._studio.workshop.job, job_id)
        if row is None or row.project_id != self._project_id:
            return
        if name == "job-cancel":
            if self._may_cancel:
                await asyncio.to_thread(self._studio.workshop.cancel, job_id)
        elif job_id not in self._streams and len(self._streams) - len(self._over) < MOST_STREAMS:
            await self._stream(job_id, value)

    async def _stream(self, job_id: int, value: Any) -> None:
        """Follow a job's log from its beginning, or from the time that the client says it knows."""
        known = value.get("lastReceivedTimestamp") if isinstance(value, dict) else None
        since = known / 1000 if isinstance(known, int | float) else 0.0

        def watch(found: LogLine | JobRow) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._loop.call_soon_threadsafe(self._tell, job_id, found, since)

        self._streams[job_id] = lambda: None
        subscribing = asyncio.ensure_future(asyncio.to_thread(self._studio.workshop.subscribe, job_id, watch))
        try:
            self._streams[job_id] = await asyncio.shield(subscribing)
        except asyncio.CancelledError:
            subscribing.add_done_callback(lambda done: done.result()())
            raise

    def _tell(self, job_id: int, found: LogLine | JobRow, since: float) -> None:
        if isinstance(found, LogLine):
            if found.created > since:
                self._emit(f"job-data-{job_id}", {"data": found.text + "\n"})
            return
        success = bool(found.successful)
        self._emit(f"job-finished-{job_id}", {"success": success})
        self._emit("job-finished", {"jobId": job_id, "success": success})
        self._over.add(job_id)
