"""What Edge Impulse's firmware prints of an image, read line by line: five dialects, and that of static data.

| dialect | header | what follows |
|---|---|---|
| G1, to 2023 | `Predictions (DSP: 4 ms., Classification: 183 ms., Anomaly: 0 ms.): ` | `    label: 0.97000` |
| G2, SDK of March 2024 | the same | `#Classification results:`, `    label: 0.970000` |
| G3, SDK of February 2025 | `Predictions (DSP: 4.000000 ms., ..., Anomaly: 0ms.): ` | as G2 |
| G4, SDK 1.77 | `Timing: DSP 4 ms, inference 183 ms, ...` | `Classification predictions:`, `  label: 0.970000` |
| G5, SDK 1.83 | the same, with postprocessing | `#Classification predictions:`, `  label: 0.970000` |
| static data | `Timing: DSP 4.000 ms, ...` | `Predictions:`, `  label: 0.970000` |

Headers stand at the left edge, and what belongs to them is indented: a label may look like a header and is none.
Sources: `classifier/ei_run_classifier.h` and `classifier/ei_print_results.h` of the inferencing SDK,
`ei_device_lib.cpp` of the firmware SDK.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from enum import Enum, auto

from ei_automation.schema.inference_result import InferenceResult, ObjectBox, Timing

LONGEST_LINE = 4096
"""Characters. A longer line is the base64 of a preview, or garbage: it is dropped."""
PROMPT = "> "
NUMBER = r"-?[0-9]{1,12}(?:\.[0-9]{1,12})?(?:[eE][-+]?[0-9]{1,3})?"
"""What firmware prints of a float, save nan and inf, which are no scores."""
_PLACE = " \\[ x: ([0-9]{1,9}), y: ([0-9]{1,9}), width: ([0-9]{1,9}), height: ([0-9]{1,9}) \\]\\s*"
_VALUE = re.compile(NUMBER)
_TIME = re.compile(rf"(DSP|Classification|inference|[Aa]nomaly|postprocessing):? ({NUMBER}) ?(ms|us)(?=[.,]|\s*$)")
_BOX = re.compile(rf"(.+)() \(({NUMBER})\){_PLACE}")
_TRACE = re.compile(rf"(.+) \(ID (-?[0-9]{{1,9}})\)(?: \(({NUMBER})\))?{_PLACE}")
_ANOMALY = re.compile(rf"Anomaly prediction: ({NUMBER})\s*")
_SCORE = re.compile(rf"anomaly score: ({NUMBER})\s*")
_REGRESSION = re.compile(rf"#?Regression prediction: ({NUMBER})\s*")
_VISUAL = re.compile(rf"Visual anomaly (?:mean: |values: Mean )({NUMBER})(?:, max: | Max )({NUMBER})\s*")
_HEADERS = ("Predictions (DSP:", "Timing: DSP ")
_SINGLE = ("Anomaly prediction:", "Regression prediction:", "#Regression prediction:", "Visual anomaly ")
_ENDS = (
    "Taking photo", "Starting inferencing", "Inferencing ", "Begin output", "End output", "END OUTPUT", "RESULT ",
    "TRANSFER ", "Framebuffer:", "-----", "OK", "ERR", "Failed ",
)  # fmt: skip
"""How lines begin that firmware prints between results."""
_INVISIBLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
GARBLED = "\ufffd"
"""What decoding makes of bytes that are no text."""


class _Section(Enum):
    """What the indented lines are."""

    UNNAMED = auto()
    """G1 says nothing: classes or boxes."""
    CLASSES = auto()
    BOXES = auto()
    TRACES = auto()
    REGRESSION = auto()
    VISUAL = auto()
    OTHER = auto()
    """Nothing of a result."""


_SECTIONS = {
    "Classification results:": _Section.CLASSES,
    "Classification predictions:": _Section.CLASSES,
    "Predictions:": _Section.CLASSES,
    "Object detection results:": _Section.BOXES,
    "Object detection bounding boxes:": _Section.BOXES,
    "Object tracking results:": _Section.TRACES,
    "Regression results:": _Section.REGRESSION,
    "Visual anomaly grid results:": _Section.VISUAL,
    "Visual anomalies:": _Section.VISUAL,
}


class Lines:
    """Makes lines of text that comes in pieces, without colours and other control characters.

    Attributes:
        held: What has come of the line that is not whole yet.
    """

    def __init__(self) -> None:
        self.held = ""

    def feed(self, text: str) -> list[str]:
        """The lines that a piece makes whole; their ends, indentation and blanks at the end are kept as they were.

        Lines of more than LONGEST_LINE characters are dropped.
        """
        *whole, rest = (self.held + text).split("\n")
        self.held = rest[: LONGEST_LINE + 1]
        return [_visible(line) for line in whole if len(line) <= LONGEST_LINE]


class ResultParser:
    """Makes results of what comes over a serial line; how it is cut into pieces does not matter.

    A result is given once the line after it has come. One that cannot be trusted is not given: a number is garbled
    (or nan, or inf), a label comes twice.

    Attributes:
        refused: How many were not given.
    """

    def __init__(self) -> None:
        self.refused = 0
        self._lines, self._ready = Lines(), list[InferenceResult]()
        self._pending: _Pending | None = None

    def feed(self, text: str) -> list[InferenceResult]:
        """The results that are whole now.

        Args:
            text: What came; bytes that are no UTF-8 as U+FFFD.
        """
        for line in self._lines.feed(text):
            if line[:1] in (" ", "\t"):
                if self._pending is not None:
                    self._pending.take(line)
            elif line:
                self._at_left_edge(line)
        return self._taken()

    def end(self) -> list[InferenceResult]:
        """The result that waits for its end: nothing more comes, or nothing came for a while."""
        if self._pending is not None and self._lines.held.startswith((" ", "Anomaly", "Visual", "#")):
            self._pending.is_broken = True  # cut in the middle of it
        self._close()
        return self._taken()

    def _taken(self) -> list[InferenceResult]:
        ready, self._ready = self._ready, []
        return ready

    def _at_left_edge(self, line: str) -> None:
        """A line that is not indented."""
        while line.startswith(PROMPT):
            self._close()
            line = line[len(PROMPT) :]
        section = _SECTIONS.get(line.rstrip().removeprefix("#"))
        if line.startswith(_HEADERS):
            self._close()
            self._pending = _Pending(_timing(line), is_old=line.startswith(_HEADERS[0]))
        elif section is not None:
            self._for(section).section = section
        elif line.startswith(_ENDS):
            self._close()
        elif line.startswith(_SINGLE):
            self._single(line)
        elif self._pending is not None:
            self._pending.section = _Section.OTHER

    def _single(self, line: str) -> None:
        """A line that says all of it."""
        if found := _REGRESSION.fullmatch(line):
            self._for(_Section.REGRESSION).regression = _number(found[1])
        elif self._pending is None:
            return
        elif found := _ANOMALY.fullmatch(line):
            self._pending.anomaly = _number(found[1])
        elif found := _VISUAL.fullmatch(line):
            self._pending.visual_mean, self._pending.visual_max = _number(found[1]), _number(found[2])
        else:
            self._pending.is_broken = True

    def _for(self, section: _Section) -> _Pending:
        """The result that a section belongs to: a new one where this one has such a section already."""
        pending = self._pending
        if pending is None or not pending.begin(section):
            self._close()
            pending = self._pending = _Pending(Timing())
            pending.begin(section)
        return pending

    def _close(self) -> None:
        """The result that was read has ended."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        result = pending.result()
        if result is None:
            self.refused += 1
        else:
            self._ready.append(result)


