"""The network of a simulated board: the .tflite file itself, run with LiteRT."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ei_automation.devices.sim.board import Image
from ei_automation.dsp.image import resize
from ei_automation.errors import UsageError
from ei_automation.inference.interpreter import Classifier
from ei_automation.schema.impulse import InputBlock, ResizeMode
from ei_automation.workflow.firmware_scores import firmware_scores


class LiteRtModel:
    """A .tflite file that classifies what a simulated camera sees.

    Args:
        content: The file.
        resize_mode: How the firmware brings an image to the network's size.

    Attributes:
        input_shape: (height, width, channels).
        output_count: Labels of its output.

    Raises:
        VerificationError: It is no model of images.
    """

    def __init__(self, content: bytes, resize_mode: ResizeMode = "fit-short") -> None:
        self._classifier = Classifier(content)
        height, width, channels = self._classifier.input_shape
        self.input_shape = (height, width, channels)
        self.output_count = self._classifier.output_shape[-1]
        self._block = InputBlock.model_construct(
            image_width=width, image_height=height, resize_mode=resize_mode
        )  # networks of tests are smaller than a manifest allows

    def run(self, image: Image) -> NDArray[np.float32]:
        """Scores of an image of any size; see `SimulatedModel`."""
        return self._scores(resize(image, self._block))

    def run_features(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of raw features, 0xRRGGBB each; see `SimulatedModel`.

        Raises:
            UsageError: There are more or fewer than the network has pixels.
        """
        height, width, _ = self.input_shape
        if features.size != height * width:
            raise UsageError(f"the network takes {height * width} pixels, {features.size} came")
        packed = features.astype(np.uint32).reshape(height, width)
        return self._scores(np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], -1).astype(np.uint8))

    def _scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        scores = firmware_scores(self._classifier, pixels[None])
        return scores.reshape(self._classifier.output_shape)


def load_model(content: bytes) -> LiteRtModel:
    """What a simulated board does with a .tflite file.

    Raises:
        VerificationError: It is no model of images.
    """
    return LiteRtModel(content)
