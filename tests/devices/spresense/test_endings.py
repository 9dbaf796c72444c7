"""Flashing a Spresense ends, whatever comes from the board and wherever it is stopped; and says what is left."""

from __future__ import annotations

import dataclasses
import re
import termios

import pytest
import serial

from ei_automation.devices.host import SerialPort
from ei_automation.devices.sim.updater import PROMPT, WAITING, WELCOME
from ei_automation.devices.spresense.flasher import SpresenseFlasher
from ei_automation.devices.spresense.updater import Waits
from ei_automation.devices.spresense.xmodem1k import CANCEL
from ei_automation.devices.transport import Port
from ei_automation.errors import DeviceError, InterruptedRunError, VerificationError
from tests.devices.spresense.test_flasher import SAVED, Answering
from tests.devices.spresense_jobs import WAITS, job

FLASHER = SpresenseFlasher(Waits(**dict.fromkeys(vars(WAITS), 0.004)))
STOPPED = SpresenseFlasher(dataclasses.replace(WAITS, quiet_s=0.002, settle_s=0.002))
GOOD = [f"{WELCOME}{PROMPT}", PROMPT, f"{WAITING}C", *["\x06"] * 14, f"\x06{SAVED}", PROMPT, "AT+HELP"]
"""What a board answers to each write of a flashing that succeeds."""


class Endless(Answering):
    """Its answers are good up to a place; then the same comes for ever."""

    def __init__(self, words: list[str], noise: bytes) -> None:
        super().__init__(words)
        self.noise = noise

    def write(self, data):
        if not self.words:
            self.data, self.is_endless = self.noise, True
        return super().write(data)


class Ending(Answering):
    """A good board; at one use of the line the cable is pulled out, or Ctrl-C is pressed."""

    def __init__(self, place: int, *, is_ctrl_c: bool) -> None:
        super().__init__(GOOD)
        self.left, self.is_ctrl_c, self.written, self.is_open = place, is_ctrl_c, b"", True

    def _use(self, error: Exception) -> None:
        self.left -= 1
        if self.left == 0 and self.is_ctrl_c:
            raise KeyboardInterrupt
        if self.left <= 0 and not self.is_ctrl_c:
            raise error

    def read(self, size=1):
        if self.data or self.left <= 0:
            self._use(serial.SerialException("gone"))
        return super().read(size)

    def write(self, data):
        self._use(serial.SerialException("gone"))
        self.written += bytes(data)
        if data == CANCEL:
            self.words = ["", PROMPT]
        return super().write(data)

    def reset_input_buffer(self):
        self._use(termios.error(5, "Input/output error"))

    def _reconfigure_port(self, force_update=False):
        """Any speed will do."""

    def _update_dtr_state(self):
        """Nothing is reset."""


class Machine:
    """One whose only port is a given line."""

    def __init__(self, line: serial.SerialBase) -> None:
        self.line = line

    def ports(self):
        return [SerialPort("the board")]

    def open(self, port, baud):
        return Port(self.line, port.name)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "noise", [b"\x15", b"C", b"\x06", b"\x18", b"\xff" * 50, PROMPT.encode(), WELCOME.encode()]
)
def test_a_board_that_says_the_same_for_ever_ends_in_an_error(noise):
    for place in range(len(GOOD) - 2):  # up to `sync`; behind it nothing can fail any more but the restart
        with pytest.raises((DeviceError, VerificationError)) as caught:
            FLASHER.flash(job(Machine(Endless(GOOD[:place], noise)), baud=115_200))
        assert caught.value.hint


STATES = {
    b"install": "^nothing was written: .* RESET starts it",
    b"\x04": "^by its messages the updater saves a package only when all of it has come",
    b"sync": "^all of the package was sent|^the package was being stored",
    b"reboot": "^the package was being stored|^the package is stored",
    b"": "^the package is stored: press RESET to start it$",
}
"""What was not sent yet, and what is said then; of the first that fits."""


def state_of(hint: str) -> str:
    """The state in a hint, without what is to be tried."""
    now = (
        "(the board cannot be asked .*? now; |the transfer is ended, .*? that it has; |the board says .*? more; )?"
    )
    return re.sub(f"^(plug .*? once more; )?{now}", "", hint)


def stopped_at(place: int, *, is_ctrl_c: bool) -> tuple[str, bytes]:
    """The state that is said where a flashing is stopped, and what was sent; no state where it was through."""
    line, kind = Ending(place, is_ctrl_c=is_ctrl_c), InterruptedRunError if is_ctrl_c else DeviceError
    try:
        STOPPED.flash(job(Machine(line), baud=115_200))
    except kind as error:
        return state_of(error.hint), commands(line.written)
    return "", commands(line.written)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("is_ctrl_c", [True, False], ids=["Ctrl-C", "unplugged"])
def test_wherever_it_is_stopped_the_state_is_said(is_ctrl_c):
    states, said, place = list(STATES.values()), set(), 1
    while (found := stopped_at(place, is_ctrl_c=is_ctrl_c))[0]:
        hint, sent = found
        number = next(number for number, word in enumerate(STATES) if not word or word not in sent)
        # What was about to be sent when it was stopped may count as sent already.
        assert re.search("|".join(states[number : number + 2]), hint), (place, hint)
        said.add(hint)
        place += 1
    assert len(said) == 5
    assert sum(command in found[1] for command in (b"install", b"sync", b"reboot")) == 3, "it was through"


def commands(written: bytes) -> bytes:
    """What was sent, without what is in the packets."""
    return re.sub(rb"\x02.{1028}", b"", written, flags=re.DOTALL)
