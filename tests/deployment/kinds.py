"""Small contents of every kind that compiled deployments may hold."""

from __future__ import annotations

import numpy as np

from ei_automation.deployment.contents import BuildContents, DatasetSummary
from ei_automation.schema.metrics import ModelVariant
from tests.compiler.filters import Conv, FullyConnected, Window
from tests.compiler.layers import Unary
from tests.compiler.networks import Network

LABELS = ("no person", "a: person", 'dög "x" ??/')
STUDIO = {"scale": 1 / 255, "zero_point": -128}
STRIDES = Window(stride=(2, 2))
CLASSIFIER = (Conv(6, window=STRIDES, activation="relu6"), FullyConnected(3), Unary("SOFTMAX"))
DETECTOR = (Conv(6, window=STRIDES, activation="relu6"), Conv(3, window=Window((1, 1))), Unary("SOFTMAX"))
MODELS: dict[str, tuple[ModelVariant, Network]] = {
    "int8": ("int8", Network((12, 10, 3), CLASSIFIER, **STUDIO)),
    "gray": ("int8", Network((12, 10, 1), CLASSIFIER, **STUDIO)),
    "other-scale": ("int8", Network((12, 10, 3), CLASSIFIER, scale=0.01, zero_point=-100)),
    "float32": ("float32", Network((12, 10, 3), CLASSIFIER, dtype="float32")),
    "gray-float32": ("float32", Network((12, 10, 1), CLASSIFIER, dtype="float32")),
    "fomo": ("int8", Network((16, 16, 3), DETECTOR, **STUDIO)),
    "fomo-float32": ("float32", Network((16, 16, 3), DETECTOR, dtype="float32")),
}
"""Kind to variant and network."""


def contents_of(kind: str) -> tuple[ModelVariant, BuildContents]:
    """A variant, and contents that hold a model of it."""
    variant, network = MODELS[kind]
    labels = ("background", *LABELS[1:]) if kind.startswith("fomo") else LABELS
    return variant, BuildContents(
        project="watch */ dog",
        labels=labels,
        models={variant: network.model()},
        input_shape=network.shape,
        resize_mode="fit-short",
        channels="RGB" if network.shape[2] == 3 else "Grayscale",
        dataset=DatasetSummary("", "", {}),
    )


def pictures(kind: str, count: int) -> np.ndarray:
    """Noise of the kind's size: uint8, (count, height, width, 3)."""
    height, width, _ = MODELS[kind][1].shape
    return np.random.default_rng(5).integers(0, 256, (count, height, width, 3)).astype(np.uint8)
