"""Version 1 of OpenMV's debug protocol, firmware to 4.8.1: bare commands, no checksums, no acknowledgement.

Source: tools/pyopenmv.py, common/usbdbg.c and common/tinyusb_debug.c of openmv/openmv, 4.5.5 to 4.8.1.
"""

from __future__ import annotations

import re
import struct
from enum import IntEnum

from ei_automation.devices.openmv.camera import RESTART_HINT, Camera, CameraInfo
from ei_automation.devices.transport import Deadline, Port
from ei_automation.errors import DeviceError

START = 0x30
HEADER = struct.Struct("<BBI")
"""START, command, how many bytes follow or are wanted. The camera reads its input in pieces of this size, and
drops a piece that does not begin with START: who sends another number of bytes has shifted all that follows."""
STATE_FIRMWARE = (4, 5, 6)
"""The first with GET_STATE. From 4.8.0 on, SCRIPT_RUNNING also forgets the script that was sent, so that asking
with it right after a start can lose the script."""
STATE_BYTES = 64
"""Flags, width, height and size of a picture, then text to the first NUL; one packet of USB at full speed."""
STATE_TEXT = 16
RUNNING, HAS_TEXT = 1, 2
ARCH_BYTES = 64
ARCH = re.compile(r"(?P<arch>.*?) *\[(?P<board_type>[^:\]]*):(?P<unique_id>[^\]]*)\]")
"""`OMV4 H7 1024 [H7:00360045...]`, as the firmware's "%s [%s:%08X%08X%08X]" gives it."""
ANSWER_S = 1.0
SHORT_ANSWER_S = 1.2
"""A camera that lacks bytes it was asked for gives up after 1 s (USBDBG_DATA_TIMEOUT)."""
LARGEST_VERSION = 100
"""What comes as a version number above this is no version: the answer is shifted."""
MOST_OUTPUT = 4096
"""Taken at once; a script may print faster than it is read."""


class Command(IntEnum):
    """What a frame asks for; those from 0x80 on have an answer."""

    SCRIPT_EXEC = 0x05
    SCRIPT_STOP = 0x06
    SYS_RESET = 0x0C
    FB_ENABLE = 0x0D
    SYS_RESET_TO_BL = 0x0E
    FW_VERSION = 0x80
    ARCH_STR = 0x83
    SCRIPT_RUNNING = 0x87
    TX_BUF_LEN = 0x8E
    TX_BUF = 0x8F
    GET_STATE = 0x93


def frame(command: Command, length: int = 0) -> bytes:
    """A command.

    Args:
        command: Which.
        length: How many bytes follow, or are wanted as the answer.
    """
    return HEADER.pack(START, command, length)


def read_arch(text: str) -> tuple[str, str, str]:
    """Architecture, type of board and unique id from the answer to ARCH_STR; empty where it does not tell."""
    found = ARCH.match(text)
    return (found["arch"], found["board_type"], found["unique_id"]) if found else (text.strip(), "", "")


