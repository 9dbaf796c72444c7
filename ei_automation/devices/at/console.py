"""A conversation with Edge Impulse's firmware: its AT commands, its inference, features sent to it.

Two things make it harder than it looks. A prompt is no proof that the firmware is idle: the Spresense prints one
in the middle of its debug mode, and takes commands while it runs. What proves it is its answer to `b`: a firmware
that runs takes it as the sign to stop, an idle one says that `b` is no command. And a debug run changes the speed
of the line.

Formats: `at-server/ei_at_server.cpp` and `ei_device_lib.cpp` of Edge Impulse's firmware SDK.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ei_automation.devices.at.facts import AtConfig, AtInfo, InferenceSettings, read_config, read_info
from ei_automation.devices.at.line import ANSWER_HINT, HEARD_BYTES, PACE_S, AtLine
from ei_automation.devices.at.results import Lines, ResultParser
from ei_automation.devices.at.static import run_static
from ei_automation.devices.at.trouble import error_for, is_garbled, trouble_in, why_no_prompt
from ei_automation.devices.transport import Deadline, Port
from ei_automation.errors import DeviceError
from ei_automation.schema.inference_result import InferenceResult

__all__ = ["AtConfig", "AtConsole", "AtInfo", "InferenceSettings"]

DEFAULT_BAUD = 115_200
KNOCK_S = 1.5
"""How long one `b` waits for its answer."""
QUIET_S = 0.1
"""So long nothing comes after an answer that is whole."""
SWITCH_S = 0.25
"""The firmware waits 0.1 s before and after it changes its speed."""
RESULT_QUIET_S = 0.4
"""After so long without a byte, the result that was read has ended."""
PATIENCE_S = 20.0
"""By when a running firmware must print its next result."""
PROMPT = b"\n> "
STOPPED = b"\r\nOK\r\n"
"""What a debug run says before it goes back to its old speed."""
NOT_RUNNING = re.compile(rb"(?:Not a valid AT command|Command not found!|No handler for command!) \([^()\r\n]*b\)")
"""The answer to `b` of a firmware that is idle; characters that came before it stand in front."""
SETTINGS = re.compile(
    rb"Image resolution: ([0-9]{1,5})x([0-9]{1,5})\s+Frame size: ([0-9]{1,9})\s+No\. of classes: ([0-9]{1,5})\r?\n"
)
FAST_STARTED = re.compile(rb"OK\r?\n")
ECHO = re.compile(rb"[rb \r\n]*b[\r\n]*")
"""What comes of `b` where nothing but an echo does: the Spresense's updater waits for a line feed."""
HOPELESS = re.compile(rb">>> |Mismatched version|updater#")
"""What says such a thing does not become Edge Impulse's firmware by waiting."""
GARBLED_BYTES = 512
"""After so many without a result, bytes that are no text are no accident."""
SHELL_KNOCKS = 3
"""A Spresense says `Welcome to nash` at every start; only one that stays there is in trouble."""
RESULT_HINT = (
    "the camera may give no images: check its cable, press the board's reset button, and try again; a slow "
    "network needs more time (--result-timeout)"
)
TIME_HINT = (
    "the firmware may wait 2 s before its first image, and the network takes its time: allow more (--seconds)"
)
LOST_HINT = (
    "bytes are lost on the way: try another cable or a direct USB port, and close what keeps the machine busy"
)


