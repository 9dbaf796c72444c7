"""Waiting for news of a job: Studio's socket says that there is some; what it is, is read over HTTP.

So no line is lost or seen twice, whatever the socket drops or repeats, and where there is no socket the same
reading goes on at intervals.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from ei_automation.backends.studio.client import StudioClient, is_near
from ei_automation.errors import EiautoError

if TYPE_CHECKING:
    import socketio


@dataclass(frozen=True)
class Looks:
    """How often a server is asked.

    Attributes:
        first_s: Pause between two looks.
        longest_s: To which it grows while there is no news.
        gather_s: After news: what comes meanwhile is read in one go.
    """

    first_s: float
    longest_s: float
    gather_s: float


NEAR, FAR = Looks(0.05, 0.05, 0.01), Looks(1.0, 5.0, 0.5)
"""For a server on this machine, and for any other."""
CONNECT_S = 5.0
RETRY_S = 30.0
"""Between two tries to open the socket."""


class JobNews:
    """Waits for news of one job at a time.

    The socket is opened beside the waiting, so that a server that is slow to open one delays nothing.

    Args:
        client: Whose endpoint and key.
        project_id: The project.
        looks: How often it is asked; None: by where it is.
    """

    def __init__(self, client: StudioClient, project_id: int, looks: Looks | None = None) -> None:
        self._client, self._project_id = client, project_id
        self._looks = looks or (NEAR if is_near(client.settings.api_endpoint) else FAR)
        self._news = threading.Event()
        self._turn = threading.Lock()
        self._opening: threading.Thread | None = None
        self._socket: socketio.Client | None = None
        self._closed = False
        self._job_id = 0
        self._try_at = 0.0
        self._pause_s = self._looks.first_s

    @property
    def connected(self) -> bool:
        """Whether the socket is open."""
        return self._socket is not None and _is_open(self._socket)

    def wait(self, job_id: int) -> None:
        """Wait until the job may have something new to say, never longer than a moment."""
        if job_id != self._job_id:
            self._job_id, self._pause_s = job_id, self._looks.first_s
            self._subscribe()
        if not self.connected and time.monotonic() >= self._try_at:
            self._try_at = time.monotonic() + RETRY_S
            self._opening = threading.Thread(target=self._open, name="studio-socket", daemon=True)
            self._opening.start()
        if self._news.wait(self._pause_s):
            time.sleep(self._looks.gather_s)
            self._pause_s = self._looks.first_s
        else:
            self._pause_s = min(1.5 * self._pause_s, self._looks.longest_s)
        self._news.clear()

    def close(self) -> None:
        """Close the socket; one that is being opened closes itself."""
        with self._turn:
            self._closed = True
            opened, self._socket = self._socket, None
        if opened is not None:
            _close(opened)
        elif self._opening is not None:
            self._opening.join(timeout=NEAR.first_s)

    def _open(self) -> None:
        """Open the socket; where that fails, reading at intervals goes on, and it is tried again later."""
        try:
            import socketio
        except ImportError:  # the extra `studio` is not installed
            self._try_at = math.inf
            return
        try:
            reply = self._client.send("GET", f"/api/{self._project_id}/socket-token")
        except EiautoError:
            return
        # Ctrl-C is the caller's to handle; the library's own logger would show the token.
        quiet = logging.getLogger(f"{__name__}.library")
        quiet.disabled = True
        opened = socketio.Client(
            reconnection=False,
            handle_sigint=False,
            logger=quiet,
            engineio_logger=quiet,
            request_timeout=CONNECT_S,
        )
        opened.on("*", self._heard)
        opened.on("disconnect", self._heard)
        root = self._client.settings.api_endpoint.removesuffix("/v1")
        query = urlencode({"token": reply["token"]["socketToken"], "onDemandLogs": "true"})
        try:
            opened.connect(f"{root}/?{query}", transports=["websocket"], wait_timeout=CONNECT_S)
        except (socketio.exceptions.SocketIOError, OSError, ValueError):  # ValueError: cut in its first message
            _close(opened)
            return
        self._keep(opened)

    def _keep(self, opened: socketio.Client) -> None:
        """Use a socket from now on, in place of one that was dropped."""
        with self._turn:
            before, self._socket = (opened, None) if self._closed else (self._socket, opened)
        if before is not None:
            _close(before)
        self._subscribe()
        self._news.set()

    def _subscribe(self) -> None:
        """Ask for the log of the job."""
        opened = self._socket
        if opened is None or not _is_open(opened):
            return
        import socketio

        try:
            opened.emit("start-log-stream", {"jobId": self._job_id})
        except socketio.exceptions.SocketIOError:
            self._news.set()

    def _heard(self, *_what: object) -> None:
        """Anything at all: have a look."""
        self._news.set()


def _is_open(opened: socketio.Client) -> bool:
    """Whether a socket is open; where it is dropped early, the library's own flags may stay up for long."""
    link = getattr(opened.eio, "ws", None)
    return bool(opened.connected and link is not None and link.connected)


def _close(opened: socketio.Client) -> None:
    """Disconnect, and free the connection that the library leaves open where the other side has ended it."""
    opened.disconnect()
    link = getattr(opened.eio, "ws", None)
    if link is not None:
        link.shutdown()
