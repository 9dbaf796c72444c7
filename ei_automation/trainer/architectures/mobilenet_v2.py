"""MobileNetV2 without its top, cut before its last convolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ei_automation.trainer.architectures.network import folded_convolution, image_input
from ei_automation.trainer.tensorflow_door import Tensor, keras

CUT = "block_16_project_BN"
"""Input of Conv_1: an eleventh of the bytes of out_relu at alpha 0.35, for one matrix product more."""


def build_base(shape: tuple[int, int, int], alpha: float) -> Any:
    """The base up to `out_relu`, a spatial map: Studio does not pool it.

    Args:
        shape: (height, width, channels); 1 or 3 channels, any size from 32 px.
        alpha: Width multiplier.

    Returns:
        keras.Model with random weights.
    """
    inputs = image_input(shape)
    body = keras.applications.MobileNetV2(input_tensor=inputs, alpha=alpha, weights=None, include_top=False)
    return keras.Model(inputs, body.output, name="base")


def make_tail(base: Any) -> Callable[[Tensor], Tensor]:
    """From the cut to the base's output: Conv_1, its batch normalization, ReLU6."""
    return folded_convolution(base.get_layer("Conv_1"), base.get_layer("Conv_1_bn"))
