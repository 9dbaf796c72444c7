"""The kept models on images that are not, or no longer, what the local backend would test: decoded one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ei_automation.dsp.image import decode, resize, to_features
from ei_automation.inference.interpreter import Classifier

if TYPE_CHECKING:
    from pathlib import Path

    from ei_automation.schema.impulse import Impulse
    from ei_automation.schema.metrics import ModelVariant

PIECE = 64
"""Images in memory at a time."""


def features_of(impulse: Impulse, contents: Iterable[bytes]) -> Iterator[NDArray[np.float32]]:
    """Features of images, a few images at a time: float32, (n, H, W, C), 0..1.

    Args:
        impulse: Size, resize mode and channels.
        contents: Image files.

    Raises:
        UnusableImageError: A file is no image.
    """
    pixels = (resize(np.asarray(decode(content)[0]), impulse.input_block) for content in contents)
    while piece := list(islice(pixels, PIECE)):
        yield to_features(np.stack(piece), impulse.dsp_block.channels)


def score(
    models: Mapping[ModelVariant, Path], impulse: Impulse, contents: Iterable[bytes]
) -> dict[ModelVariant, NDArray[Any]]:
    """Run models over images.

    Args:
        models: Variant to .tflite file.
        impulse: Of the training.
        contents: Image files.

    Returns:
        Variant to scores: float32, (N, K), 0..1, in the order of the images.

    Raises:
        UnusableImageError: A file is no image.
        VerificationError: A model is damaged.
    """
    classifiers = {variant: Classifier(model) for variant, model in models.items()}
    found: dict[ModelVariant, list[NDArray[Any]]] = {variant: [] for variant in models}
    for piece in features_of(impulse, contents):
        for variant, classifier in classifiers.items():
            found[variant].append(classifier.scores(piece))
    return {
        variant: np.concatenate(parts) if parts else np.zeros((0, classifiers[variant].output_count), np.float32)
        for variant, parts in found.items()
    }
