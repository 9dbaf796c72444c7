"""The command line of the Spresense's boot loader, its updater: reach it, install a package, restart.

The dialogue is that of Sony's flash_writer.py (github.com/sonydevworld/spresense, sdk/tools/flash_writer) and of a
published transcript. Sony's program waits without end and does not look at how the transfer ended; here every wait
has a deadline, and whatever is not the wording of a success is a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ei_automation.devices.spresense import xmodem1k
from ei_automation.devices.transport import Deadline, Port
from ei_automation.errors import DeviceError, InterruptedRunError

CONSOLE_BAUD = 115_200
"""Of the updater's command line and of the firmware."""
WELCOME, PROMPT = b"Welcome to nash", b"updater#"
WAITING = b"Ctrl-X to cancel."
"""The end of the line after which the updater changes its speed and takes a package."""
SAVING = b"Saving package to"
GREETING, MISMATCH = b"AT+HELP", b"Mismatched version"
"""In the first words of Edge Impulse's firmware; and of one that is newer than the boot loader."""
AT_PROMPT = b"\n> "
"""Of Edge Impulse's firmware; it answers to an empty line too."""
IN_UPDATER = "waits in its updater: press RESET to start the firmware that it has"
RESTARTED = "the board has restarted by itself (its power may be too weak: try another cable or port) and "
RESETS = 3
"""Pulses of DTR before a person is asked to press the button."""
NOISE_BYTES = 3
"""So many bytes that are no request for a packet say that the other side has another speed."""


@dataclass(frozen=True)
class Waits:
    """How long the board is given, seconds.

    Attributes:
        key_s: Between two `r`; Sony's program waits as long.
        quiet_s: After that long without a byte nothing more is coming.
        reset_s: To greet after one pulse of DTR.
        button_s: For a person to press RESET.
        line_s: To answer an empty line, where it is not known whether somebody is there.
        answer_s: To answer a command.
        settle_s: To change its speed; Sony's program waits 1 s, and what comes meanwhile is dropped.
        start_s: To ask for the first packet.
        packet_s: To answer a packet.
        save_s: To check the package and write it to its flash memory.
        boot_s: To start the firmware, which may look for an SD card first.
        trouble_s: To say more after a first word of trouble.
    """

    key_s: float = 0.03
    quiet_s: float = 0.1
    reset_s: float = 2.0
    button_s: float = 20.0
    line_s: float = 1.0
    answer_s: float = 5.0
    settle_s: float = 0.3
    start_s: float = 10.0
    packet_s: float = 20.0
    save_s: float = 60.0
    boot_s: float = 10.0
    trouble_s: float = 3.0


