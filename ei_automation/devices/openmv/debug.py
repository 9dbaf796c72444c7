"""The door to an OpenMV camera: open it in its debug mode, find out which version it speaks, run a script.

The detection is that of SingTown's protocol_detect.cpp: questions of both versions are sent together; only V2
answers with its sync word. Behind them come two bytes more, so that V1, which reads pieces of six bytes, is left
at the beginning of a piece.
"""

from __future__ import annotations

import struct
import time
from typing import Literal

from ei_automation.devices.host import Host, SerialPort
from ei_automation.devices.openmv.camera import (
    DEBUG_BAUD,
    POLL_S,
    Camera,
    CameraInfo,
    script_error,
    sensor_hint,
)
from ei_automation.devices.openmv.packets import SYNC_WORD, Opcode, Packet
from ei_automation.devices.openmv.v1 import HEADER, CameraV1, Command, frame, no_answer
from ei_automation.devices.openmv.v2 import CameraV2
from ei_automation.devices.transport import Deadline, Port

__all__ = [
    "Camera",
    "CameraInfo",
    "connect_camera",
    "script_error",
    "sensor_hint",
    "wait_for_end",
]

PROBE_S = 0.4
"""By when the first question of the detection is answered."""
AGAIN_S = 1.2
"""Between the further ones: a V1 camera that still waits for the end of an earlier command gives up after 1 s
without a byte, and only then."""


def connect_camera(host: Host, port: SerialPort, deadline: Deadline) -> Camera:
    """Open a camera in its debug mode.

    Args:
        host: What it is plugged into.
        port: Its serial port.
        deadline: By when it must have answered.

    Raises:
        DeviceError: It cannot be opened, or does not answer to either version of the protocol.
    """
    line = host.open(port, DEBUG_BAUD)
    try:
        version = _detect(line, deadline)
        return CameraV2(line, deadline) if version == "V2" else CameraV1(line, deadline)
    except BaseException:
        line.close()
        raise


def wait_for_end(camera: Camera, deadline: Deadline) -> str:
    """Wait until the script ends by itself.

    Returns:
        What it printed; with a script that still runs at the deadline, what it printed by then.

    Raises:
        DeviceError: The camera does not answer.
    """
    printed = ""
    while camera.is_running(deadline) and not deadline.passed:
        printed += camera.output(deadline)
        time.sleep(POLL_S)
    return printed + camera.output(Deadline(PROBE_S))


def _detect(port: Port, deadline: Deadline) -> Literal["V1", "V2"]:
    """Which version answers."""
    question = frame(Command.SCRIPT_RUNNING, 4) + Packet(0, 0, 0, Opcode.SYNC).encode()
    question += b"\0" * (-len(question) % HEADER.size)
    wait_s = PROBE_S
    while not deadline.passed:
        port.forget_input()
        port.write(question)
        if version := _answer(port, deadline.within(wait_s)):
            return version
        wait_s = AGAIN_S
    raise no_answer(port, deadline)


def _answer(port: Port, deadline: Deadline) -> Literal["V1", "V2"] | None:
    """Which version this is; None where nothing came, or nothing of either."""
    data = b""
    while came := port.read(deadline):
        data += came
        if SYNC_WORD in data:
            return "V2"
        # V1 says whether a script runs, once for every question that it has read.
        if len(data) % 4 == 0 and {word for (word,) in struct.iter_unpack("<I", data)} <= {0, 1}:
            return "V1"
        if deadline.passed:
            break
    return None
