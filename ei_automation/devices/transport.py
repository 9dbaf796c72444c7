"""The one way to talk to a serial port, real or simulated; every wait has a deadline."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import serial

from ei_automation.errors import DeviceError

try:
    import termios
except ImportError:  # Windows
    TERMINAL_ERROR: type[Exception] = OSError
else:
    TERMINAL_ERROR = termios.error
GONE = (OSError, serial.SerialException, TypeError, TERMINAL_ERROR)
"""What pyserial raises where a port has gone. termios.error is no OSError, and comes through where input is
dropped or a speed is set; TypeError: another thread has closed it."""
SEEN_BYTES = 200
"""How much of what came last an error shows."""
TICK_S = 0.02
"""How long one read of the system waits. It is set once: changing it configures the port anew, each time."""
WRITE_TIMEOUT_S = 10.0
"""A board that takes no bytes for that long takes none."""
BUSY_HINT = "close the other program that has it open (a serial monitor, an IDE), then run the same command again"


class Deadline:
    """A moment by which something must have happened.

    Args:
        seconds: From now; not below 0.

    Attributes:
        seconds: The same.
        began: When it was made, of the monotonic clock.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.began = seconds, time.monotonic()
        self._end = self.began + seconds

    @property
    def left_s(self) -> float:
        """Seconds until then; 0.0 when it has passed."""
        return max(0.0, self._end - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether it has."""
        return time.monotonic() >= self._end

    def within(self, seconds: float) -> Deadline:
        """This one, or one of its own that comes earlier."""
        return Deadline(min(seconds, self.left_s))


class Port:
    """An open serial port.

    Args:
        line: Of pyserial, open, with a timeout of TICK_S.
        name: For people: its path or URL.
        usb_id: Of what it belongs to, as `10C4:EA60`; empty where that is not known.

    Attributes:
        name: The same.
        usb_id: The same.
        seen: The last bytes that came, at most SEEN_BYTES.
    """

    def __init__(self, line: serial.Serial, name: str, usb_id: str = "") -> None:
        self._line, self.name, self.usb_id = line, name, usb_id
        self._held = bytearray()  # read from the system, not yet asked for
        self._last_came = 0.0
        self.seen = b""

    def __enter__(self) -> Port:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    @property
    def baud(self) -> int:
        """Bits a second, as set."""
        return int(self._line.baudrate)

    def read(self, deadline: Deadline) -> bytes:
        """What has come, at least one byte; empty where nothing came in time.

        Raises:
            DeviceError: The port is gone.
        """
        while not self._held and not self._pull():
            if deadline.passed:
                return b""
        data = bytes(self._held)
        self._held.clear()
        return data

    def read_exactly(self, size: int, deadline: Deadline, doing: str, *, hint: str = "") -> bytes:
        """So many bytes.

        Args:
            size: How many.
            deadline: By when.
            doing: For the error, e.g. "waiting for the answer to FW_VERSION".
            hint: What to try then.

        Raises:
            DeviceError: They did not come in time, or the port is gone.
        """
        is_late = False  # looked at before what came last is: it counts, and a stream without end does not go on
        while len(self._held) < size:
            if is_late:
                raise self.late(doing, deadline, hint)
            self._pull()
            is_late = deadline.passed
        data = bytes(self._held[:size])
        del self._held[:size]
        return data

    def read_until(self, *tokens: bytes, deadline: Deadline, doing: str, hint: str = "") -> bytes:
        """Everything up to the first of the tokens, it included; what follows is kept for the next read.

        Args:
            tokens: One or more, none empty.
            deadline: By when.
            doing: For the error, e.g. "waiting for the updater".
            hint: What to try then.

        Raises:
            DeviceError: None came in time, or the port is gone.
        """
        is_late = False
        while True:
            places = [(place + len(token)) for token in tokens if (place := self._held.find(token)) >= 0]
            if places:
                data = bytes(self._held[: min(places)])
                del self._held[: min(places)]
                return data
            if is_late:
                raise self.late(doing, deadline, hint)
            self._pull()
            is_late = deadline.passed

    def drain(self, quiet_s: float, deadline: Deadline) -> bytes:
        """Everything until nothing comes for a while.

        Args:
            quiet_s: That while.
            deadline: By when to stop in any case.
        """
        data = b""
        while not deadline.passed:
            came = self.read(deadline.within(quiet_s))
            if not came:
                break
            data += came
        return data

    def push_back(self, data: bytes) -> None:
        """Give bytes back, to be read again first."""
        self._held[:0] = data

    def write(self, data: bytes) -> None:
        """Send.

        Raises:
            DeviceError: The port takes nothing, or is gone.
        """
        with self._errors("sending"):
            self._line.write(data)

    def set_baud(self, baud: int) -> None:
        """Change the speed; what has come so far is kept."""
        with self._errors(f"changing to {baud} baud"):
            self._wait_sent()
            self._held += self._line.read(self._line.in_waiting)
            self._line.baudrate = baud

    def set_dtr(self, active: bool) -> None:
        """Set the line DTR: a board's reset, or its sign that somebody listens.

        Raises:
            DeviceError: The port has no such line: a pseudo terminal.
        """
        with self._errors("setting DTR"):
            self._line.dtr = active

    def forget_input(self) -> None:
        """Drop what has come and was not read."""
        with self._errors("dropping old bytes"):
            self._line.reset_input_buffer()
        self._held.clear()

    def close(self) -> None:
        """Give the port back."""
        self._line.close()

    def late(self, doing: str, deadline: Deadline, hint: str = "") -> DeviceError:
        """The error for a deadline that has passed."""
        if self._held or (self.seen and self._last_came >= deadline.began):
            late = f"what was expected did not come within {deadline.seconds:g} s"
        else:
            late = f"nothing within {deadline.seconds:g} s{'' if self.seen else '; the board said nothing at all'}"
        return DeviceError(f"{self.name}: {doing}: {late}", seen=self.seen, hint=hint)

    def _wait_sent(self) -> None:
        """Wait until the system has sent what was written; pyserial's own flush() has no deadline.

        Raises:
            DeviceError: The board takes nothing.
        """
        end = Deadline(WRITE_TIMEOUT_S)
        while getattr(self._line, "out_waiting", 0):  # lines at a URL have no such number
            if end.passed:
                raise self.late("sending", end, "plug the board out and in again")
            time.sleep(TICK_S / 10)

    def _pull(self) -> bool:
        """Take what the system has, waiting a tick; whether anything came."""
        with self._errors("reading"):
            data = self._line.read(max(1, self._line.in_waiting))
        self._held += data
        if data:
            self._last_came, self.seen = time.monotonic(), (self.seen + data)[-SEEN_BYTES:]
        return bool(data)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Say in words what the system says of a port."""
        try:
            yield
        except GONE as error:
            raise DeviceError(
                f"{self.name} is gone while {doing}: {error}",
                seen=self.seen,
                hint="plug the board in again and run the same command once more",
            ) from error


def open_port(name: str, baud: int = 115_200, usb_id: str = "") -> Port:
    """Open a serial port.

    Args:
        name: Path (`/dev/ttyACM0`, `COM3`) or a URL of pyserial (`socket://`, `rfc2217://`), or of a simulated
            board (`sim://`).
        baud: Bits a second.
        usb_id: Of what the port belongs to; empty where that is not known.

    Raises:
        DeviceError: It is not there, not permitted, or in use.
    """
    serial.protocol_handler_packages[:] = dict.fromkeys(
        [*serial.protocol_handler_packages, "ei_automation.devices.sim"]
    )
    try:
        line = serial.serial_for_url(name, baudrate=baud, timeout=TICK_S, do_not_open=True)
        if os.name == "posix" and "://" not in name:
            line.exclusive = True
        if not name.startswith("rfc2217://"):  # it has no such timeout
            line.write_timeout = WRITE_TIMEOUT_S
        line.open()
    except (OSError, ValueError, TERMINAL_ERROR) as error:
        raise DeviceError(f"{name} cannot be opened: {error}", hint=_opening_hint(name, error)) from error
    return Port(line, name, usb_id)


def _opening_hint(name: str, error: Exception) -> str:
    """What to do where a port cannot be opened."""
    text = str(error)
    if "Permission denied" in text or "[Errno 13]" in text:
        return "run `eiauto boards`: it says which group or udev rule gives you the permission"
    if (
        "[Errno 11]" in text
        or "[Errno 16]" in text
        or "lock" in text
        or "in use" in text
        or "Access is denied" in text
    ):
        return BUSY_HINT
    if name.startswith("sim://"):
        return "start the simulated board first: `eiauto sim BOARD`"
    return "see `eiauto boards` for what is plugged in"
