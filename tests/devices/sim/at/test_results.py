from __future__ import annotations

import numpy as np

from ei_automation.devices.sim.at.results import fomo_boxes, print_result
from ei_automation.schema.inference_result import InferenceResult, ObjectBox, Timing

TIMES = Timing(4000.0, 183_000.0, 0.0)


def grid(*cells: tuple[int, int, int, float]) -> np.ndarray:
    """A grid of 6 by 6 with two labels: (row, column, label, score)."""
    scores = np.zeros((6, 6, 3), np.float32)
    for row, column, label, score in cells:
        scores[row, column, label + 1] = score
    return scores


def test_cells_that_touch_are_one_object() -> None:
    boxes = fomo_boxes(grid((0, 1, 0, 0.5), (0, 2, 0, 0.75), (1, 2, 0, 0.625)), ["a", "b"], 48)
    assert boxes == (ObjectBox("a", 0.75, 8, 0, 16, 16),)


def test_other_labels_cells_apart_and_low_scores() -> None:
    boxes = fomo_boxes(
        grid((0, 0, 0, 0.5), (0, 0, 1, 0.5), (4, 4, 0, 1.0), (2, 2, 1, 0.49), (1, 1, 1, 0.5)), ["a", "b"], 48
    )
    assert boxes == (
        ObjectBox("a", 0.5, 0, 0, 8, 8),
        ObjectBox("b", 0.5, 0, 0, 16, 16),
        ObjectBox("a", 1.0, 32, 32, 8, 8),
    )
    assert fomo_boxes(grid(), ["a", "b"], 48) == ()


def test_lines_of_each_dialect() -> None:
    result = InferenceResult({"wbc": 0.97}, timing=TIMES, anomaly=0.125)
    header = "Predictions (DSP: 4 ms., Classification: 183 ms., Anomaly: 0 ms.): \n"
    assert print_result(result, "G1") == f"{header}    wbc: 0.97000\n    anomaly score: 0.125\n"
    assert print_result(result, "G2") == (
        f"{header}#Classification results:\r\n    wbc: 0.970000\nAnomaly prediction: 0.125\r\n"
    )
    assert print_result(result, "G3").startswith(
        "Predictions (DSP: 4.000000 ms., Classification: 183.000000 ms., Anomaly: 0ms.): \n#Classification "
    )
    for mark, dialect in (("", "G4"), ("#", "G5")):
        assert print_result(result, dialect) == (  # type: ignore[arg-type]
            "Timing: DSP 4 ms, inference 183 ms, anomaly 0 ms\n"
            f"{mark}Classification predictions:\n  wbc: 0.970000\nAnomaly prediction: 0.125000\n"
        )