@dataclass
class _Pending:
    """A result that is being read.

    Attributes:
        timing: Of its header.
        is_old: Whether that is one of G1 to G3.
        section: What indented lines are now.
        begun: The sections that it has.
        is_broken: Whether something of it could not be read.
        boxes: None until something says that it is about objects.
    """

    timing: Timing
    is_old: bool = False
    section: _Section = _Section.UNNAMED
    begun: set[_Section] = field(default_factory=set)
    is_broken: bool = False
    classification: dict[str, float] = field(default_factory=dict)
    boxes: list[ObjectBox] | None = None
    visual: list[ObjectBox] = field(default_factory=list)
    anomaly: float | None = None
    visual_mean: float | None = None
    visual_max: float | None = None
    regression: float | None = None

    def begin(self, section: _Section) -> bool:
        """A section begins; False where there was one of that kind, or lines without any."""
        if section in self.begun or (not self.begun and (self.classification or self.boxes is not None)):
            return False
        self.begun.add(section)
        if section in (_Section.BOXES, _Section.TRACES):
            self.boxes = []
        return True

    def take(self, line: str) -> None:
        """An indented line."""
        if self.section is _Section.OTHER:
            return
        # A label may itself begin with blanks.
        indent = 4 if self.is_old else 2
        content = line[indent:] if line[:indent].isspace() else line.lstrip()
        if GARBLED in content or not self._read(content):
            self.is_broken = True

    def result(self) -> InferenceResult | None:
        """What was read; None where it is nothing, or cannot be trusted."""
        is_empty = (
            not self.classification
            and self.boxes is None
            and self.anomaly is None
            and self.regression is None
            and self.visual_mean is None
        )
        if is_empty or self.is_broken:
            return None
        return InferenceResult(
            classification=self.classification,
            boxes=None if self.boxes is None else tuple(self.boxes),
            timing=self.timing,
            anomaly=self.anomaly,
            visual_anomaly_mean=self.visual_mean,
            visual_anomaly_max=self.visual_max,
            visual_anomalies=tuple(self.visual),
            regression=self.regression,
        )

    def _read(self, content: str) -> bool:
        """A line of the section, without indentation; whether it is one."""
        if self.section is _Section.CLASSES:
            return self._class(content)
        if self.section is _Section.UNNAMED:
            return self.is_old and self._unnamed(content)
        if self.section is _Section.REGRESSION:
            self.regression = _number(content.rpartition(": ")[2])
            return self.regression is not None
        if self.section is _Section.VISUAL:
            return _add_box(self.visual, content)
        return self._object(content)

    def _class(self, content: str) -> bool:
        label, _, value = content.rpartition(": ")
        score = _number(value)
        if not label or score is None or label in self.classification:
            return False
        self.classification[label] = score
        return True

    def _object(self, content: str) -> bool:
        if self.boxes is None:
            self.boxes = []
        if content.strip().lower() == "no objects found":
            return True
        return _add_box(self.boxes, content, traces=self.section is _Section.TRACES)

    def _unnamed(self, content: str) -> bool:
        """A line of G1."""
        if content.rstrip().endswith("]") or content.strip().lower() == "no objects found":
            return self._object(content)
        if found := _SCORE.fullmatch(content):
            self.anomaly = _number(found[1])
            return self.anomaly is not None
        return self._class(content)


