"""The impulse of a simulated firmware: a network, its labels, and what it says of an image."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from ei_automation.devices.sim.at.results import fomo_boxes
from ei_automation.devices.sim.board import Image, SimulatedModel, Surroundings
from ei_automation.errors import VerificationError
from ei_automation.schema.inference_result import InferenceResult, Timing


class SimulatedImpulse:
    """What a firmware classifies with.

    Args:
        around: The network, its labels, what the camera sees.

    Attributes:
        model: The network; None where the firmware holds none, or one that cannot be run.
    """

    def __init__(self, around: Surroundings) -> None:
        self._around, self._photos = around, 0
        self.model: SimulatedModel | None = None
        if around.model is None:
            return
        try:
            self.model = around.load_model(around.model)
        except VerificationError as error:
            around.log(f"the firmware's network cannot be run: {error}")

    def photo(self) -> Image:
        """What the camera sees next."""
        self._photos += 1
        return self._around.images[(self._photos - 1) % len(self._around.images)]

    @staticmethod
    def pixels(model: SimulatedModel) -> int:
        """How many the network takes: one feature each."""
        return model.input_shape[0] * model.input_shape[1]

    def classify(self, model: SimulatedModel, image: Image) -> InferenceResult:
        """What the firmware makes of a photo.

        Args:
            model: The network.
            image: uint8, (H, W, C).
        """
        began = time.perf_counter()
        return self._result(model, model.run(image), began)

    def classify_features(self, model: SimulatedModel, features: NDArray[np.float32]) -> InferenceResult:
        """What the firmware makes of features.

        Args:
            model: The network.
            features: float32, (pixels,), 0xRRGGBB each.
        """
        began = time.perf_counter()
        return self._result(model, model.run_features(features), began)

    def kind(self, model: SimulatedModel) -> tuple[str, int]:
        """Studio's name of the kind of network, and how many classes it has."""
        scores = model.run(np.zeros((*model.input_shape[:2], 3), np.uint8))
        kind = "constrained_object_detection" if scores.ndim == 3 else "classification"
        return kind, len(self._labels(scores))

    def _labels(self, scores: NDArray[np.float32]) -> list[str]:
        """Of the outputs, without FOMO's background; numbers where there are too few."""
        classes, labels = scores.shape[-1], list(self._around.labels)
        if scores.ndim == 3:
            labels, classes = labels[1:] if len(labels) == classes else labels, classes - 1
        return [*labels, *(str(number) for number in range(len(labels), classes))][:classes]

    def _result(self, model: SimulatedModel, scores: NDArray[np.float32], began: float) -> InferenceResult:
        """Scores as the firmware sees them. The time is that of the machine that simulates."""
        took_us = 1e6 * (time.perf_counter() - began)
        timing, labels = Timing(dsp_us=0.0, inference_us=took_us, anomaly_us=0.0), self._labels(scores)
        if scores.ndim == 3:
            return InferenceResult(boxes=fomo_boxes(scores, labels, model.input_shape[1]), timing=timing)
        return InferenceResult(dict(zip(labels, map(float, scores), strict=True)), timing=timing)
