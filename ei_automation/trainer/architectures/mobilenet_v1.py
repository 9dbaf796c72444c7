"""MobileNetV1 without its top; Studio's heads take its pooled features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ei_automation.trainer.architectures.network import image_input
from ei_automation.trainer.tensorflow_door import Tensor, keras

CUT = "pooled"
"""The pooled features themselves: a few hundred numbers an image."""


def build_base(shape: tuple[int, int, int], alpha: float) -> Any:
    """The base up to and with the global average pooling, which keeps its two axes of length 1.

    Args:
        shape: (height, width, channels); 1 or 3 channels, any size from 32 px.
        alpha: Width multiplier.

    Returns:
        keras.Model with random weights.
    """
    inputs = image_input(shape)
    body = keras.applications.MobileNet(input_tensor=inputs, alpha=alpha, weights=None, include_top=False)
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True, name=CUT)(body.output)
    return keras.Model(inputs, pooled, name="base")


def make_tail(_base: Any) -> Callable[[Tensor], Tensor]:
    """The cut is the base's output."""
    return lambda features: features