class CameraV1(Camera):
    """A camera with firmware to 4.8.1; see `Camera`.

    Args:
        port: Open at the debug speed.
        deadline: By when it must have told its version.
        answer_s: By when each answer must come.

    Raises:
        DeviceError: It does not answer in time, or what comes is no answer.
    """

    def __init__(self, port: Port, deadline: Deadline, *, answer_s: float = ANSWER_S) -> None:
        super().__init__(port)
        self._answer_s = answer_s
        self._text = b""  # came with an answer that was asked for something else
        self._version = self._align(deadline)
        # Else the camera compresses every picture for a viewer that nobody looks at.
        port.write(frame(Command.FB_ENABLE, 4))
        port.write(struct.pack("<I", 0))

    def info(self, deadline: Deadline) -> CameraInfo:
        """See `Camera`."""
        answer = self._ask(Command.ARCH_STR, ARCH_BYTES, deadline)
        arch, board_type, unique_id = read_arch(answer.partition(b"\0")[0].decode("ascii", "replace"))
        return CameraInfo("V1", self._version, arch, board_type, unique_id)

    def is_running(self, deadline: Deadline) -> bool:
        """See `Camera`."""
        if self._version >= STATE_FIRMWARE:
            return bool(self._state(deadline) & RUNNING)
        return bool(self._number(Command.SCRIPT_RUNNING, deadline))

    def _start(self, script: bytes, deadline: Deadline) -> None:
        self._number(Command.SCRIPT_RUNNING, deadline)  # firmware from 4.8.0 forgets an earlier script here only
        self.port.write(
            frame(Command.SCRIPT_EXEC, len(script))
        )  # a packet of its own: 4.5 reads nothing behind it
        self.port.write(script)
        # A camera that took fewer bytes than were announced still waits for them, and answers nothing.
        self._number(Command.TX_BUF_LEN, deadline)

    def _take_output(self, deadline: Deadline) -> bytes:
        if self._version >= STATE_FIRMWARE:
            for _ in range(MOST_OUTPUT // (STATE_BYTES - STATE_TEXT)):  # counted: a text of NULs adds nothing
                if not self._state(deadline) & HAS_TEXT:
                    break
        elif size := min(self._number(Command.TX_BUF_LEN, deadline), MOST_OUTPUT):
            self._text += self._up_to(Command.TX_BUF, size, deadline)
        text, self._text = self._text, b""
        return text

    def _ask_to_stop(self, deadline: Deadline) -> None:
        del deadline  # it has no answer
        self.port.write(frame(Command.SCRIPT_STOP))

    def _send_reset(self, *, to_bootloader: bool) -> None:
        self.port.write(frame(Command.SYS_RESET_TO_BL if to_bootloader else Command.SYS_RESET))

    def _align(self, deadline: Deadline) -> tuple[int, int, int]:
        """The firmware's version, by a frame that begins where the camera begins to read."""
        for attempt in range(HEADER.size):
            if attempt:
                self.port.drain(0.02, deadline.within(0.1))  # late answers to what was sent before
            self.port.write(frame(Command.FW_VERSION, 12))
            answer = self._collect(12, deadline.within(self._answer_s))
            if len(answer) == 12:
                major, minor, patch = struct.unpack("<3I", answer)
                if 0 < major < LARGEST_VERSION and max(minor, patch) < LARGEST_VERSION:
                    return major, minor, patch
            if deadline.passed:
                break
            self.port.write(b"\0")  # shifts the next frame by one
        raise self.port.late("waiting for the answer to FW_VERSION", deadline, RESTART_HINT)

    def _state(self, deadline: Deadline) -> int:
        """The camera's flags; the text that comes with them is kept."""
        answer = self._ask(Command.GET_STATE, STATE_BYTES, deadline)
        flags: int = struct.unpack_from("<I", answer)[0]
        if flags & HAS_TEXT:
            self._text += answer[STATE_TEXT:].partition(b"\0")[0]
        return flags

    def _number(self, command: Command, deadline: Deadline) -> int:
        return int.from_bytes(self._ask(command, 4, deadline), "little")

    def _ask(self, command: Command, size: int, deadline: Deadline) -> bytes:
        self.port.write(frame(command, size))
        within = deadline.within(self._answer_s)
        return self.port.read_exactly(size, within, f"waiting for the answer to {command.name}", hint=RESTART_HINT)

    def _up_to(self, command: Command, size: int, deadline: Deadline) -> bytes:
        """An answer that may be shorter: the script printed so much meanwhile that the camera dropped the rest."""
        self.port.write(frame(command, size))
        return self._collect(size, deadline.within(SHORT_ANSWER_S))

    def _collect(self, size: int, deadline: Deadline) -> bytes:
        """So many bytes, or what came of them."""
        data = b""
        while len(data) < size and (came := self.port.read(deadline)):
            data += came
            if deadline.passed:
                break
        self.port.push_back(data[size:])
        return data[:size]


def no_answer(port: Port, deadline: Deadline) -> DeviceError:
    """The error for a camera that speaks neither version."""
    if b">>>" in port.seen:
        return DeviceError(
            f"{port.name}: the camera shows MicroPython's prompt and not its debug protocol",
            seen=port.seen,
            hint="close other programs that use the camera, unplug it, plug it in again and try once more",
        )
    return port.late(
        "waiting for an OpenMV camera to answer to either version of its debug protocol",
        deadline,
        "unplug it, plug it in again and try once more; if it runs other firmware flash OpenMV's first",
    )
