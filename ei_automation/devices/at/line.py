"""Sending to Edge Impulse's firmware as slowly as it listens, and waiting for what it says."""

from __future__ import annotations

import re
import time

from ei_automation.devices.at.results import Lines
from ei_automation.devices.at.trouble import error_for, trouble_in
from ei_automation.devices.transport import Deadline, Port
from ei_automation.errors import DeviceError

PIECE_BYTES = 5
"""The Spresense polls its line: more at once are lost."""
PACE_S = 0.02
"""Between such pieces; both are what Edge Impulse's own command line does."""
HEARD_BYTES = 4096
"""How much of what came is kept."""
ANSWER_HINT = (
    "press the board's reset button and run the same command again; try another cable or a direct USB port"
)


class AtLine:
    """A port with Edge Impulse's firmware behind it.

    Args:
        port: Open.
        pace_s: Between pieces of what is sent.

    Attributes:
        port: The same.
    """

    def __init__(self, port: Port, pace_s: float = PACE_S) -> None:
        self.port, self._pace_s = port, pace_s

    def send(self, data: bytes) -> None:
        """Send as slowly as a polled line takes it."""
        for start in range(0, len(data), PIECE_BYTES):
            if start:
                time.sleep(self._pace_s)
            self.port.write(data[start : start + PIECE_BYTES])

    def send_command(self, text: str) -> None:
        """Send a command; what came before it is forgotten."""
        self.port.forget_input()
        self.send(text.encode() + b"\r")

    def wait_for(self, pattern: re.Pattern[bytes], deadline: Deadline, doing: str) -> re.Match[bytes]:
        """Wait for something; what follows it is kept for the next read.

        Args:
            pattern: Of what, at most HEARD_BYTES long.
            deadline: By when.
            doing: For the error, e.g. "starting the inference".

        Raises:
            DeviceError: The firmware reports trouble instead, or nothing came in time.
        """
        came, lines = b"", Lines()
        while not deadline.passed:
            data = self.port.read(deadline)
            came = (came + data)[-HEARD_BYTES:]
            if found := pattern.search(came):
                self.port.push_back(came[found.end() :])
                return found
            self.raise_trouble(lines.feed(data.decode(errors="replace")), doing)
        raise self.port.late(doing, deadline, ANSWER_HINT)

    def raise_trouble(self, lines: list[str], doing: str) -> None:
        """Raise the error that a line reports, if one does.

        Raises:
            DeviceError: One does.
        """
        for line in lines:
            if trouble := trouble_in(line.removeprefix("> ")):
                raise error_for(self.port.name, doing, line, trouble, self.port.seen)

    def error(self, message: str, hint: str = ANSWER_HINT) -> DeviceError:
        """An error of this port, with the last bytes."""
        return DeviceError(f"{self.port.name}: {message}", seen=self.port.seen, hint=hint)
