"""A connection: limits on heads and on slow clients, held back or aborted where a fault says so."""

from __future__ import annotations

import asyncio
import math

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ei_automation.studio_server.bodies import refusal
from ei_automation.studio_server.fault_app import TRANSPORT
from ei_automation.studio_server.faults import Faults

MOST_URL_BYTES = (64 << 10) - 1
"""Of a request's path and query: more httptools does not take apart."""
MOST_HEAD_BYTES = MOST_URL_BYTES + (32 << 10)
"""Of a request's line and headers."""
MOST_HEADERS = 200
HEAD_S, BODY_S = 20.0, 60.0
"""Seconds in which a request's head must come whole, and in which something more of its body must come."""
KEEP_ALIVE_S = 75
"""Seconds that a connection may wait for a request."""
WATCH_S = 2.5
REFUSALS = {
    400: "Invalid HTTP request",
    414: f"The address is longer than {MOST_URL_BYTES:,} bytes",
    431: "The request's head is too large",
}


class Protocol(HttpToolsProtocol):
    """A connection: limits on heads and on slow clients, and the transport where faults can abort it."""

    faults = Faults()
    refused = 400

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; perhaps later, on purpose."""
        super().connection_made(transport)
        self._in_head, self._head_bytes = True, 0
        self._since = self.loop.time()
        self._watch = self.loop.call_later(WATCH_S, self._look)
        self._held: bytearray | None = None
        if delay_s := self.faults.connection_delay_s():
            self._held = bytearray()
            self._since += delay_s
            self.loop.call_later(delay_s, self._let_go)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes: counted while they are a head."""
        if self._held is not None:
            self._held += data
            return
        if not self._in_head or self._head_bytes == 0:
            self._since = self.loop.time()
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.refused = 431
            self.send_400_response("")

    def handle_websocket_upgrade(self) -> None:
        """Another protocol takes over."""
        self._watch.cancel()
        super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        """A request's first byte."""
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: {"transport": self.transport}}

    def on_url(self, url: bytes) -> None:
        """A request's path and query, or a piece of them.

        Raises:
            ValueError: It is too long; the parser gives up, and `send_400_response` says why.
        """
        super().on_url(url)
        if len(self.url) > MOST_URL_BYTES:
            self.refused = 414
            raise ValueError("the address is too long")

    def on_headers_complete(self) -> None:
        """A request's head.

        Raises:
            ValueError: It is too large; the parser gives up, and `send_400_response` says why.
        """
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MOST_HEAD_BYTES or len(self.headers) > MOST_HEADERS:
            self.refused = 431
            raise ValueError("the head is too large")
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request's last byte."""
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, in Studio's envelope, and close."""
        del msg
        body = refusal(REFUSALS[self.refused]).body
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[self.refused] + head + bytes(body))
        self.transport.close()

    def _let_go(self) -> None:
        """Begin with what came while the connection was held back."""
        held, self._held = self._held, None
        if held and not self.transport.is_closing():
            self.data_received(bytes(held))

    def _look(self) -> None:
        """Let go of clients that have stopped in the middle of a request."""
        waited = self.loop.time() - self._since
        if waited > self._patience_s():
            self.transport.abort()
            return
        self._watch = self.loop.call_later(WATCH_S, self._look)

    def _patience_s(self) -> float:
        """How long a client may keep silent now."""
        if not self._in_head:
            return math.inf if self.flow.read_paused else BODY_S
        if self._head_bytes:
            return HEAD_S
        return KEEP_ALIVE_S if self.cycle is None else math.inf  # between requests uvicorn itself looks
