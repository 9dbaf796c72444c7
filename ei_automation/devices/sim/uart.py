"""The board's end of a serial line: what simulated firmware reads and writes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

GARBLE = bytes((0xA5 ^ value) | 0x80 for value in range(256))
"""What arrives of a byte when the two ends run at different speeds; never what was sent."""
Listener = Callable[[bytes, int], None]
"""Gets bytes and the speed they were sent at."""


class ResetError(Exception):
    """The board was reset, or lost its power, while its firmware worked: the firmware starts anew."""


class Uart:
    """A serial line of a simulated board, used by its firmware's thread and by those of who is plugged in.

    Args:
        name: e.g. `ttyUSB0`.
        baud: That the board starts with.
        is_usb: Whether there is no wire: a CDC port takes any speed and garbles nothing.
        on_dtr: Called with the line's new state, and the speed, in the thread of who is plugged in.

    Attributes:
        baud: The board's speed; its firmware sets it.
        host_baud: Who is plugged in has set this one.
        is_open: Whether somebody has opened it.
        dtr: Whether the host holds DTR; False when nobody has it open.
    """

    def __init__(
        self,
        name: str,
        baud: int = 115_200,
        *,
        is_usb: bool = False,
        on_dtr: Callable[[bool, int], None] | None = None,
    ) -> None:
        self.name, self.baud, self.is_usb = name, baud, is_usb
        self.host_baud, self.is_open, self.dtr = baud, False, False
        self._on_dtr = on_dtr
        self._received = bytearray()
        self._changed = threading.Condition()
        self._reset = False
        self._listener: Listener | None = None

    # The firmware's side

    def read(self, timeout_s: float) -> bytes:
        """What has come; empty where nothing came in time.

        Raises:
            ResetError: The board was reset.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._received or self._reset, timeout_s)
            self._check()
            data = bytes(self._received)
            self._received.clear()
        return data

    def read_byte(self, timeout_s: float) -> int | None:
        """One byte; None where none came in time.

        Raises:
            ResetError: The board was reset.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._received or self._reset, timeout_s)
            self._check()
            return self._received.pop(0) if self._received else None

    def read_exactly(self, size: int, timeout_s: float) -> bytes:
        """So many bytes, or fewer where they did not come in time.

        Raises:
            ResetError: The board was reset.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._received) >= size or self._reset, timeout_s)
            self._check()
            data = bytes(self._received[:size])
            del self._received[:size]
        return data

    def write(self, data: bytes | str) -> None:
        """Say something; lost where nobody listens.

        Raises:
            ResetError: The board was reset.
        """
        with self._changed:
            self._check()
            listener, baud = self._listener, self.baud
        if listener is not None:
            listener(data.encode() if isinstance(data, str) else data, baud)

    def sleep(self, seconds: float) -> None:
        """Work for a while.

        Raises:
            ResetError: The board was reset.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._reset, seconds)
            self._check()

    def wait_open(self, timeout_s: float) -> bool:
        """Wait until somebody opens it; whether it is open.

        Raises:
            ResetError: The board was reset.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.is_open or self._reset, timeout_s)
            self._check()
            return self.is_open

    def _check(self) -> None:
        if self._reset:
            self._reset = False
            self._received.clear()
            raise ResetError

    # The board's side

    def reset(self) -> None:
        """End what the firmware does with a `ResetError` at its next step on this line."""
        with self._changed:
            self._reset = True
            self._changed.notify_all()

    # The side of who is plugged in

    def open(self, listener: Listener) -> bool:
        """Plug in; False where somebody else has it open."""
        with self._changed:
            if self.is_open:
                return False
            self._listener, self.is_open = listener, True
            self._received.clear()
            self._changed.notify_all()
        return True

    def close(self) -> None:
        """Let go: DTR falls."""
        self.set_dtr(False)
        with self._changed:
            self._listener, self.is_open = None, False

    def feed(self, data: bytes) -> None:
        """Bytes from the host; garbled where the speeds differ."""
        with self._changed:
            same = self.is_usb or self.host_baud == self.baud
            self._received += data if same else data.translate(GARBLE)
            self._changed.notify_all()

    def set_dtr(self, active: bool) -> None:
        """The host sets DTR."""
        if active == self.dtr:
            return
        self.dtr = active
        if self._on_dtr is not None:
            self._on_dtr(active, self.host_baud)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Look at a condition every few milliseconds; whether it came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(0.005)
    return True
