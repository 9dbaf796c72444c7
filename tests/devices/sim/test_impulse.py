from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ei_automation.devices.sim.impulse import SimulatedImpulse
from tests.devices.surroundings import CLASSIFIER, FOMO, FOMO_LABELS, IMAGES, LABELS, surroundings


def test_photos_come_in_turn(tmp_path: Path) -> None:
    impulse = SimulatedImpulse(surroundings(tmp_path))
    assert all(np.array_equal(impulse.photo(), image) for image in (*IMAGES, *IMAGES))
    assert impulse.model is None


@pytest.mark.parametrize(
    ("labels", "expected"),
    [(LABELS, list(LABELS)), ((), ["0", "1", "2"]), (("a",), ["a", "1", "2"]), (tuple("abcd"), ["a", "b", "c"])],
)
def test_every_output_has_a_label(tmp_path: Path, labels: tuple[str, ...], expected: list[str]) -> None:
    impulse = SimulatedImpulse(surroundings(tmp_path, model=CLASSIFIER, labels=labels))
    assert impulse.model is not None
    assert list(impulse.classify(impulse.model, IMAGES[0]).classification) == expected
    assert impulse.kind(impulse.model) == ("classification", 3)


@pytest.mark.parametrize("labels", [FOMO_LABELS, FOMO_LABELS[1:]], ids=["with background", "without"])
def test_fomo_labels_with_and_without_background(tmp_path: Path, labels: tuple[str, ...]) -> None:
    impulse = SimulatedImpulse(surroundings(tmp_path, model=FOMO, labels=labels))
    assert impulse.model is not None
    assert impulse.kind(impulse.model) == ("constrained_object_detection", len(FOMO_LABELS) - 1)
    boxes = [impulse.classify(impulse.model, image).boxes for image in IMAGES]
    assert {box.label for found in boxes if found for box in found} <= set(FOMO_LABELS[1:])


def test_a_network_that_is_none_is_logged(tmp_path: Path) -> None:
    lines: list[str] = []
    assert SimulatedImpulse(surroundings(tmp_path, model=b"none", log=lines.append)).model is None
    assert "cannot be run" in lines[0]
