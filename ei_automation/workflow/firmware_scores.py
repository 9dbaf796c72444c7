"""What Edge Impulse's firmware computes of images, computed on this machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ei_automation.deployment.model_facts import TensorFacts
from ei_automation.deployment.sdk import network_input
from ei_automation.dsp.image import to_features
from ei_automation.inference.interpreter import Classifier


def firmware_scores(classifier: Classifier, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Classify images with the firmware's arithmetic before the network.

    The image block of the inferencing SDK rounds gray down where Studio rounds it to the nearest level: of random
    colours half of the int8 inputs are one step lower.

    Args:
        classifier: The network.
        pixels: uint8, (N, H, W, 3), 0..255, RGB, at the network's size.

    Returns:
        float32, (N, K): as `Classifier.scores`.
    """
    stored = classifier.input_quantization
    if stored.dtype != "int8":
        return classifier.scores(to_features(pixels, "RGB" if classifier.input_shape[2] == 3 else "Grayscale"))
    tensor = TensorFacts((1, *classifier.input_shape), stored.dtype, stored.scale, stored.zero_point)
    return classifier.scores(stored.dequantize(network_input(pixels, tensor)))
