"""The command line of Edge Impulse's firmware: echo, backspace, escape sequences."""

from __future__ import annotations

from collections.abc import Callable

PROMPT = "> "
RETURN, ESCAPE = 0x0D, 0x1B
BACKSPACES = (0x08, 0x7F)
PRINTABLE = range(0x20, 0x7F)


class LineEditor:
    """Makes lines of bytes, as `at-server/ei_at_server.cpp` of the firmware SDK does.

    Args:
        say: Gets what is echoed.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._line, self._in_escape = say, "", False

    def take(self, byte: int) -> str | None:
        """A byte from the host; the line that it ended, None for none."""
        if self._in_escape:
            letter = chr(byte)
            self._in_escape = not (letter.isascii() and letter.isalpha()) and byte != ord("~")
        elif byte == ESCAPE:
            self._in_escape = True
            self._say("\x1b[s")
        elif byte == RETURN:
            self._say("\r\n")
            line, self._line = self._line, ""
            return line
        elif byte in BACKSPACES and self._line:
            self._line = self._line[:-1]
            self._say(f"\r\x1b[K{PROMPT}{self._line}\x1b[{len(self._line) + 3}G")
        elif byte in PRINTABLE:
            self._line += chr(byte)
            self._say(chr(byte))
        return None
