"""What a simulated OpenMV camera does with a script: it reads which of Edge Impulse's it is, and does the same.

There is no MicroPython here. A script tells by its calls which generation it is of; the network is loaded from the
drive or taken from the firmware, classifies what the simulated camera sees, and is printed as that script prints.
Errors are those of the firmware: their words come from py_tf.c, py_ml.c, sensor_utils.c and omv_csi.c.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ei_automation.devices.sim.board import SimulatedModel, Surroundings
from ei_automation.errors import EiautoError

ML_FIRMWARE = (4, 5, 6)
"""The first with `ml`; its `tf` is the same module under the old name, without `load` and `classify`."""
MISSING = "[Errno 2] ENOENT"
NO_SENSOR = "Failed to detect the image sensor or image sensor is detached."
BAD_MODEL = "ValueError: Failed to allocate tensors"
NOT_OURS = "RuntimeError: the simulated camera runs Edge Impulse's scripts only"
STUDIO_COPY = (
    'Exception: Failed to load "{}", did you copy the .tflite and labels.txt file '
    "onto the mass-storage device? ({})"
)
"""What Studio's scripts make of any error while they load a file."""
WINDOW = (240, 240)
BUILT_IN = ("trained", "/rom/trained.tflite")
CALLS = re.compile(r"\b(tf|ml)\s*\.\s*(load_builtin_model|load|classify|Model)\s*\(")
PLAIN = (ast.Import, ast.ImportFrom, ast.Pass)


class ScriptFailure(Exception):  # noqa: N818 - what MicroPython prints, no error of ours
    """A script ends with an exception of its own.

    Args:
        reason: The last line of its traceback.
        at: A piece of the line that it happened in.
    """

    def __init__(self, reason: str, at: str = "") -> None:
        super().__init__(reason)
        self.reason, self.at = reason, at

    def traceback(self, script: str) -> str:
        """As MicroPython prints it."""
        lines = script.splitlines()
        number = next((place for place, line in enumerate(lines, 1) if self.at and self.at in line), 1)
        where = f'  File "<stdin>", line {number}, in <module>\r\n'
        return f"Traceback (most recent call last):\r\n{where}{self.reason}\r\n"


@dataclass(frozen=True)
class EdgeImpulseScript:
    """What a script of Edge Impulse's, or of ours, does.

    Attributes:
        api: The module that it uses.
        call: Its first call of that module, e.g. `tf.load`.
        model: Name of the network's file; empty for the one in the firmware.
        labels: Name of the labels' file; empty where they come with the firmware's network.
        is_detector: Whether the network finds objects.
        is_studio: Whether Studio wrote it; ours checks more and says other things.
        prints_window: Whether it names the window before the scores, as those to 2022 do.
        prints_score: Whether it prints the score of an object, as those from 2024 do.
        confidence: From which score on an object counts, 0..1.
        window: What of the picture is looked at, pixels.
        fps_end: What follows `12.5 fps`; None where that is not printed.
    """

    api: Literal["tf", "ml"]
    call: str
    model: str
    labels: str
    is_detector: bool
    is_studio: bool
    prints_window: bool
    prints_score: bool
    confidence: float
    window: tuple[int, int]
    fps_end: str | None


def read_script(text: str) -> EdgeImpulseScript | None:
    """What kind of script this is; None where it loads no network."""
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    calls = CALLS.findall(code)
    if not calls:
        return None
    builtin = re.search(r"""(?:load_builtin_model|\bModel)\s*\(\s*["']([^"']*)["']""", code)
    is_builtin = builtin is not None and (builtin[1] in BUILT_IN or "." not in builtin[1])
    confidence = re.search(r"min_confidence\s*=\s*([0-9.]+)", code)
    window = re.search(r"set_windowing\(\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)", code)
    fps = re.search(r"print\(clock\.fps\(\), *\"fps\"(.*)\)", code)
    return EdgeImpulseScript(
        api="ml" if calls[0][0] == "ml" else "tf",
        call=".".join(calls[0]),
        model="" if is_builtin else _first(r"""["']([^"'\n]+\.tflite)["']""", code, "trained.tflite"),
        labels="" if is_builtin and calls[0][0] == "tf" else _first(r"""["']([^"'\n]+\.txt)["']""", code, ""),
        is_detector=bool(re.search(r"\.detect\(|callback\s*=|postprocess\s*=", code)),
        is_studio="did you copy" in code or not re.search(r"^def load_model", code, re.MULTILINE),
        prints_window="Predictions at [x=" in code,
        prints_score=r"\tscore" in code,
        confidence=float(confidence[1]) if confidence else 0.5,
        window=(int(window[1]), int(window[2])) if window else WINDOW,
        fps_end=("\r\n\r\n" if r"\n\n" in fps[1] else "\r\n") if fps else None,
    )


