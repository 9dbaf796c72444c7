"""A pseudo terminal at a simulated board's serial line, for programs that open a path: minicom, lrzsz.

It has no DTR, so that no program can reset the board through it. Linux and macOS only.
"""

from __future__ import annotations

import errno
import os
import select
import threading
import time
from contextlib import suppress

from ei_automation.devices.sim.board import SimulatedBoard
from ei_automation.devices.sim.uart import GARBLE, Uart
from ei_automation.errors import UsageError

POLL_S = 0.01
"""How often it looks whether somebody has opened it, and with which speed."""
READ_BYTES = 4096
HANGUP = select.POLLHUP if hasattr(select, "POLLHUP") else 0
"""A terminal that no program has open; Windows has neither."""


class PtyDoor:
    """A path behind which a board's line is. Who opens it is plugged in, as through `sim://`, one at a time.

    A board that is unplugged while somebody has it open takes the path with it, for good.

    Args:
        board: Which; somebody else starts it.
        uart_name: The line, e.g. `ttyUSB0`.

    Attributes:
        board: The same.
        path: What other programs open, e.g. `/dev/pts/3`; empty before `start`.
    """

    def __init__(self, board: SimulatedBoard, uart_name: str) -> None:
        self.board, self._name = board, uart_name
        self.path = ""
        self._master = -1
        self._uart: Uart | None = None
        self._speeds: dict[int, int] = {}  # the system's word for a speed, to the speed
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"pty of {uart_name}", daemon=True)

    def start(self) -> None:
        """Make the path.

        Raises:
            UsageError: The system has no pseudo terminals.
        """
        try:
            import termios
            import tty
        except ImportError as error:
            raise UsageError(
                "this system has no pseudo terminals", hint="use the board's address, sim://..., instead of a path"
            ) from error
        self._master, slave = os.openpty()
        tty.setraw(slave)  # else the terminal would echo what the board says, back to the board
        attributes = termios.tcgetattr(slave)
        attributes[4] = attributes[5] = termios.B115200  # programs that set no speed would start at 38400
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        self._speeds = {
            getattr(termios, name): int(name[1:])
            for name in vars(termios)
            if name.startswith("B") and name[1:].isdecimal()
        }
        self.path = os.ttyname(slave)
        os.close(slave)  # so that it shows whether a program has it open
        os.set_blocking(self._master, False)
        self._thread.start()

    def stop(self) -> None:
        """Take the path away; a program that has it open sees an unplugged cable."""
        self._stopping.set()
        self._thread.join(5)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        try:
            while not self._stopping.is_set():
                events = dict(poll.poll(POLL_S * 1000)).get(self._master, 0)
                if self._uart is not None and self.board.uarts().get(self._name) is not self._uart:
                    return  # unplugged: the master is closed, and with it the program's port
                self._serve(is_open=not events & HANGUP, has_data=bool(events & select.POLLIN))
                if events & HANGUP:
                    time.sleep(POLL_S)  # poll does not wait while nobody has it open
        finally:
            self._let_go()
            os.close(self._master)
            self._master = -1

    def _serve(self, *, is_open: bool, has_data: bool) -> None:
        """One look at the terminal."""
        if (is_open or has_data) and self._uart is None:
            self._plug_in()
        if self._uart is not None:
            self._uart.host_baud = self._speed() or self._uart.host_baud
        if has_data:
            data = self._read()
            if self._uart is not None:
                self._uart.feed(data)
        if not is_open:
            self._let_go()

    def _plug_in(self) -> None:
        """Take the line, where it is there and free; else look again later."""
        uart = self.board.uarts().get(self._name)
        if uart is not None and uart.open(self._heard):
            self._uart = uart

    def _let_go(self) -> None:
        if self._uart is not None:
            self._uart.close()
            self._uart = None

    def _heard(self, data: bytes, baud: int) -> None:
        """Bytes from the board, in its own thread; lost where nobody reads: the line has no flow control."""
        garbled = self._uart is not None and not self._uart.is_usb and (self._speed() or baud) != baud
        with suppress(OSError):  # full, or closed meanwhile
            os.write(self._master, data.translate(GARBLE) if garbled else data)

    def _read(self) -> bytes:
        try:
            return os.read(self._master, READ_BYTES)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EAGAIN):  # closed meanwhile
                raise
            return b""

    def _speed(self) -> int | None:
        """The speed that the program has set; None for one that is no standard one."""
        import termios

        try:
            speed = termios.tcgetattr(self._master)[5]
        except (OSError, termios.error):  # closed meanwhile
            return None
        return self._speeds.get(speed)
