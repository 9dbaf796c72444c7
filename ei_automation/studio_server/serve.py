"""The server on sockets: uvicorn with limits of our own, where it listens, and what it needs at the start."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from ei_automation.errors import SettingsError, UsageError
from ei_automation.settings import LOCAL_PORTS
from ei_automation.studio_server.call import RefusalError
from ei_automation.studio_server.connection import KEEP_ALIVE_S, Protocol
from ei_automation.studio_server.faults import Faults
from ei_automation.studio_server.project_json import projects_of_user
from ei_automation.studio_server.studio import Studio

BACKLOG = 2048
GRACE_S = 3.0
"""How long requests under way may go on when the server stops."""
SIGNAL_LOOK_S, STOP_LOOK_S, START_S = 0.1, 0.005, 30.0


class Server(uvicorn.Server):
    """uvicorn that stops at once when it is asked to, gives requests under way their grace, and then returns.

    Args:
        app: What it serves.
        faults: What goes wrong on connections; what hangs is let go at the end.
        on_start: Called when it listens.
    """

    def __init__(self, app: ASGIApp, faults: Faults, on_start: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            http=type("FaultyProtocol", (Protocol,), {"faults": faults}),
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            ws_max_size=1 << 20,
        )
        super().__init__(config)
        self._faults, self._on_start = faults, on_start
        faults.stopping = False  # a plan may have served another server before
        self._leave: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        """Wait for the end; every second the Date header is made anew."""
        self._loop, self._leave = asyncio.get_running_loop(), asyncio.Event()
        try:
            self._on_start()
        except BaseException:
            await self.shutdown()  # a loop with something that listens in it does not close
            raise
        tick = 0
        while not await self.on_tick(tick):
            tick += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leave.wait(), SIGNAL_LOOK_S)

    def stop(self) -> None:
        """Ask it to end; from any thread."""
        self.should_exit = True
        if self._loop is not None and self._leave is not None:
            self._loop.call_soon_threadsafe(self._leave.set)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen no more, close what is idle, wait for what is under way."""
        self._faults.stopping = True
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        end = time.monotonic() + GRACE_S
        while self.server_state.tasks and time.monotonic() < end and not self.force_exit:
            await asyncio.sleep(STOP_LOOK_S)
        left = list(self.server_state.tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._abort_what_is_open()

    async def _abort_what_is_open(self) -> None:
        """Let no connection outlive the loop: one that is flushed to nobody, or was taken just before the end.

        A loop that is closed with an open connection in it may wait for ever.
        """
        end = time.monotonic() + GRACE_S
        while True:
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(STOP_LOOK_S)
            if not self.server_state.connections or time.monotonic() > end:
                return

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end it cleanly, and are not raised again: a clean stop is a success."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Running:
    """A server in a thread.

    Args:
        app: What it serves.
        sockets: Where it listens; closed at the end.
        faults: What goes wrong on connections.

    Raises:
        SettingsError: It does not start.
    """

    def __init__(self, app: ASGIApp, sockets: Sequence[socket.socket], faults: Faults) -> None:
        started = threading.Event()
        self._server = Server(app, faults, started.set)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": list(sockets)}, name="local Studio", daemon=True
        )
        self._thread.start()
        if not started.wait(START_S):
            raise SettingsError("the local Studio did not start", hint="look at its output")

    def stop(self) -> None:
        """End it, at the latest after the grace given to requests under way; a second time does nothing."""
        if self._thread.is_alive():
            self._server.stop()
            self._thread.join()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Args:
        host: Address to bind.
        port: 0 for a free one.

    Raises:
        SettingsError: The port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            hint="stop what listens there, or give other ports with --port and --ingestion-port",
        ) from error


def open_project(studio: Studio, name: str, api_key: str | None = None) -> tuple[int, str]:
    """A project by its name, made where there is none, and an admin key of it.

    Args:
        studio: Whose.
        name: Of the project; the first of that name counts.
        api_key: A key of one's own; None for the project's development key, made where there is none.

    Raises:
        UsageError: The given key is no key, or another project's; or the name is none.
    """
    projects = studio.projects
    same = [row.project_id for row in projects_of_user(studio) if row.name == name]
    try:
        project_id = same[0] if same else projects.create(name, owner=studio.options.username)
    except RefusalError:
        raise UsageError(f"a project cannot have the name {name[:40]!r}", hint="give another --project") from None
    key = api_key or projects.development_key(project_id)
    found = projects.find_key(key) if key else None
    if key and found and found.project_id == project_id and found.role == "admin":
        return project_id, key
    try:
        _, key = projects.add_key(project_id, "local Studio", "admin", value=api_key, development=True)
    except RefusalError as error:
        raise UsageError(f"the API key cannot be used: {error.words}", hint="leave it out to get one") from None
    return project_id, key


@dataclass(frozen=True)
class Place:
    """Where a server listens.

    Attributes:
        host: Address to bind.
        port: Of the Studio API and its sockets; 0 for a free one.
        ingestion_port: Of the ingestion API; 0 for a free one, the same as `port` for one port.
    """

    host: str = "127.0.0.1"
    port: int = LOCAL_PORTS["studio"]
    ingestion_port: int = LOCAL_PORTS["ingestion"]


@dataclass(frozen=True)
class Ready:
    """What a client needs to know of a server that listens.

    Attributes:
        api_endpoint: Of the Studio API, ending in /v1.
        ingestion_endpoint: Of the ingestion API.
        api_key: Of the project, with the role admin.
        project_id: Its number.
        ei_host: For official clients that take no other address; empty where the ports are not theirs.
    """

    api_endpoint: str
    ingestion_endpoint: str
    api_key: str
    project_id: int
    ei_host: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point clients at it."""
        found = {
            "EI_API_KEY": self.api_key,
            "EI_API_ENDPOINT": self.api_endpoint,
            "EI_INGESTION_ENDPOINT": self.ingestion_endpoint,
        }
        return {**found, "EI_HOST": self.ei_host} if self.ei_host else found


def serve(
    studio: Studio, place: Place, project: str, api_key: str | None, on_ready: Callable[[Ready], None]
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        studio: What is served; left open.
        place: Where.
        project: Name of the project whose key is told; made where it is not there.
        api_key: Its key; None for the one it has, or a new one.
        on_ready: Called when it listens.

    Raises:
        SettingsError: A port is taken.
        UsageError: The key cannot be used.
    """
    from ei_automation.studio_server.app import build_app

    with contextlib.ExitStack() as stack:
        ports = [place.port] if place.port == place.ingestion_port != 0 else [place.port, place.ingestion_port]
        sockets = [stack.enter_context(listen(place.host, port)) for port in ports]
        ready = reached(place, sockets, open_project(studio, project, api_key))
        studio.url = ready.api_endpoint.removesuffix("/v1")
        Server(build_app(studio), studio.faults, lambda: on_ready(ready)).run(sockets=sockets)


def reached(place: Place, sockets: Sequence[socket.socket], project: tuple[int, str]) -> Ready:
    """How clients reach a server.

    Args:
        place: Where it was meant to listen.
        sockets: Where it does: of the Studio API, then of the ingestion API unless that is the same.
        project: Number and key.
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(place.host, place.host)
    bound = [item.getsockname()[1] for item in sockets]
    origin = [f"http://{f'[{host}]' if ':' in host else host}:{port}" for port in bound]
    is_official = bound == list(LOCAL_PORTS.values()) and re.fullmatch(r"localhost|\d+(\.\d+){3}", host)
    return Ready(f"{origin[0]}/v1", origin[-1], project[1], project[0], host if is_official else "")
