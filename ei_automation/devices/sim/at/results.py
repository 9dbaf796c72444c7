"""How Edge Impulse's firmware prints a result: the five dialects of its releases, and that of static data.

Formats: `display_results` of the inferencing SDK's `classifier/ei_run_classifier.h` (G1 to G3), its
`classifier/ei_print_results.h` (G4, G5), and `ei_device_lib.cpp` of the firmware SDK (static data).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ei_automation.schema.inference_result import InferenceResult, ObjectBox, Timing

Dialect = Literal["G1", "G2", "G3", "G4", "G5"]
"""G1: to 2023. G2: SDK of March 2024. G3: SDK of February 2025. G4: SDK 1.77. G5: SDK 1.83 and later."""
FOMO_THRESHOLD = 0.5
"""What a cell's score must reach to count as an object; the default of Studio's FOMO blocks."""


@dataclass
class _Cube:
    """Cells of one label that touch."""

    label: str
    score: float
    left: int
    top: int
    right: int
    bottom: int

    def takes(self, x: int, y: int, score: float) -> bool:
        """Grow by a cell that touches; whether it does."""
        if self.right < x or self.bottom < y or self.left > x + 1 or self.top > y + 1:
            return False
        self.left, self.top = min(self.left, x), min(self.top, y)
        self.right, self.bottom = max(self.right, x + 1), max(self.bottom, y + 1)
        self.score = max(self.score, score)
        return True


def fomo_boxes(
    scores: NDArray[np.float32], labels: Sequence[str], input_width: int, threshold: float = FOMO_THRESHOLD
) -> tuple[ObjectBox, ...]:
    """The objects that FOMO's grid shows: cells of one label that touch are one.

    Args:
        scores: float32, (rows, columns, classes), 0..1, background first.
        labels: Of the classes without background.
        input_width: Of the network, pixels.
        threshold: 0..1.
    """
    cubes: list[_Cube] = []
    for y, x, each in np.argwhere(scores[:, :, 1:] >= threshold).tolist():
        score, label = float(scores[y, x, each + 1]), labels[each]
        if not any(cube.takes(x, y, score) for cube in cubes if cube.label == label):
            cubes.append(_Cube(label, score, x, y, x + 1, y + 1))
    side = input_width // scores.shape[1]
    return tuple(
        ObjectBox(
            cube.label,
            cube.score,
            cube.left * side,
            cube.top * side,
            (cube.right - cube.left) * side,
            (cube.bottom - cube.top) * side,
        )
        for cube in cubes
    )


def print_result(result: InferenceResult, dialect: Dialect) -> str:
    """The lines that firmware prints for a result."""
    if dialect in ("G4", "G5"):
        return "".join(_new_lines(result, "#" if dialect == "G5" else ""))
    return "".join(_old_lines(result, dialect))


def print_static(result: InferenceResult) -> str:
    """The lines that firmware prints for static data."""
    timing = result.timing
    lines = [
        f"Timing: DSP {_ms(timing.dsp_us):.3f} ms, inference {_ms(timing.inference_us):.3f} ms, "
        f"anomaly {_ms(timing.anomaly_us):.3f} ms"
    ]
    if result.boxes is not None:
        lines += ["Object detection bounding boxes:", *(f"  {_box(box)}" for box in result.boxes)]
    else:
        lines += ["Predictions:", *(f"  {label}: {score:.6f}" for label, score in result.classification.items())]
    if result.anomaly is not None:
        lines.append(f"Anomaly prediction: {result.anomaly:.6f}")
    return "".join(f"{line}\r\n" for line in lines)


def _ms(microseconds: float | None) -> float:
    return (microseconds or 0.0) / 1000


def _box(box: ObjectBox) -> str:
    """A box without its indentation."""
    track = "" if box.track is None else f" (ID {box.track})"
    score = "" if box.score is None else f" ({box.score:.6f})"
    return f"{box.label}{track}{score} [ x: {box.x}, y: {box.y}, width: {box.width}, height: {box.height} ]"


def _boxes(boxes: Iterable[ObjectBox], indent: str) -> list[str]:
    return [f"{indent}{_box(box)}\n" for box in boxes]


# G1 to G3


def _old_lines(result: InferenceResult, dialect: Dialect) -> list[str]:
    lines = [_old_header(result.timing, dialect)]
    named = dialect != "G1"
    if result.boxes is not None:
        lines += ["#Object detection results:\r\n"] * named
        lines += _boxes(result.boxes, "    ") or ["    No objects found\n"]
    elif result.regression is not None:
        lines += ["#Regression results:\r\n"] * named + [f"    value: {result.regression:.6f}\n"]
    elif result.classification:
        lines += ["#Classification results:\r\n"] * named
        digits = 6 if named else 5
        lines += [f"    {label}: {score:.{digits}f}\n" for label, score in result.classification.items()]
    return lines + _old_anomaly(result, named)


def _old_header(timing: Timing, dialect: Dialect) -> str:
    dsp, inference, anomaly = _ms(timing.dsp_us), _ms(timing.inference_us), _ms(timing.anomaly_us)
    if dialect == "G3":
        last = f"{anomaly:f}" if anomaly else "0"
        return f"Predictions (DSP: {dsp:f} ms., Classification: {inference:f} ms., Anomaly: {last}ms.): \n"
    return (
        f"Predictions (DSP: {int(dsp)} ms., Classification: {int(inference)} ms., Anomaly: {int(anomaly)} ms.): \n"
    )


def _old_anomaly(result: InferenceResult, named: bool) -> list[str]:
    lines = []
    if result.visual_anomaly_mean is not None:
        lines += ["#Visual anomaly grid results:\r\n", *_boxes(result.visual_anomalies, "    ")]
        lines.append(
            f"Visual anomaly values: Mean {result.visual_anomaly_mean:.6f} "
            f"Max {result.visual_anomaly_max or 0:.6f}\r\n"
        )
    if result.anomaly is not None:
        lines.append(
            f"Anomaly prediction: {result.anomaly:.3f}\r\n"
            if named
            else f"    anomaly score: {result.anomaly:.3f}\n"
        )
    return lines


# G4 and G5


def _new_lines(result: InferenceResult, mark: str) -> list[str]:
    lines = [_new_header(result.timing)]
    if result.boxes is not None and any(box.track is not None for box in result.boxes):
        lines += [f"{mark}Object tracking results:\n", *_boxes(result.boxes, "  ")]
    elif result.boxes is not None:
        lines += [f"{mark}Object detection bounding boxes:\n", *_boxes(result.boxes, "  ")]
    elif result.regression is not None:
        lines.append(f"{mark}Regression prediction: {result.regression:.6f}\n")
    elif result.classification:
        lines.append(f"{mark}Classification predictions:\n")
        lines += [f"  {label}: {score:.6f}\n" for label, score in result.classification.items()]
    if result.visual_anomaly_mean is not None:
        lines += [f"{mark}Visual anomalies:\n", *_boxes(result.visual_anomalies, "  ")]
        lines.append(
            f"Visual anomaly mean: {result.visual_anomaly_mean:.6f}, max: {result.visual_anomaly_max or 0:.6f}\n"
        )
    if result.anomaly is not None:
        lines.append(f"Anomaly prediction: {result.anomaly:.6f}\n")
    return lines


def _new_header(timing: Timing) -> str:
    parts = [
        f"DSP {_time(timing.dsp_us)}",
        f"inference {_time(timing.inference_us)}",
        f"anomaly {_time(timing.anomaly_us)}",
    ]
    if timing.postprocessing_us:
        parts.append(f"postprocessing {_time(timing.postprocessing_us)}")
    return f"Timing: {', '.join(parts)}\n"


def _time(microseconds: float | None) -> str:
    """Milliseconds, or microseconds where it took less than one."""
    whole = int(microseconds or 0)
    return f"{whole} us" if 0 < whole < 1000 else f"{whole // 1000} ms"
