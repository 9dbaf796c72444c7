"""AT+RUNIMPULSESTATIC: the firmware classifies features that the host sends, in base64, piece by piece.

Format: `run_impulse_static_data` in `ei_device_lib.cpp` of Edge Impulse's firmware SDK.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ei_automation.devices.at.line import ANSWER_HINT, AtLine
from ei_automation.devices.at.results import Lines, ResultParser
from ei_automation.devices.transport import Deadline
from ei_automation.schema.inference_result import InferenceResult

PIECE_S = 3.0
"""By when the firmware must have taken a piece."""
STARTED = re.compile(rb"OK CHUNK=([0-9]{1,5})\r?\n")
TAKEN = re.compile(rb"OK ([0-9]{1,9}) *\r?\n")
END = b"END OUTPUT"


def run_static(line: AtLine, features: NDArray[np.float32], deadline: Deadline, *, debug: bool) -> InferenceResult:
    """Classify features on the board; see `AtConsole.run_static`."""
    doing, sent = f"sending {features.size} features", 0
    line.send_command(f"AT+RUNIMPULSESTATIC={'y' if debug else 'n'},{features.size}")
    chunk = int(line.wait_for(STARTED, deadline, doing)[1])
    if chunk < 8:
        raise line.error(f"{doing}: it takes pieces of {chunk} characters, which hold no feature")
    for piece in _pieces(features, chunk):
        line.port.write(piece)  # at once: the firmware reads nothing else now, and gives a piece 0.1 s
        taken = line.wait_for(TAKEN, deadline.within(PIECE_S), f"{doing}, after {sent}")
        sent = int(taken[1])
    return _result(line, features.size, deadline)


def _pieces(features: NDArray[np.float32], chunk: int) -> Iterator[bytes]:
    """Base64 in pieces of so many characters, each of whole floats, filled up with `=`, which ends the decoding.

    Args:
        features: float32, (N,).
        chunk: Characters of a piece, 8 or more.
    """
    size = chunk // 4 * 3 // 4 * 4
    content = features.astype("<f4").tobytes()
    for start in range(0, len(content), size):
        yield base64.b64encode(content[start : start + size]).ljust(chunk, b"=")


def _result(line: AtLine, size: int, deadline: Deadline) -> InferenceResult:
    """What the firmware prints once it has all features."""
    doing = f"classifying {size} features"
    came = line.port.read_until(END, deadline=deadline, doing=doing, hint=ANSWER_HINT)
    text = came.decode(errors="replace")
    wrong = re.search(r"Expected ([0-9]+) items, but got ([0-9]+)", text)
    if wrong:
        raise line.error(
            f"the network takes {wrong[1]} features, {wrong[2]} were sent",
            "send images of the size that the firmware was built for, or flash this project's firmware",
        )
    line.raise_trouble(Lines().feed(text), doing)
    parser = ResultParser()
    results = [*parser.feed(text), *parser.end()]
    code = re.search(r"^RESULT (-?[0-9]+)", text, re.MULTILINE)
    if code is None or code[1] != "0" or len(results) != 1:
        said = f"code {code[1]}" if code else "no code"
        raise line.error(
            f"{doing}: the firmware gives {said} and {len(results)} results",
            "it may hold no model: put one onto the board with `eiauto flash`",
        )
    return results[0]
