"""Edge Impulse's AT firmware, as it runs on a Spresense or a Nicla: prompt, commands, inference, static data.

Behaviour: `at-server/ei_at_server.cpp` and `ei_device_lib.cpp` of Edge Impulse's firmware SDK (AT version 1.8.0),
`ei_main.cpp`, `ei_at_handlers.cpp` and `ei_run_camera_impulse.cpp` of firmware-sony-spresense and
firmware-arduino-nicla-vision.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ei_automation.devices.sim.at.facts import DEFAULT_BAUD, AtFacts, config_text, info_text, snapshot_text
from ei_automation.devices.sim.at.line_editor import PROMPT, LineEditor
from ei_automation.devices.sim.at.results import print_result, print_static
from ei_automation.devices.sim.board import Surroundings
from ei_automation.devices.sim.impulse import SimulatedImpulse
from ei_automation.devices.sim.uart import Uart

__all__ = ["AtFacts", "AtFirmware"]

STOP = ord("b")
IDLE_S = 0.5
"""How long the firmware waits for a byte before it looks around."""
SHAPES_DONT_MATCH = -1
"""EI_IMPULSE_ERROR_SHAPES_DONT_MATCH, and what stands for a firmware without a model."""
ARENA_FAILED = -6
"""EI_IMPULSE_TFLITE_ARENA_ALLOC_FAILED."""
PREVIEW = base64.b64encode(
    b"\xff\xd8\xff\xdb\x00C\x00" + b"\x01" * 64  # start, quantization table
    + b"\xff\xc0\x00\x0b\x08\x00\x01\x00\x01\x01\x01\x11\x00"  # baseline, 8 bits, 1 by 1, one component
    + b"\xff\xc4\x00\x14\x00\x01" + b"\x00" * 15 + b"\x00"  # one DC code: no difference
    + b"\xff\xc4\x00\x14\x10\x01" + b"\x00" * 15 + b"\x00"  # one AC code: end of block
    + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\x3f\xff\xd9"  # the scan: a grey pixel
).decode()  # fmt: skip
"""The preview of the debug mode: a JPEG of one grey pixel, since a console reads over it."""


@dataclass
class _Running:
    """An inference that goes on.

    Attributes:
        continuous: Whether it does without pauses.
        debug: Whether it shows previews, at another speed.
        next_turn: When the next turn begins, of `time.monotonic`.
    """

    continuous: bool
    debug: bool
    next_turn: float


class AtFirmware:
    """Firmware on a serial line; it ends only with the line's `ResetError`.

    Args:
        uart: The line.
        around: The network, its labels, what the camera sees, faults: `mute-firmware`, `no-camera`, `endless`, and
            `garble` for a debug mode that keeps its speed.
        facts: Of the board.
    """

    def __init__(self, uart: Uart, around: Surroundings, facts: AtFacts) -> None:
        self._uart, self._around, self._facts = uart, around, facts
        self._impulse, self._editor = SimulatedImpulse(around), LineEditor(self._say)
        self._running: _Running | None = None
        self._device_id = around.serial_number
        self._commands: dict[str, tuple[str, Callable[[], bool]]] = {
            "AT+HELP": ("Lists all commands", self._help),
            "AT+INFO": ("Prints details about compiled firmware and ML model", self._info),
            "AT+CONFIG?": ("Lists complete config", self._config),
            "AT+DEVICEID?": ("Shows the device ID", self._show_id),
            "AT+SNAPSHOT?": ("Lists snapshot resolutions", self._snapshot),
            "AT+RUNIMPULSE": ("Run the impulse", lambda: self._start()),
            "AT+RUNIMPULSECONT": ("Run the impulse continuously", lambda: self._start(continuous=True)),
        }
        self._writes: dict[str, Callable[[list[str]], bool]] = {
            "AT+DEVICEID": self._set_id,
            "AT+RUNIMPULSEDEBUG": self._debug,
            "AT+RUNIMPULSESTATIC": self._static,
        }

    def run(self) -> None:
        """Say hello and serve, for ever.

        Raises:
            ResetError: The board was reset.
        """
        while "mute-firmware" in self._around.faults:
            self._uart.read(IDLE_S)
        while self._uart.is_usb and not self._uart.wait_open(IDLE_S):
            pass
        self._say(self._facts.hello + PROMPT)
        while True:
            self._serve()

    def _serve(self) -> None:
        """A byte, a turn of the inference, or a moment's rest."""
        running = self._running
        wait_s = IDLE_S if running is None else max(0.0, running.next_turn - time.monotonic())
        byte = self._uart.read_byte(wait_s)
        if byte is not None:
            self._take(byte)
        elif self._running is not None:
            self._turn(self._running)

    def _say(self, text: str) -> None:
        self._uart.write(text)

    # The command line

    def _take(self, byte: int) -> None:
        """A byte from the host."""
        if self._running is not None and byte == STOP:
            self._stop(self._running)
        elif self._running is None or not self._facts.blocks:
            self._edit(byte)

    def _edit(self, byte: int) -> None:
        """A byte of a command."""
        line = self._editor.take(byte)
        if line is not None and self._execute(line):
            self._say(PROMPT)

    def _execute(self, line: str) -> bool:
        """Do what a command says; whether a prompt follows."""
        command = line.strip()
        if not command.startswith("AT+"):
            self._say(f"Not a valid AT command ({line})\n")
            return True
        name, is_write, arguments = command.partition("=")
        if is_write and name in self._writes:
            return self._writes[name](arguments.split(","))
        if not is_write and command in self._commands:
            return self._commands[command][1]()
        bare = name.rstrip("?")
        if bare in self._writes or bare in self._commands or bare + "?" in self._commands:
            self._say(f"No handler for command! ({line})\n")
        else:
            self._say(f"Command not found! ({bare})\n")
        return True

    def _help(self) -> bool:
        self._say(f"AT Server\nCommand set version: {self._facts.at_version}\n")
        for name, (text, _) in self._commands.items():
            self._say(f"{name}\n\t{text}\n\n")
        return True

    def _show_id(self) -> bool:
        self._say(f"{self._device_id}\n")
        return True

    def _set_id(self, arguments: list[str]) -> bool:
        self._device_id = arguments[0]
        self._say("OK\n")
        return True

    def _info(self) -> bool:
        self._say(info_text(self._facts, self._around.project, self._around.deploy_version))
        return True

    def _snapshot(self) -> bool:
        self._say(snapshot_text(self._facts))
        return True

    def _config(self) -> bool:
        model = self._impulse.model
        kind = "classification" if model is None else self._impulse.kind(model)[0]
        self._say(config_text(self._facts, self._device_id, kind))
        return True

    # Inference

    def _debug(self, _: list[str]) -> bool:
        # The real handler changes its speed with `n` as well.
        self._start(debug=True)
        return self._running is None or self._facts.prompt_in_debug

    def _start(self, *, continuous: bool = False, debug: bool = False) -> bool:
        """Begin to classify; whether a prompt follows."""
        problem = self._problem()
        if problem:
            self._say(problem)
            return self._facts.blocks
        model = self._impulse.model
        assert model is not None  # or there was a problem
        height, width, _ = model.input_shape
        _, classes = self._impulse.kind(model)
        self._say(f"Inferencing settings:\n\tImage resolution: {width}x{height}\n")
        self._say(f"\tFrame size: {width * height}\n\tNo. of classes: {classes}\n")
        self._running = _Running(continuous or debug, debug, time.monotonic())
        if not self._running.continuous:
            self._pause(self._running)
        if debug:
            self._say("OK\r\n")
            self._change_baud(self._facts.max_baud)
        return False

    def _problem(self) -> str:
        """What the firmware says instead of starting; empty where it can start."""
        if "no-camera" in self._around.faults:
            if self._facts.blocks:
                return "Failed to init camera, check if camera is connected!\n"
            return "ERR: Failed to start inference, camera is missing!\n"
        model = self._impulse.model
        if model is None:
            return self._no_model()
        height, width, _ = model.input_shape
        if width < self._facts.smallest[0] or height < self._facts.smallest[1]:
            return "Image resolution too small should be at least 96x64\r\n"
        return ""

    def _no_model(self) -> str:
        if self._around.model is None:
            return f"ERR: Failed to run impulse ({SHAPES_DONT_MATCH})\n"
        return f"Failed to allocate TFLite arena (error code 1)\nERR: Failed to run impulse ({ARENA_FAILED})\n"

    def _pause(self, running: _Running) -> None:
        """Wait for the next turn."""
        self._say("Starting inferencing in 2 seconds...\n")
        running.next_turn = time.monotonic() + self._facts.pause_s

    def _turn(self, running: _Running) -> None:
        """Take a photo, classify it, print the result."""
        model = self._impulse.model
        assert model is not None  # it runs
        image = self._impulse.photo()
        self._say("Taking photo...\n")
        if running.debug:
            self._say(f"Begin output\nFramebuffer: {PREVIEW}\r\n")
        self._uart.sleep(self._facts.turn_s)
        self._say(print_result(self._impulse.classify(model, image), self._facts.dialect))
        if running.debug:
            self._say("\r\n----------------------------------\r\nEnd output\n")
        running.next_turn = time.monotonic()
        if not running.continuous:
            self._pause(running)

    def _stop(self, running: _Running) -> None:
        """The host said `b`."""
        if "endless" in self._around.faults:
            return
        self._running = None
        if running.debug:
            self._say("\r\nOK\r\n")
            self._change_baud(DEFAULT_BAUD)
        self._say(PROMPT if self._facts.blocks else f"Inferencing stopped by user\r\n{PROMPT}")

    def _change_baud(self, baud: int) -> None:
        self._uart.sleep(self._facts.baud_pause_s)
        if "garble" not in self._around.faults:
            self._uart.baud = baud
        self._uart.sleep(self._facts.baud_pause_s)

    # Static data

    def _static(self, arguments: list[str]) -> bool:
        """Take features from the host and classify them; whether a prompt follows."""
        if len(arguments) < 2:
            self._say("Too few arguments! Required: 2\n")
            return False
        length = int(arguments[1]) if re.fullmatch(r"[0-9]{1,9}", arguments[1]) else 0
        if 4 * length > self._facts.heap_bytes:
            self._say("ERR: Memory allocation for data buffer failed\r\n")
            return False
        self._say(f"OK CHUNK={self._facts.chunk}\r\n")
        features = self._features(length)
        if features is None:
            self._say("TIMEOUT\r\nEND OUTPUT\r\n")
            return False
        self._say(f"TRANSFER COMPLETED {length}\r\n")
        self._say(f"RESULT {self._run_static(features)}\r\nEND OUTPUT\r\n")
        return True

    def _features(self, length: int) -> NDArray[np.float32] | None:
        """So many values, piece by piece; None where one did not come in time."""
        came = b""
        while len(came) < 4 * length:
            piece = self._uart.read_exactly(self._facts.chunk, self._facts.piece_s)
            if len(piece) < self._facts.chunk:
                return None
            decoded = _decode(piece)
            came = (came + decoded[: len(decoded) // 4 * 4])[: 4 * length]
            self._say(f"OK {len(came) // 4} \r\n")
        return np.frombuffer(came, "<f4").astype(np.float32)

    def _run_static(self, features: NDArray[np.float32]) -> int:
        """Classify and print; the impulse's code, 0 for success."""
        model = self._impulse.model
        if model is None:
            return SHAPES_DONT_MATCH if self._around.model is None else ARENA_FAILED
        expected = self._impulse.pixels(model)
        if features.size != expected:
            self._say("ERROR: The size of the input buffer is not correct.\r\n")
            self._say(f"Expected {expected} items, but got {features.size}\r\n")
            return SHAPES_DONT_MATCH
        self._say(print_static(self._impulse.classify_features(model, features)))
        return 0


def _decode(piece: bytes) -> bytes:
    """Base64 as the firmware decodes it: up to the first other character."""
    found = re.match(rb"[A-Za-z0-9+/]*", piece)
    text = found.group() if found else b""
    text = text[: len(text) - (len(text) % 4 == 1)]
    return base64.b64decode(text + b"=" * (-len(text) % 4))
