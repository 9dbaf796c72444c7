"""Messages between a simulated board and who plugs into it: JSON and bytes over a loopback socket."""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import Any

HEADER = struct.Struct("!BI")
JSON, DATA = 0, 1
SPEED = struct.Struct("!I")
"""Before the bytes that a board sends: the speed it sends them at; 0 where there is no wire."""
LARGEST_MESSAGE_BYTES = 64 << 20
LAST_PORT = 65_535


class WireClosedError(Exception):
    """The other side is gone."""


class Wire:
    """One connection. Any thread may send, one receives.

    Args:
        connection: A connected stream socket.
    """

    def __init__(self, connection: socket.socket) -> None:
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket, self._held = connection, bytearray()
        self._sending = threading.Lock()

    def send(self, message: bytes | dict[str, Any]) -> None:
        """Send bytes, or an object as JSON.

        Raises:
            WireClosedError: The other side is gone.
        """
        is_data = isinstance(message, bytes)
        payload = message if isinstance(message, bytes) else json.dumps(message).encode()
        try:
            with self._sending:
                self._socket.sendall(HEADER.pack(DATA if is_data else JSON, len(payload)) + payload)
        except OSError as error:
            raise WireClosedError(str(error)) from error

    def receive(self, timeout_s: float | None = None) -> bytes | dict[str, Any] | None:
        """The next message; None where none came in time.

        Args:
            timeout_s: 0 takes only what is there; None waits.

        Raises:
            WireClosedError: The other side is gone, or sent what is no message.
        """
        while (message := self._taken()) is None:
            try:
                ready, _, _ = select.select([self._socket], [], [], timeout_s)
                if not ready:
                    return None
                data = self._socket.recv(1 << 16)
            except (OSError, ValueError) as error:  # ValueError: closed here meanwhile
                raise WireClosedError(str(error)) from error
            if not data:
                raise WireClosedError("the other side closed the connection")
            self._held += data
        return message

    def finish(self, timeout_s: float) -> None:
        """End the connection when the other side has: what it must do first is done then.

        Args:
            timeout_s: At most so long.
        """
        end = time.monotonic() + timeout_s
        try:
            with suppress(OSError):  # the other side is gone
                self._socket.shutdown(socket.SHUT_WR)
                self._socket.settimeout(timeout_s)
                while self._socket.recv(1 << 16) and time.monotonic() < end:
                    pass
        finally:
            self.close()

    def close(self) -> None:
        """End the connection, also for one who waits in `receive`."""
        with suppress(OSError):  # it is ended already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _taken(self) -> bytes | dict[str, Any] | None:
        """A whole message from what has come."""
        if len(self._held) < HEADER.size:
            return None
        kind, size = HEADER.unpack_from(self._held)
        if kind not in (JSON, DATA) or size > LARGEST_MESSAGE_BYTES:
            raise WireClosedError("what came is no message of a simulated board")
        if len(self._held) < HEADER.size + size:
            return None
        payload = bytes(self._held[HEADER.size : HEADER.size + size])
        del self._held[: HEADER.size + size]
        if kind == DATA:
            return payload
        try:
            content = json.loads(payload)
        except ValueError as error:
            raise WireClosedError("what came is no message of a simulated board") from error
        if not isinstance(content, dict):
            raise WireClosedError("what came is no message of a simulated board")
        return content


def connect(address: str, timeout_s: float = 3.0) -> Wire:
    """Connect to a simulated board.

    Args:
        address: `127.0.0.1:4750`.
        timeout_s: By when it must answer.

    Raises:
        OSError: Nobody is there.
        ValueError: It is no address; the message says how one looks.
    """
    host, _, port = address.rpartition(":")
    if not (port.isdecimal() and port.isascii() and 0 < int(port) <= LAST_PORT):
        raise ValueError("an address ends with a colon and the number of a port, e.g. sim://127.0.0.1:4750")
    connection = socket.create_connection((host or "127.0.0.1", int(port)), timeout_s)
    connection.settimeout(None)
    return Wire(connection)
