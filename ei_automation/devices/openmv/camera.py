"""What an OpenMV camera can be asked over its debug protocol, whichever version it speaks."""

from __future__ import annotations

import codecs
import re
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from ei_automation.devices.transport import Deadline, Port
from ei_automation.errors import DeviceError

DEBUG_BAUD = 921_600
"""The speed that switches a camera to its debug protocol; at any other one it shows MicroPython's prompt."""
QUESTION_S = 2.0
"""For the answer to one question."""
POLL_S = 0.02
"""Between two questions whether something has happened."""
TRACEBACK = "Traceback (most recent call last):"
STOPPED = ("Exception: IDE interrupt", "KeyboardInterrupt")
"""How a script ends that was told to: firmware to 4.5.5, and newer."""
SENSOR_TROUBLE = re.compile(
    r"(RuntimeError|OSError): (Failed to detect the image sensor|The detected image sensor is not supported|"
    r"Failed to initialize the (image sensor|external clock|CSI)|An low level I/O error|"
    r"Frame capture has (failed|timed out)|Sensor control failed)"
)
"""How the firmware says that its camera module is not there, or does not work (sensor_utils.c, omv_csi.c)."""
SENSOR_HINT = (
    "the camera module is not found or gives no pictures: unplug the board, check that the module and its ribbon "
    "sit firmly, plug the board in and run the same command again"
)
RESTART_HINT = "unplug the camera, plug it in again and run the same command once more"


@dataclass(frozen=True)
class CameraInfo:
    """What a camera says of itself.

    Attributes:
        protocol: V1 of firmware to 4.8.1, V2 of firmware from 5.0.0.
        firmware_version: (major, minor, patch).
        arch: e.g. `OMV4 H7 1024`; empty of V2, which does not tell.
        board_type: e.g. `H7`; empty of V2.
        unique_id: Of the processor, 24 hexadecimal digits.
        usb_id: As `37C5:1204`; empty of V1, which does not tell.
    """

    protocol: Literal["V1", "V2"]
    firmware_version: tuple[int, int, int]
    arch: str
    board_type: str
    unique_id: str
    usb_id: str = ""


class Camera(ABC):
    """A camera in its debug mode. Close it when done: only then is the port free.

    Args:
        port: Open at DEBUG_BAUD; it belongs to the camera now.
    """

    def __init__(self, port: Port) -> None:
        self.port = port
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def info(self, deadline: Deadline) -> CameraInfo:
        """What it says of itself.

        Raises:
            DeviceError: It does not answer in time.
        """

    @abstractmethod
    def is_running(self, deadline: Deadline) -> bool:
        """Whether a script runs.

        Raises:
            DeviceError: It does not answer in time.
        """

    def run_script(self, text: str, deadline: Deadline) -> None:
        """Stop what runs, forget what was printed, and start a script.

        Args:
            text: MicroPython.
            deadline: By when it must have started.

        Raises:
            DeviceError: The running script does not stop, or this one does not start.
        """
        if self.is_running(deadline):
            self.stop_script(deadline)
        self._take_output(deadline)
        self._decoder.reset()
        self._start(text.encode(), deadline)

    def output(self, deadline: Deadline) -> str:
        """What the script has printed since the last time; empty where nothing came.

        A camera keeps about a thousand characters: who asks too seldom loses some.

        Raises:
            DeviceError: It does not answer in time.
        """
        return self._decoder.decode(self._take_output(deadline))

    def stop_script(self, deadline: Deadline) -> None:
        """Stop the running script, if there is one, and see that it has stopped.

        Raises:
            DeviceError: It goes on.
        """
        self._ask_to_stop(deadline)
        # Each question has its own time, so that the error is about the script and not about the last question.
        while self.is_running(Deadline(max(QUESTION_S, deadline.left_s))):
            if deadline.left_s < POLL_S:
                raise DeviceError(
                    f"{self.port.name}: the script on the camera did not stop within {deadline.seconds:g} s",
                    hint=RESTART_HINT,
                )
            time.sleep(POLL_S)

    def reset(self) -> None:
        """Restart the camera; its port goes away and comes back, this object is done."""
        self._leave(to_bootloader=False)

    def reset_to_bootloader(self) -> None:
        """Restart the camera into its boot loader; its port goes away, this object is done."""
        self._leave(to_bootloader=True)

    def close(self) -> None:
        """Give the port back; a running script goes on."""
        self.port.close()

    def _leave(self, *, to_bootloader: bool) -> None:
        with suppress(DeviceError):  # it may be gone before the last byte is acknowledged: what was wanted
            self._send_reset(to_bootloader=to_bootloader)
        self.close()

    @abstractmethod
    def _start(self, script: bytes, deadline: Deadline) -> None:
        """Send a script and start it; nothing runs."""

    @abstractmethod
    def _take_output(self, deadline: Deadline) -> bytes:
        """What was printed."""

    @abstractmethod
    def _ask_to_stop(self, deadline: Deadline) -> None:
        """Tell it to stop, without looking whether it does."""

    @abstractmethod
    def _send_reset(self, *, to_bootloader: bool) -> None:
        """Tell it to restart; it does not answer."""


def sensor_hint(reason: str) -> str:
    """What to do where a script ended because of the camera module; empty where it ended for another reason.

    Args:
        reason: Of `script_error`, e.g. `RuntimeError: Failed to detect the image sensor ...`.
    """
    return SENSOR_HINT if SENSOR_TROUBLE.match(reason) else ""


def script_error(output: str) -> str:
    """Why a script ended, from all that it printed.

    Args:
        output: From its start, or at least its last lines.

    Returns:
        The last line of the last traceback, e.g. `OSError: [Errno 2] ENOENT`; empty where there is none, or where
        the script ended because it was told to.
    """
    _, found, after = output.rpartition(TRACEBACK)
    lines = [line for line in after.splitlines() if line.strip()]
    # Where the code is stands indented, the exception does not; a prompt or a banner may follow it.
    reason = next((line.strip() for line in lines if not line.startswith(" ")), TRACEBACK) if found else ""
    return "" if reason.startswith(STOPPED) else reason
