"""The firmware of a simulated OpenMV camera, as its serial line shows it: debug protocol V1 or V2, or a prompt.

It runs scripts for real as far as `openmv_script` goes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from ei_automation.devices.openmv.camera import DEBUG_BAUD
from ei_automation.devices.sim.board import Surroundings
from ei_automation.devices.sim.openmv.machine import CameraFacts, Leaving
from ei_automation.devices.sim.openmv.script import ScriptFailure, ScriptMachine
from ei_automation.devices.sim.openmv.side_v1 import V1Side
from ei_automation.devices.sim.openmv.side_v2 import V2Side
from ei_automation.devices.sim.uart import Uart

__all__ = ["CameraFacts", "DebugFirmware"]

V1_FAST_BAUD = 12_000_000
KEYBOARD_FIRMWARE = (4, 5, 6)
"""The first whose scripts end with KeyboardInterrupt when they are stopped."""
IDLE_S = 0.02
IMAGE_S = 0.05
OUTPUT_BYTES = 4096
"""What is kept of a script's output; 1024 bytes on real cameras with firmware 5.0.0."""


class DebugFirmware:
    """What a camera does until it is reset.

    Args:
        uart: Its USB serial line (`is_usb`): speeds that differ garble nothing, they switch its mode.
        around: What it is started with. Faults: mute-firmware, endless, no-camera, silence (bytes of a script).
        facts: Which camera it is.
        drive: The folder that scripts load `trained.tflite` and `labels.txt` from; read at each start of one.
        image_s: What each picture takes.
        output_bytes: What it keeps of a script's output; when it overflows all of it is dropped.

    Attributes:
        is_running: Whether a script runs.
        has_started: Whether one has started since this was last set to False.
    """

    def __init__(
        self,
        uart: Uart,
        around: Surroundings,
        facts: CameraFacts,
        drive: Path,
        *,
        image_s: float = IMAGE_S,
        output_bytes: int = OUTPUT_BYTES,
    ) -> None:
        self.facts, self.faults, self.is_running = facts, around.faults, False
        self._uart, self._around, self._image_s, self._room = uart, around, image_s, output_bytes
        self._machine = ScriptMachine(around, facts.firmware_version, drive, image_s)
        self._text, self._script = bytearray(), ""
        self._printing: Iterator[str] = iter(())
        self._next_image = 0.0
        self._leaving: Leaving | None = None
        self._received = 0  # bytes of scripts
        self._typed = b""
        self._side: V1Side | V2Side = (V2Side if facts.protocol == "V2" else V1Side)(self, self._send)

    def run(self) -> Leaving:
        """Work until told to restart, by either protocol or at the prompt.

        Returns:
            Where to.

        Raises:
            ResetError: The board was reset.
        """
        while self._leaving is None:
            data = self._uart.read(self._wait_s())
            if self._is_silent():
                continue
            if self._is_debugged():
                self._side.feed(data)
                self._side.tick()
            else:
                self._type(data)
            self._step()
        return self._leaving

    # What the protocol's side asks for

    def execute(self, script: bytes) -> None:
        """Start a script; whatever runs is over."""
        self._script = script.decode("utf-8", "replace")
        self._printing = self._machine.run(self._script)
        self._next_image, self.is_running = 0.0, True
        self._around.log(f"a script of {len(script)} bytes starts")

    def received(self, count: int) -> None:
        """So many bytes of a script have come."""
        self._received += count

    def stop(self) -> None:
        """Stop the script, unless it is one that cannot be stopped."""
        if self.is_running and "endless" not in self.faults:
            is_new = self.facts.firmware_version >= KEYBOARD_FIRMWARE
            reason = "KeyboardInterrupt: " if is_new else "Exception: IDE interrupt"
            self._end(ScriptFailure(reason, "sensor.snapshot()").traceback(self._script))

    def leave(self, to: Leaving) -> None:
        """Restart."""
        self._around.log(f"the camera restarts: {to}")
        self._leaving = to

    def forget_output(self) -> None:
        """Drop what was printed."""
        self._text.clear()

    @property
    def available(self) -> int:
        """Bytes that were printed and not taken."""
        return len(self._text)

    def take(self, size: int) -> bytes:
        """The oldest of them."""
        data = bytes(self._text[:size])
        del self._text[:size]
        return data

    # The firmware itself

    def _send(self, data: bytes) -> None:
        if not self._is_silent():
            self._uart.write(data)

    def _wait_s(self) -> float:
        if not self.is_running:
            return IDLE_S
        return min(IDLE_S, max(0.0, self._next_image - time.monotonic()))

    def _is_silent(self) -> bool:
        return "mute-firmware" in self.faults or self.faults.at("silence", self._received)

    def _is_debugged(self) -> bool:
        speeds = {DEBUG_BAUD} if self.facts.protocol == "V2" else {DEBUG_BAUD, V1_FAST_BAUD}
        return self._uart.host_baud in speeds

    def _step(self) -> None:
        """The next picture of the script, when its time has come."""
        if not self.is_running or time.monotonic() < self._next_image:
            return
        try:
            self._print(next(self._printing))
            self._next_image = time.monotonic() + self._image_s
        except StopIteration:
            self._end("")
        except ScriptFailure as failure:
            self._end(failure.traceback(self._script))

    def _end(self, last_words: str) -> None:
        self._print(last_words)
        self._printing, self.is_running = iter(()), False
        self._around.log("the script has ended")
        self._side.script_ended()

    def _print(self, text: str) -> None:
        data = text.encode()
        if not self._is_debugged():
            self._uart.write(data)
            return
        if len(self._text) + len(data) > self._room:
            self._text.clear()
        self._text += data[-self._room :]

    def _type(self, data: bytes) -> None:
        """MicroPython's prompt, as far as a program needs it: restarts, and Ctrl-C."""
        if b"\x03" in data:
            self.stop()
            data = b"\r"
        self._typed = (self._typed + data)[-200:]
        if not self._typed.endswith((b"\r", b"\n")):
            return
        line, self._typed = self._typed.strip(), b""
        self._uart.write(line + b"\r\n>>> ")
        if line in (b"machine.bootloader()", b"pyb.bootloader()"):
            self.leave("bootloader")
        elif line in (b"machine.reset()", b"pyb.hard_reset()"):
            self.leave("reset")
