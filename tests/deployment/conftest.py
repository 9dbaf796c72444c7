from __future__ import annotations

import numpy as np
import pytest

from ei_automation.deployment.contents import BuildContents, DatasetSummary
from ei_automation.inference.metrics import classification_metrics
from ei_automation.schema.metrics import VARIANTS
from tests.inference.tiny_models import float_model, int8_model

SHAPE = (6, 8, 3)
LABELS = ("no person", "person", "dög")


@pytest.fixture
def contents() -> BuildContents:
    random = np.random.default_rng(3)
    weights = random.integers(-127, 128, (3, 144)).astype(np.int8)
    scores = random.dirichlet((1, 1, 1), 20)
    metrics = tuple(
        classification_metrics(
            scores,
            [index % 3 for index in range(20)],
            LABELS,
            variant=variant,
            category=category,
            minimum_confidence=0.6,
        )
        for variant in VARIANTS
        for category in ("validation", "testing")
    )
    return BuildContents(
        project="watch-dog",
        description="Says who is at the door.",
        labels=LABELS,
        models={"float32": float_model(SHAPE, weights * np.float32(0.05)), "int8": int8_model(SHAPE, weights)},
        input_shape=SHAPE,
        resize_mode="fit-short",
        channels="RGB",
        dataset=DatasetSummary(
            origin="kaggle someone/doors version 2",
            split_method="group, 20 % testing, seed 3",
            counts={"training": {"person": 40, "no person": 38, "dög": 7}, "testing": {"person": 20}},
            findings=("2 samples are alike across labels.",),
        ),
        weights_source="pretrained",
        metrics=metrics,
        parameters={"training_cycles": 20, "learn_block": {"type": "keras"}},
        assumptions=("The seed is not stated: 3 was taken.",),
        boards=("OpenMV Cam H7 Plus",),
        published_title="Door | watcher",
        published_url="https://example.org/door",
    )