class AtConsole:
    """Edge Impulse's firmware behind a port.

    Args:
        port: Open, at 115200 baud.
        max_baud: That the firmware changes to for a debug run; `config` corrects it.
        pace_s: Between the pieces of what is sent.

    Attributes:
        max_baud: The same.
    """

    def __init__(self, port: Port, *, max_baud: int = DEFAULT_BAUD, pace_s: float = PACE_S) -> None:
        self._port, self._line, self.max_baud = port, AtLine(port, pace_s), max_baud
        self._new_run()

    def connect(self, deadline: Deadline) -> None:
        """Wake the firmware, end an inference that runs, and wait until it takes commands.

        Args:
            deadline: By when.

        Raises:
            DeviceError: No Edge Impulse firmware answers; the message says what does.
        """
        self._settle(deadline)

    def command(self, text: str, deadline: Deadline) -> str:
        """Give a command that is answered at once.

        Args:
            text: e.g. `AT+CONFIG?`.
            deadline: By when it must be answered.

        Returns:
            The answer, without echo and prompt.

        Raises:
            DeviceError: It is unknown to the firmware, or was not answered in time.
        """
        doing, echo, came = f"waiting for the answer to {text}", text.encode(), b""
        self._line.send_command(text)
        while echo not in came:
            if came and deadline.passed:  # prompts of something else, one behind the other
                raise self._port.late(doing, deadline, ANSWER_HINT)
            came += self._port.read_until(PROMPT, deadline=deadline, doing=doing, hint=ANSWER_HINT)
        answer = came.partition(echo)[2].removesuffix(PROMPT).decode(errors="replace")
        first = answer.strip().partition("\n")[0]
        trouble = trouble_in(first)
        if trouble is not None:
            raise error_for(self._port.name, text, first, trouble, self._port.seen)
        return answer.replace("\r\n", "\n").strip("\n")

    def config(self, deadline: Deadline) -> AtConfig:
        """Ask for its configuration.

        Args:
            deadline: By when it must be answered.

        Raises:
            DeviceError: What it answers is none.
        """
        config = read_config(self.command("AT+CONFIG?", deadline))
        if config is None:
            raise self._line.error("the answer to AT+CONFIG? is no configuration")
        self.max_baud = config.transfer_baud or self.max_baud
        return config

    def info(self, deadline: Deadline) -> AtInfo:
        """Ask which project and build it runs.

        Args:
            deadline: By when it must be answered.

        Raises:
            DeviceError: It does not say: older firmware does not know AT+INFO.
        """
        info = read_info(self.command("AT+INFO", deadline))
        if info is None:
            raise self._line.error("the answer to AT+INFO names no project")
        return info

    def start_inference(
        self, deadline: Deadline, *, continuous: bool = False, debug: bool = False
    ) -> InferenceSettings:
        """Start to classify what the camera sees.

        Args:
            deadline: By when it must have started.
            continuous: Without the pause of two seconds between images.
            debug: With previews, continuous, and at `max_baud`.

        Raises:
            DeviceError: It cannot: no camera, no memory.
        """
        # The Spresense changes its speed for `n` as well, and where it has no other one `y` changes nothing.
        fast, doing = debug and self.max_baud != DEFAULT_BAUD, "starting the inference"
        plain = "AT+RUNIMPULSECONT" if continuous else "AT+RUNIMPULSE"
        self._new_run()
        self._line.send_command(f"AT+RUNIMPULSEDEBUG={'y' if fast else 'n'}" if debug else plain)
        found = self._line.wait_for(SETTINGS, deadline, doing)
        if fast:
            self._line.wait_for(FAST_STARTED, deadline, doing)
            self._port.set_baud(self.max_baud)
        width, height, frame_size, classes = map(int, found.groups())
        return InferenceSettings(width, height, frame_size, classes)

    def results(self, deadline: Deadline, *, patience_s: float = PATIENCE_S) -> Iterator[InferenceResult]:
        """The results of a running inference as they come, until the deadline.

        Args:
            deadline: When to end; `Deadline(math.inf)` for never.
            patience_s: By when the next result must come.

        Raises:
            DeviceError: None came within `patience_s`, or until the deadline; the firmware reports an error; the
                board is gone.
        """
        patience, count = Deadline(patience_s), 0
        while not deadline.passed:
            for result in self._next_results(deadline.within(min(RESULT_QUIET_S, patience.left_s))):
                count += 1
                yield result
                patience = Deadline(patience_s)
            if patience.passed or (not count and len(self._heard) >= GARBLED_BYTES and is_garbled(self._heard)):
                raise self._no_result(patience, RESULT_HINT)
        if not count:
            raise self._no_result(deadline, TIME_HINT)

    def stop(self, deadline: Deadline) -> None:
        """End the inference, go back to 115200 baud, and see that it has ended.

        Args:
            deadline: By when; a turn of the network that goes on is waited for.

        Raises:
            DeviceError: It goes on.
        """
        if self._port.baud != DEFAULT_BAUD:
            self._stop_fast(deadline)
        self._settle(deadline)

    def run_static(
        self, features: NDArray[np.float32], *, deadline: Deadline, debug: bool = False
    ) -> InferenceResult:
        """Classify features that the host sends.

        Args:
            features: float32, (N,): one 0xRRGGBB for each pixel, row by row.
            deadline: By when the result must be there; a piece of 24 bytes takes some milliseconds.
            debug: Whether the firmware prints what it computes.

        Raises:
            DeviceError: The firmware takes no features, or not so many; it cannot classify; it does not answer.
        """
        return run_static(self._line, features, deadline, debug=debug)

    # Results

    def _new_run(self) -> None:
        """Forget what an earlier run left."""
        self._parser, self._lines, self._heard = ResultParser(), Lines(), b""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def _next_results(self, quiet: Deadline) -> Iterator[InferenceResult]:
        """What one read brings.

        Args:
            quiet: If nothing comes by then, the result that was read has ended.
        """
        data = self._port.read(quiet)
        if not data:
            yield from self._parser.end()
            return
        self._heard = (self._heard + data)[-HEARD_BYTES:]
        text = self._decoder.decode(data)
        yield from self._parser.feed(text)
        self._line.raise_trouble(self._lines.feed(text), "running the inference")

    def _no_result(self, deadline: Deadline, hint: str) -> DeviceError:
        """The error for a firmware that runs and gives no result.

        Args:
            deadline: That has passed.
            hint: For one that says nothing else that is wrong.
        """
        doing = "waiting for a result"
        if is_garbled(self._heard):
            trouble = why_no_prompt(self._heard, self._port.usb_id)
            return self._line.error(f"{doing}: {trouble.message}", trouble.hint)
        if self._parser.refused:
            return self._line.error(
                f"{doing}: within {deadline.seconds:g} s came {self._parser.refused} that cannot be read",
                LOST_HINT,
            )
        return self._port.late(doing, deadline, hint)

    # Stopping

    def _stop_fast(self, deadline: Deadline) -> None:
        """Tell a debug run to stop; it goes back to its old speed after its OK."""
        self._line.send(b"b\r")
        came = b""
        while not deadline.passed and STOPPED not in came and not is_garbled(came):
            came = (came + self._port.read(deadline))[-HEARD_BYTES:]
        self._port.set_baud(DEFAULT_BAUD)
        if is_garbled(came):
            return  # it never left the old speed
        if STOPPED not in came:
            trouble = why_no_prompt(came, self._port.usb_id)
            raise self._line.error(f"stopping the inference: {trouble.message}", trouble.hint)
        self._port.drain(SWITCH_S, deadline.within(KNOCK_S))

    def _settle(self, deadline: Deadline) -> None:
        """See that the firmware is idle; tell it to stop where it is not.

        Raises:
            DeviceError: It goes on, or something else answers.
        """
        heard, shells = b"", 0
        while True:
            came, is_idle = self._knock(deadline.within(KNOCK_S))
            if is_idle:
                return
            heard = (heard + came)[-HEARD_BYTES:]
            shells += b"Welcome to nash" in heard
            if deadline.passed or shells >= SHELL_KNOCKS or HOPELESS.search(heard):
                trouble = why_no_prompt(heard, self._port.usb_id)
                raise self._line.error(
                    f"{trouble.message} (asked for {deadline.seconds - deadline.left_s:.1f} s)", trouble.hint
                )
            if is_garbled(came):
                self._stop_at_max_baud(deadline)

    def _knock(self, deadline: Deadline) -> tuple[bytes, bool]:
        """Say `b`; what came, and whether the firmware is idle."""
        self._line.send(b"b\r")
        came = b""
        while not deadline.passed:
            data = self._port.read(deadline.within(QUIET_S))
            came = (came + data)[-HEARD_BYTES:]
            if NOT_RUNNING.search(came):
                came += self._port.drain(QUIET_S, Deadline(KNOCK_S))
                return came, came.endswith(PROMPT)
            if HOPELESS.search(came) or (not data and came.endswith(b"> ")):
                break  # a prompt, which proves nothing: ask again
            if not data and ECHO.fullmatch(came):
                self._line.send(b"\n")
        return came, False

    def _stop_at_max_baud(self, deadline: Deadline) -> None:
        """A debug run that an earlier program left goes on at the higher speed: end it there."""
        if self.max_baud == DEFAULT_BAUD:
            return
        self._port.set_baud(self.max_baud)
        self._line.send(b"b\r")
        self._port.drain(QUIET_S, deadline.within(KNOCK_S))
        self._port.set_baud(DEFAULT_BAUD)
        self._port.drain(SWITCH_S, deadline.within(KNOCK_S))