@dataclass(frozen=True)
class ScriptMachine:
    """What runs scripts.

    Attributes:
        around: What the camera sees, the network of its firmware, faults.
        firmware_version: (major, minor, patch).
        drive: Folder with the files that scripts load.
        image_s: What one picture takes; for the rate that scripts print.
    """

    around: Surroundings
    firmware_version: tuple[int, int, int]
    drive: Path
    image_s: float

    def run(self, text: str) -> Iterator[str]:
        """What a script prints, one picture at a time; endless for one that classifies.

        Raises:
            ScriptFailure: It ends with an exception.
        """
        script = read_script(text)
        if script is None:
            yield from self._plain(text)
            return
        model, labels = self._start(script)
        for image in cycle(self.around.images):
            scores = model.run(image)
            yield self._print(script, scores, labels)

    def _plain(self, text: str) -> Iterator[str]:
        """A script that only prints constant text."""
        try:
            statements = ast.parse(text).body
        except (SyntaxError, ValueError) as error:
            raise ScriptFailure("SyntaxError: invalid syntax") from error
        for statement in statements:
            words = _printed(statement)
            if words is None and not isinstance(statement, PLAIN):
                raise ScriptFailure(NOT_OURS, text.splitlines()[statement.lineno - 1])
            if words is not None:
                yield words

    def _start(self, script: EdgeImpulseScript) -> tuple[SimulatedModel, list[str]]:
        """Import, start the camera, load: in the order of the script."""
        if script.api == "ml" and self.firmware_version < ML_FIRMWARE:
            raise ScriptFailure("ImportError: no module named 'ml'", "import")
        if script.is_studio:
            self._start_camera()
            model = self._load_model(script)
            return model, self._load_labels(script, model)
        labels = self._load_labels(script, None)
        model = self._load_model(script)
        self._start_camera()
        return model, labels

    def _start_camera(self) -> None:
        if "no-camera" in self.around.faults:
            raise ScriptFailure(f"RuntimeError: {NO_SENSOR}", "sensor.reset()")

    def _load_model(self, script: EdgeImpulseScript) -> SimulatedModel:
        method = script.call.partition(".")[2]
        content = self._content(script.model) if script.model else self.around.model
        if content is None:
            raise _failure(script, script.model or "trained", f"OSError: {MISSING}")
        if script.api == "tf" and self.firmware_version >= ML_FIRMWARE:
            raise _failure(script, script.model, f"AttributeError: 'module' object has no attribute '{method}'")
        try:
            return self.around.load_model(content)
        except EiautoError as error:
            raise _failure(script, script.model, BAD_MODEL) from error

    def _load_labels(self, script: EdgeImpulseScript, model: SimulatedModel | None) -> list[str]:
        content = self._content(script.labels) if script.labels else None
        if content is not None:
            lines = content.decode("utf-8", "replace").splitlines()
            return lines if script.is_studio else [line for line in lines if line]
        if script.labels and script.is_studio:
            raise _failure(script, script.labels, f"OSError: {MISSING}")
        if script.labels:
            reason = f"Exception: {script.labels} cannot be read ({MISSING}); copy it onto the camera's drive"
            raise ScriptFailure(reason, "cannot be read")
        del model
        return list(self.around.labels)

    def _content(self, name: str) -> bytes | None:
        path = self.drive / Path(name).name
        return path.read_bytes() if path.is_file() else None

    def _print(self, script: EdgeImpulseScript, scores: NDArray[np.float32], labels: list[str]) -> str:
        """What a script prints of one picture."""
        if script.is_detector:
            text = _objects(script, scores, labels)
        else:
            text = _classes(script, scores.reshape(-1), labels)
        if script.fps_end is not None:
            text += f"{_number(1 / self.image_s if self.image_s else 1000.0)} fps{script.fps_end}"
        return text


