"""What the trainer is asked, what it says while it works, what it returns. Imports no TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ei_automation.schema.impulse import Impulse
from ei_automation.schema.metrics import TrainingCurves
from ei_automation.schema.training import TrainingParameters

TRAINER_VERSION = 2
"""Changes when the same request would give another model; enters the fingerprint of a training."""

Rows = NDArray[np.integer]
"""Numbers of rows, int, (n,)."""
Floats = NDArray[np.float32]
Labels = NDArray[np.integer]
"""Positions in the request's `labels`, int, (n,)."""


class PixelSource(Protocol):
    """Resized images that are read a few at a time."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(images, height, width, 3)."""

    def read(self, rows: Rows) -> NDArray[np.uint8]:
        """Some images in the order asked for: uint8, (n, height, width, 3), 0..255, RGB."""


@dataclass(frozen=True)
class ResolvedWeights:
    """Where the base's weights come from.

    Attributes:
        path: The Keras HDF5 file; None for a random start.
        source: `pretrained`, `none`, or the file's name.
        sha256: Of the file; None for a random start.
    """

    path: Path | None
    source: str
    sha256: str | None


@dataclass(frozen=True)
class TrainingRequest:
    """One training.

    Attributes:
        parameters: The manifest's `[training]`.
        impulse: Input and DSP block.
        labels: Class names, sorted; the model's outputs have this order.
        pixels: The images.
        training_rows: Rows of `pixels` that train, in the order of the split.
        training_labels: Their labels.
        validation_rows: Rows that validate and calibrate.
        validation_labels: Their labels.
        content_ids: SHA-256 of every row of `pixels`: what the caches and the augmentation are keyed by.
        weights: Of the base; None for a learn block without one.
        cache_folder: Where features are kept between trainings.
        checkpoint_folder: Where a training that is under way keeps its state.
        inputs: Fingerprint of all the above; names the checkpoint.
    """

    parameters: TrainingParameters
    impulse: Impulse
    labels: tuple[str, ...]
    pixels: PixelSource
    training_rows: Rows
    training_labels: Labels
    validation_rows: Rows
    validation_labels: Labels
    content_ids: tuple[str, ...]
    weights: ResolvedWeights | None
    cache_folder: Path
    checkpoint_folder: Path
    inputs: str


@dataclass(frozen=True)
class TrainingEvent:
    """A log line, or how far a step has come.

    Attributes:
        kind: `log` (text is the line) or `progress`.
        text: The line; empty for progress.
        step: features, training, or conversion.
        done: Units that are done.
        total: Units of the step; 0 when not known.
    """

    kind: Literal["log", "progress"]
    text: str = ""
    step: str = ""
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class TrainingResult:
    """A trained model.

    Attributes:
        float32: The .tflite file, float in and out.
        int8: The .tflite file, int8 in and out, input scale 1/255, zero point -128.
        curves: One value a cycle.
        threads: TensorFlow threads that were in effect.
        base_sha256: Of the base's arrays as the training started; None for a learn block without a base.
    """

    float32: bytes
    int8: bytes
    curves: TrainingCurves
    threads: int
    base_sha256: str | None


OnEvent = Callable[[TrainingEvent], None]
ShouldStop = Callable[[], bool]
