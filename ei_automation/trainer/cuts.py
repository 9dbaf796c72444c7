"""Where a frozen base is cut: what is extracted once and stored, and what is left to compute in every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ei_automation.trainer.architectures.network import Base
from ei_automation.trainer.convert import converted
from ei_automation.trainer.features import ExactExtractor, Extractor, FastExtractor
from ei_automation.trainer.tensorflow_door import Tensor, keras

STORED_BYTES = 2 << 30
"""The base's own output is stored up to this size, training and validation together.

At 160 px MobileNetV2's output takes 128 kB an image, so that 16,000 images fit. More would no longer stay in the
page cache of a small machine, and reading it from the disk in every cycle would cost more than the tail saves."""


@dataclass(frozen=True)
class Cut:
    """A frozen base in two parts.

    Attributes:
        name: Of the layer whose output is extracted.
        extractor: Computes the part up to there; the caller closes it.
        tail: Computes the rest, from a batch of features to the base's output.
    """

    name: str
    extractor: Extractor
    tail: Callable[[Tensor], Tensor]


def choose_cut(base: Base, *, plain: bool, rows: int, threads: int, stored_bytes: int = STORED_BYTES) -> Cut:
    """The cheapest cut that a training allows.

    Plain images are extracted once, so TensorFlow can do it, and training ends in the weights that a fit of the
    whole network ends in. Augmented views are extracted over and over: there LiteRT is worth its last bits, and
    each view's rows must be small.

    Args:
        base: With its final weights.
        plain: Whether every cycle sees the images as they are.
        rows: Images of training and validation.
        threads: For the extraction.
        stored_bytes: Most that plain features may take.
    """
    model = base.model
    if not plain:
        body = _up_to(model, base.cut)
        file = converted(lambda image: body(image, training=False), model.input.shape[1:])
        return Cut(base.cut, FastExtractor(file, threads), base.make_tail(model))
    output = model.layers[-1].name
    if 4 * int(np.prod(model.output.shape[1:])) * rows <= stored_bytes or base.cut == output:
        return Cut(output, ExactExtractor(model), lambda features: features)
    tail = keras.Model(model.get_layer(base.cut).output, model.output)
    return Cut(base.cut, ExactExtractor(_up_to(model, base.cut)), lambda features: tail(features, training=False))


def _up_to(model: Any, name: str) -> Any:
    return keras.Model(model.input, model.get_layer(name).output)