class Updater:
    """Talks to the updater.

    Args:
        port: Open at CONSOLE_BAUD.
        waits: How long the board is given.
        on_note: Gets a sentence that the user should know, also what to press.
    """

    def __init__(self, port: Port, waits: Waits, on_note: Callable[[str], None]) -> None:
        self._port, self._waits, self._note = port, waits, on_note

    def enter(self) -> None:
        """Reset the board and stop it in its updater; a board that is there already is left there.

        Raises:
            DeviceError: The updater was not reached.
        """
        has_dtr = self._pulse()
        if not has_dtr and self._is_there():
            return
        for _ in range(RESETS if has_dtr else 0):
            if self._catch(self._waits.reset_s):
                return
            self._pulse()
        if has_dtr and self._is_there():
            return
        self._note(f"press the RESET button of the board now; it is waited for {self._waits.button_s:g} s")
        if not self._catch(self._waits.button_s):
            raise self._not_reached(has_dtr)

    def command(self, text: str, wait_s: float | None = None) -> str:
        """Give a command and wait for the next prompt.

        Returns:
            What the updater said between.

        Raises:
            DeviceError: No prompt came in time.
        """
        self._port.write(f"{text}\n".encode())
        reply = self._port.read_until(
            PROMPT, deadline=Deadline(wait_s or self._waits.answer_s), doing=f"waiting for the end of `{text}`"
        )
        return reply.removesuffix(PROMPT).decode(errors="replace")

    def send_package(self, content: bytes, baud: int, on_progress: Callable[[int, int], None]) -> tuple[int, int]:
        """Start `install` and send a package; the speed is the old one again afterwards, also after a failure.

        Returns:
            The speed that was used, and how many packets had to be sent again.

        Raises:
            DeviceError: The transfer failed; the hint says what the board does now.
            InterruptedRunError: Ctrl-C; with the same hint.
        """
        try:
            self._start_install(baud)
            used = self._port.baud
            resent = xmodem1k.send(self._port, content, deadline_s=self._waits.packet_s, on_progress=on_progress)
        except xmodem1k.RestartedError as error:
            self._port.seen = b""  # was sent at another speed
            now = self._abandon(is_cancelled=True, is_restarted=True)
            raise DeviceError(error.message, seen=self._port.seen, hint=now) from error
        except DeviceError as error:
            now = self._abandon(is_cancelled=isinstance(error, xmodem1k.TransferCancelledError))
            error.hint = f"{error.hint}; {now}" if error.hint else now
            raise
        except KeyboardInterrupt as stop:  # the updater must not wait for the rest
            now = self._abandon(is_cancelled=False)
            raise InterruptedRunError("stopped while sending the package", hint=now) from stop
        self._port.set_baud(CONSOLE_BAUD)
        return used, resent

    def read_verdict(self) -> str:
        """What the updater says of the package, up to where it begins to save it, or has not.

        Raises:
            DeviceError: It said nothing in time.
        """
        reply = self._port.read_until(
            SAVING, PROMPT, deadline=Deadline(self._waits.save_s), doing="waiting for the check of the package"
        )
        if reply.endswith(PROMPT):  # not saved; the caller sees it in the text
            self._port.push_back(PROMPT)
        return reply.removesuffix(PROMPT).decode(errors="replace")

    def wait_saved(self) -> str:
        """The rest of what the updater says, until its prompt.

        Raises:
            DeviceError: The prompt did not come in time.
        """
        reply = self._port.read_until(
            PROMPT, deadline=Deadline(self._waits.save_s), doing="waiting until the package is saved"
        )
        return reply.removesuffix(PROMPT).decode(errors="replace")

    def reboot(self) -> str:
        """Restart the board.

        Returns:
            Its first words: up to the greeting of Edge Impulse's firmware, or what came in time.

        Raises:
            DeviceError: The port is gone.
        """
        self._port.forget_input()
        self._port.write(b"reboot\n")
        deadline, text, is_trouble = Deadline(self._waits.boot_s), b"", False
        while GREETING not in text and not deadline.passed:
            text += self._port.read(deadline)
            if not is_trouble and (WELCOME in text or MISMATCH in text):
                is_trouble, deadline = True, deadline.within(self._waits.trouble_s)
        return text.removeprefix(b"reboot").decode(errors="replace")

    def _pulse(self) -> bool:
        """Reset by DTR, with the three steps of Sony's program; whether the port has such a line."""
        try:
            for active in (False, True, False):
                self._port.set_dtr(active)
        except DeviceError:  # a pseudo terminal; a port that is gone says so at the next read
            return False
        return True

    def _catch(self, seconds: float) -> bool:
        """Press `r` until the boot loader greets or asks for commands; whether it did."""
        deadline, text = Deadline(seconds), b""
        while not deadline.passed:
            self._port.write(b"r")
            text = text[-len(WELCOME) :] + self._port.read(deadline.within(self._waits.key_s))
            if WELCOME in text or PROMPT in text:
                self._port.push_back(text)
                self._settle()
                return True
        return False

    def _settle(self) -> None:
        """Wait for the prompt after the greeting, then send an empty line: the first byte after it may be lost."""
        deadline = Deadline(self._waits.answer_s)
        self._port.read_until(PROMPT, deadline=deadline, doing="waiting for the prompt of the updater")
        self._is_there()

    def _is_there(self) -> bool:
        """Whether the updater answers to an empty line."""
        self._port.write(b"\n")
        text = self._listen(PROMPT)
        self._port.drain(self._waits.quiet_s, Deadline(self._waits.line_s))
        return PROMPT in text

    def _listen(self, *tokens: bytes) -> bytes:
        """What comes until one of the tokens has, or nothing has in time."""
        deadline, text = Deadline(self._waits.line_s), b""
        while not deadline.passed and not any(token in text for token in tokens):
            text += self._port.read(deadline)
        return text

    def _start_install(self, baud: int) -> None:
        """Give the command, change the speed, and hear that the updater has changed its own."""
        port, command = self._port, f"install -b {baud}\n".encode()
        for _ in range(2):  # the first letter of the first one may be lost
            port.write(command)
            deadline = Deadline(self._waits.answer_s)
            reply = port.read_until(WAITING, PROMPT, deadline=deadline, doing="waiting for `install` to start")
            if reply.endswith(WAITING):
                return self._change_speed(baud)
        raise DeviceError(f"{port.name}: the updater does not take the command `install`", seen=reply)

    def _change_speed(self, baud: int) -> None:
        """Go to the new speed, or stay at the old one where the updater has."""
        if baud == CONSOLE_BAUD or self._hears_receiver(baud):
            return
        if not self._hears_receiver(CONSOLE_BAUD):
            raise DeviceError(
                f"{self._port.name}: the updater did not ask for the package, neither at {baud} baud nor at "
                f"{CONSOLE_BAUD}",
                seen=self._port.seen,
                hint=f"try `--baud {CONSOLE_BAUD}`: it needs no change of the speed",
            )
        self._note(f"the updater stayed at {CONSOLE_BAUD} baud when it should have gone to {baud}: sent so")

    def _hears_receiver(self, baud: int) -> bool:
        """Whether the updater asks for a package at this speed."""
        self._port.set_baud(baud)
        self._port.drain(self._waits.settle_s, Deadline(self._waits.settle_s))
        deadline, noise = Deadline(self._waits.start_s), 0
        while not deadline.passed and noise < NOISE_BYTES:
            data = self._port.read(deadline)
            if data.endswith(bytes([xmodem1k.CRC_START])):
                self._port.push_back(data[-1:])
                return True
            noise += len(data)
        return False

    def _abandon(self, *, is_cancelled: bool, is_restarted: bool = False) -> str:
        """End a transfer that failed, as far as the board lets us; what it does now, in words."""
        try:
            if not is_cancelled:
                self._port.write(xmodem1k.CANCEL)
            self._port.set_baud(CONSOLE_BAUD)
            self._port.drain(self._waits.quiet_s, Deadline(self._waits.settle_s))
            self._port.write(b"\r\n")
            text = self._listen(PROMPT, AT_PROMPT)
        except DeviceError:  # the port is gone, as the error that brought us here says
            return "the board cannot be asked what it does now"
        if PROMPT in text:
            if is_restarted:
                return f"{RESTARTED}waits in its updater, as it does where it has no firmware to start"
            return f"the transfer is ended, and the board {IN_UPDATER}"
        if AT_PROMPT in text:
            return f"{RESTARTED}runs its application"
        return "the board says nothing more"

    def _not_reached(self, has_dtr: bool) -> DeviceError:
        """The error for a board that does not stop in its updater."""
        tried = "resets by DTR and `r`" if has_dtr else "`r` (this port has no DTR to reset the board by)"
        said = "what it says is not the updater's" if self._port.seen else "it said nothing at all"
        return DeviceError(
            f"{self._port.name}: the board does not stop in its updater after {tried}: {said}",
            seen=self._port.seen,
            hint="run the same command again and press RESET when it says so; `eiauto boards` shows whether this "
            "is the Spresense's port; look at cable and power",
        )
