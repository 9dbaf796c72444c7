"""What simulated boards are started with in tests: small real networks, and images for their cameras."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ei_automation.devices.sim.board import Image, Surroundings
from ei_automation.devices.sim.faults import Faults
from ei_automation.workflow.simulated_model import load_model
from tests.deployment.picture_models import LABELS as PICTURE_LABELS
from tests.deployment.picture_models import PictureModel, model_file
from tests.inference.tiny_models import int8_model

LABELS = ("dark", "left side", "red-ish")
SIDE = 8
RANDOM = np.random.default_rng(5)
CLASSIFIER = int8_model(
    (SIDE, SIDE, 3), RANDOM.integers(-90, 90, (3, SIDE * SIDE * 3)).astype(np.int8), scale=0.02
)
"""(8, 8, 3) to the scores of LABELS."""
IMAGES: tuple[Image, ...] = tuple(RANDOM.integers(0, 256, (4, 30, 40, 3), dtype=np.uint8))
"""(30, 40, 3) each."""


def surroundings(
    folder: Path,
    *faults: str,
    model: bytes | None = None,
    labels: tuple[str, ...] = (),
    images: tuple[Image, ...] = IMAGES,
    log: Callable[[str], None] = lambda _: None,
) -> Surroundings:
    """What a simulated board needs.

    Args:
        folder: Where it keeps its drive.
        faults: e.g. `nak=3`.
        model: Its network; none where None. CLASSIFIER is one.
        labels: Of the network.
        images: What its camera sees.
        log: Gets what happens to it.
    """
    return Surroundings(
        load_model,
        images,
        folder,
        Faults.parse(faults),
        model,
        labels,
        project="Simulated project",
        deploy_version=1,
        log=log,
    )


FOMO = model_file(PictureModel("fomo", (32, 32, 3)))
"""(32, 32, 3) to a grid of 4 by 4 with the scores of FOMO_LABELS."""
FOMO_LABELS = ("background", *PICTURE_LABELS)
