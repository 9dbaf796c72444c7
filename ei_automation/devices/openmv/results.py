"""What a script on an OpenMV camera prints, read as results.

All three generations of Studio's scripts, and ours: one `label = score` line for each label, or for each kind of
object a line `********** label **********` and its centres; then, in most of them, `12.5 fps`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from ei_automation.devices.openmv.camera import TRACEBACK
from ei_automation.schema.inference_result import InferenceResult, ObjectBox

NUMBER = r"[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?"
SCORE = re.compile(rf"(?P<label>.+) = (?P<score>{NUMBER})")
"""The label is everything before the last ` = `: it may hold one itself."""
KIND = re.compile(r"\*{10} (?P<label>.+) \*{10}")
CENTRE = re.compile(rf"x (?P<x>[0-9]+)\ty (?P<y>[0-9]+)(?:\tscore (?P<score>{NUMBER}))?")
WINDOW = re.compile(r"Predictions at \[x=\d+,y=\d+,w=\d+,h=\d+\]")
RATE = re.compile(rf"(?P<fps>{NUMBER}) fps")
LARGEST_SCORE = 1.001
"""A line with a higher number is no score: a script may print other things in the same form."""
LONGEST_LINE = 1000


class ScriptResultParser:
    """Reads results from text as it comes, however it is cut.

    A result is given when the line with the rate ends it, or when something comes that belongs to the next one.
    What belongs to no result is skipped: banners, tracebacks, a script's own words.

    Args:
        labels: Of the network. With them, lines of other labels are skipped, and a classification that lacks some
            is dropped: the camera lost a part of it because it was read too seldom. Without them all counts.
    """

    def __init__(self, labels: Sequence[str] = ()) -> None:
        self._labels = frozenset(label.strip() for label in labels)
        self._rest = ""
        self._scores: dict[str, float] = {}
        self._most = 0  # scores of one result so far
        self._boxes: list[ObjectBox] = []
        self._kinds: list[str] = []  # those of the result that is being read
        self._is_classifier, self._has_rate = False, False
        self._done: list[InferenceResult] = []

    def feed(self, text: str) -> list[InferenceResult]:
        """Results that are whole now.

        Args:
            text: What came, from any place to any other.
        """
        *lines, self._rest = re.split(r"[\r\n]", self._rest + text)
        self._rest = self._rest[: LONGEST_LINE + 1]  # so that it stays too long
        for line in lines:
            self._line(line)
        return self._taken()

    def end(self) -> list[InferenceResult]:
        """The result that was being read, where it is as large as those before; nothing more comes."""
        self._line(self._rest)
        self._rest = ""
        self._cut()
        return self._taken()

    def _taken(self) -> list[InferenceResult]:
        done, self._done = self._done, []
        return done

    def _line(self, line: str) -> None:
        """One line, without its end."""
        if len(line) > LONGEST_LINE:
            return
        line = line.strip(" ")
        if found := RATE.fullmatch(line):
            self._has_rate = True
            self._finish(_finite(found["fps"]))
        elif found := KIND.fullmatch(line):
            self._kind(found["label"])
        elif found := CENTRE.fullmatch(line):
            self._centre(found)
        elif WINDOW.fullmatch(line):
            self._finish(None)
        elif line == TRACEBACK:
            self._cut()
        elif found := SCORE.fullmatch(line):
            self._score(found["label"], float(found["score"]))

    def _score(self, label: str, score: float) -> None:
        if score > LARGEST_SCORE or (self._labels and label not in self._labels):
            return
        if label in self._scores or self._kinds:  # the next picture
            self._finish(None)
        self._is_classifier = True
        self._scores[label] = score

    def _kind(self, label: str) -> None:
        if label in self._kinds or self._scores:
            self._finish(None)
        self._is_classifier = False
        self._kinds.append(label)

    def _centre(self, found: re.Match[str]) -> None:
        if self._kinds:
            score = None if found["score"] is None else _finite(found["score"])
            self._boxes.append(ObjectBox(self._kinds[-1], score, int(found["x"]), int(found["y"]), 0, 0))

    def _finish(self, fps: float | None) -> None:
        """The result that was being read is whole."""
        is_whole = not self._labels or self._labels <= set(self._scores)
        if self._scores and is_whole:
            self._done.append(InferenceResult(self._scores, fps=fps))
            self._most = max(self._most, len(self._scores))
        # A rate alone is a picture without objects, but never of a script that has printed scores before.
        elif self._kinds or (fps is not None and not self._scores and not self._is_classifier):
            self._done.append(InferenceResult(boxes=tuple(self._boxes), fps=fps))
        self._forget()

    def _cut(self) -> None:
        """The script was stopped, maybe in the middle of a result: that one is given only where it looks whole."""
        if (self._kinds and not self._has_rate) or len(self._scores) >= max(1, self._most):
            self._finish(None)
        self._forget()

    def _forget(self) -> None:
        self._scores, self._boxes, self._kinds = {}, [], []


def _finite(text: str) -> float | None:
    """A number; None where it is too large to be one, which JSON could not hold."""
    value = float(text)
    return value if math.isfinite(value) else None