def _visible(line: str) -> str:
    """A line as a terminal shows it."""
    line = line.rstrip("\r")
    if line.isprintable():
        return line
    return _INVISIBLE.sub("", line.rpartition("\r")[2])


def _number(text: str) -> float | None:
    """A float as firmware prints it; None where it is none, or not finite."""
    text = text.rstrip()
    value = float(text) if _VALUE.fullmatch(text) else math.nan
    return value if math.isfinite(value) else None


def _timing(header: str) -> Timing:
    """What a header says, in microseconds."""
    times: dict[str, float | None] = {}
    for name, text, unit in _TIME.findall(header):
        value = _number(text)
        times[name.lower()] = None if value is None else value * (1000 if unit == "ms" else 1)
    return Timing(
        dsp_us=times.get("dsp"),
        inference_us=times.get("inference", times.get("classification")),
        anomaly_us=times.get("anomaly"),
        postprocessing_us=times.get("postprocessing"),
    )


def _add_box(boxes: list[ObjectBox], content: str, *, traces: bool = False) -> bool:
    """Read a box; whether it is one."""
    found = (_TRACE.fullmatch(content) if traces else None) or _BOX.fullmatch(content)
    if found is None:
        return False
    label, track, score, *place = found.groups()
    value = None if score is None else _number(score)
    if score is not None and value is None:
        return False
    x, y, width, height = map(int, place)
    boxes.append(ObjectBox(label, value, x, y, width, height, track=int(track) if track else None))
    return True