def _classes(script: EdgeImpulseScript, scores: NDArray[np.float32], labels: list[str]) -> str:
    if not script.is_studio and len(scores) != len(labels):
        raise ScriptFailure(
            f"Exception: {script.model} gives {len(scores)} scores but {script.labels} has {len(labels)} labels; "
            "copy both from the same build",
            "scores but",
        )
    width, height = script.window
    head = f"**********\r\nPredictions at [x=0,y=0,w={width},h={height}]\r\n" if script.prints_window else ""
    # zip() as the scripts do: labels without scores, and scores without labels, are not printed.
    return head + "".join(f"{label} = {score:f}\r\n" for label, score in zip(labels, scores, strict=False))


def _objects(script: EdgeImpulseScript, scores: NDArray[np.float32], labels: list[str]) -> str:
    """The centres of objects; the first label is the background."""
    if scores.ndim != 3 or len(labels) < scores.shape[-1]:
        raise ScriptFailure("IndexError: list index out of range", "labels[i]")
    rows, columns, classes = scores.shape
    text = ""
    for number in range(1, classes):
        found = list(_blobs(scores[:, :, number], script.confidence))
        text += f"********** {labels[number]} **********\r\n" if found else ""
        for x, y, width, height in found:
            scale = min(script.window[0] / columns, script.window[1] / rows)
            centre_x, centre_y = int((x + width / 2) * scale), int((y + height / 2) * scale)
            score = float(scores[y : y + height, x : x + width, number].mean())
            tail = f"\tscore {_number(score)}" if script.prints_score else ""
            text += f"x {centre_x}\ty {centre_y}{tail}\r\n"
    return text


def _blobs(scores: NDArray[np.float32], threshold: float) -> Iterator[tuple[int, int, int, int]]:
    """Rectangles around cells that touch and reach the threshold, as `find_blobs` gives: x, y, width, height."""
    left = {(int(row), int(column)) for row, column in np.argwhere(scores >= threshold)}
    while left:
        blob, border = set(), [min(left)]
        while border:
            row, column = border.pop()
            if (row, column) in left:
                left.remove((row, column))
                blob.add((row, column))
                border += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
        rows, columns = [row for row, _ in blob], [column for _, column in blob]
        yield min(columns), min(rows), max(columns) - min(columns) + 1, max(rows) - min(rows) + 1


def _failure(script: EdgeImpulseScript, name: str, error: str) -> ScriptFailure:
    """An error while a file is loaded, in the words of the script that catches it."""
    reason = error.partition(": ")[2]
    if script.is_studio:
        # Those to 2021 catch nothing, nor do those of the firmware deployment add a word.
        is_caught = script.call != "tf.classify" and script.model
        return ScriptFailure(STUDIO_COPY.format(name, reason) if is_caught else error, script.call)
    if reason == MISSING:
        return ScriptFailure(
            f"Exception: {name} is not there ({reason}); copy it onto the camera's drive", "not there"
        )
    return ScriptFailure(f"Exception: {name} cannot be loaded: {reason}", script.call)


def _printed(statement: ast.stmt) -> str | None:
    """What `print` of constants prints, or a text that stands alone; None for any other statement."""
    if not isinstance(statement, ast.Expr):
        return None
    call = statement.value
    if isinstance(call, ast.Constant):
        return ""
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "print":
        return None
    if call.keywords or not all(isinstance(word, ast.Constant) for word in call.args):
        return None
    return " ".join(str(word.value) for word in call.args if isinstance(word, ast.Constant)) + "\r\n"


def _number(value: float) -> str:
    """A number as MicroPython prints it: single precision."""
    return repr(float(f"{value:.7g}"))


def _first(pattern: str, code: str, otherwise: str) -> str:
    found = re.search(pattern, code)
    return found[1] if found else otherwise
