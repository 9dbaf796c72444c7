"""pyserial's door to simulated boards: `serial.serial_for_url("sim://127.0.0.1:4750/ttyACM0")`.

pyserial finds this module by its name, `protocol_` and the scheme, once the package is in
`serial.protocol_handler_packages`; `transport.open_port` puts it there.
"""

from __future__ import annotations

import time
from typing import Any

from serial.serialutil import PortNotOpenError, SerialBase, SerialException

from ei_automation.devices.host import SIMULATED
from ei_automation.devices.sim.uart import GARBLE
from ei_automation.devices.sim.wire import SPEED, Wire, WireClosedError, connect

ANSWER_S = 5.0
"""By when a simulated board must answer to being plugged in."""
CLOSE_S = 2.0
"""By when it must have let go of a line that is closed."""
TAKEN_BYTES = 1 << 16
"""So much is taken at once: a board that talks faster than it is read must not keep a program there."""


class Serial(SerialBase):
    """A serial line of a simulated board. Speeds that differ garble what is sent, DTR resets boards that do so."""

    _baudrate: int  # of SerialBase, whose stubs do not say so
    _timeout: float | None
    _dtr_state: bool

    def open(self) -> None:
        """Plug in.

        Raises:
            SerialException: Nobody is there, the line is not there now, or it is in use.
        """
        if self.is_open:
            raise SerialException("the port is already open")
        address, _, name = str(self.port).removeprefix(SIMULATED).partition("/")
        self._held = bytearray()
        try:
            self._wire: Wire = connect(address)
            self._wire.send({"cable": name, "baud": self._baudrate})
            answer = self._answer()
        except (OSError, ValueError, WireClosedError) as error:
            raise SerialException(f"no simulated board at {address}: {error}") from error
        if not isinstance(answer, dict) or "opened" not in answer:
            self._wire.close()
            raise SerialException(answer["refused"] if isinstance(answer, dict) else "it does not answer")
        self.is_open, self._told = True, self._baudrate
        self._update_dtr_state()

    def close(self) -> None:
        """Unplug, and wait until the line is free for the next one."""
        if self.is_open:
            self.is_open = False
            self._wire.finish(CLOSE_S)

    @property
    def in_waiting(self) -> int:
        """Bytes that have come and were not read."""
        self._pull(0)
        return len(self._held)

    def read(self, size: int = 1) -> bytes:
        """Up to so many bytes, within the timeout.

        Raises:
            SerialException: The board was unplugged.
        """
        end = None if self._timeout is None else time.monotonic() + self._timeout
        while len(self._held) < size:
            left = None if end is None else end - time.monotonic()
            if not self._pull(left if left is None or left > 0 else 0) and left is not None and left <= 0:
                break
        data = bytes(self._held[:size])
        del self._held[:size]
        return data

    def write(self, b: Any, /) -> int:
        """Send.

        Raises:
            SerialException: The board was unplugged.
        """
        self._send(bytes(b))
        return len(b)

    def flush(self) -> None:
        """Everything is sent at once."""

    def reset_input_buffer(self) -> None:
        """Drop what has come."""
        self._pull(0)
        self._held.clear()

    def reset_output_buffer(self) -> None:
        """Nothing waits to be sent."""

    def _reconfigure_port(self, force_update: bool = False) -> None:
        """The speed changed; what came before it came at the old one."""
        del force_update
        if self.is_open:
            self._pull(0, baud=self._told)
            self._send({"baud": self._baudrate})
        self._told = self._baudrate

    def _update_dtr_state(self) -> None:
        self._send({"dtr": bool(self._dtr_state)})

    def _update_rts_state(self) -> None:
        """No simulated board looks at RTS."""

    def _update_break_state(self) -> None:
        """No simulated board looks at breaks."""

    def _answer(self) -> dict[str, Any] | None:
        """The answer to being plugged in; a board that talks may be faster than it."""
        end = time.monotonic() + ANSWER_S
        while isinstance(message := self._wire.receive(max(0.0, end - time.monotonic())), bytes):
            self._take(message, self._baudrate)
        return message

    def _take(self, message: bytes, baud: int) -> None:
        """Hold what came; garbled where it was sent at another speed."""
        (speed,) = SPEED.unpack_from(message)
        data = message[SPEED.size :]
        self._held += data if speed in (0, baud) else data.translate(GARBLE)

    def _pull(self, timeout_s: float | None, *, baud: int | None = None) -> bool:
        """Take what has come, waiting for the first of it; whether anything came."""
        if not self.is_open:
            raise PortNotOpenError
        came = False
        most = len(self._held) + TAKEN_BYTES
        try:
            while len(self._held) < most and isinstance(
                message := self._wire.receive(0 if came else timeout_s), bytes
            ):
                self._take(message, baud or self._baudrate)
                came = True
        except WireClosedError as error:
            if not came and not self._held:
                raise SerialException(f"the simulated board was unplugged: {error}") from error
        return came

    def _send(self, message: bytes | dict[str, Any]) -> None:
        if not self.is_open:
            raise PortNotOpenError
        try:
            self._wire.send(message)
        except WireClosedError as error:
            raise SerialException(f"the simulated board was unplugged: {error}") from error
