"""What a board says of one image: the same nouns for every firmware and every dialect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ObjectBox:
    """An object in an image.

    Attributes:
        label: What it is.
        score: 0..1; None where the firmware prints none.
        x: Left edge, pixels of the model's input.
        y: Upper edge, pixels.
        width: Pixels; 0 where the firmware prints centres only.
        height: Pixels; 0 as width.
        track: Of object tracking; None for none.
    """

    label: str
    score: float | None
    x: int
    y: int
    width: int
    height: int
    track: int | None = None


@dataclass(frozen=True)
class Timing:
    """What one image took, microseconds; None where it was not printed.

    Attributes:
        dsp_us: Making features.
        inference_us: The network.
        anomaly_us: The anomaly block.
        postprocessing_us: What comes after the network.
    """

    dsp_us: float | None = None
    inference_us: float | None = None
    anomaly_us: float | None = None
    postprocessing_us: float | None = None

    @property
    def total_us(self) -> float | None:
        """The sum of what was printed; None where nothing was."""
        known = [
            value
            for value in (self.dsp_us, self.inference_us, self.anomaly_us, self.postprocessing_us)
            if value is not None
        ]
        return sum(known) if known else None


@dataclass(frozen=True)
class InferenceResult:
    """What a board says of one image.

    Attributes:
        classification: Label to score, in the order that it was printed; empty of object detection.
        boxes: Objects; None of a firmware that classifies, empty where it looked for objects and found none.
        timing: What it took.
        anomaly: The anomaly score; None for none.
        visual_anomaly_mean: Of a visual anomaly grid; None for none.
        visual_anomaly_max: The same.
        visual_anomalies: Its cells.
        regression: The value of a regression; None for none.
        fps: Images a second, as a script prints it; None for none.
    """

    classification: Mapping[str, float] = field(default_factory=dict)
    boxes: tuple[ObjectBox, ...] | None = None
    timing: Timing = Timing()
    anomaly: float | None = None
    visual_anomaly_mean: float | None = None
    visual_anomaly_max: float | None = None
    visual_anomalies: tuple[ObjectBox, ...] = ()
    regression: float | None = None
    fps: float | None = None

    @property
    def top(self) -> tuple[str, float] | None:
        """The label with the highest score, the first of equal ones; None where nothing was classified."""
        return max(self.classification.items(), key=lambda item: item[1]) if self.classification else None
