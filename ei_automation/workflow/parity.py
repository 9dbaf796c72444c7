"""`eiauto run --images`: whether a board says of images what LiteRT says of them on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ei_automation.devices.transport import Deadline
from ei_automation.errors import DatasetError, UsageError, VerificationError
from ei_automation.files import sha256_bytes
from ei_automation.inference.interpreter import Classifier
from ei_automation.schema.inference_result import InferenceResult
from ei_automation.workflow.board_session import PluggedBoard
from ei_automation.workflow.consoles import AtRunning, console_of, open_at
from ei_automation.workflow.firmware_scores import firmware_scores
from ei_automation.workflow.parity_inputs import (
    LabelledImage,
    ParityModel,
    Pixels,
    input_pixels,
    listed_images,
    packed,
)
from ei_automation.workflow.project import Event

INT8_STEPS = 2 / 256
"""Two steps of an int8 softmax, whose scale is 1/256 by TensorFlow Lite's quantization rules. Two sets of correct
kernels round a layer's sums differently by at most one step, and the last layers carry that into the scores as
one step, seldom two. A larger difference is another model, other pixels or wrong kernels."""
RESULT_TIMEOUT_S = 30.0
"""For the network itself, once it has its features."""
FEATURE_S = 0.01
"""For sending one feature: 5.3 characters of base64 take half a millisecond at 115200 baud; an answer to every 32
or 128 characters, over a USB bridge, takes some milliseconds more."""


@dataclass(frozen=True)
class ParityRequest:
    """What to compare.

    Attributes:
        images: Folder with images; class folders give their true labels.
        model: That the board should run.
        count: How many images at most, spread over the folder; all where None.
        tolerance: The largest difference of a score that passes, 0..1.
        mapping: Class folder to label, where they differ.
        result_timeout_s: For the network itself.
    """

    images: Path
    model: ParityModel
    count: int | None = None
    tolerance: float = INT8_STEPS
    mapping: Mapping[str, str] = field(default_factory=dict)
    result_timeout_s: float = RESULT_TIMEOUT_S


@dataclass(frozen=True)
class ParitySample:
    """One image as the board and the host see it.

    Attributes:
        name: Below the folder that was given.
        label: Its true label; empty where that is not known.
        board: Label to score, 0..1, as the board printed it.
        host: The same of LiteRT.
        difference: The largest one between the two, 0..1.
        latency_us: What the board took; None where it did not say.
    """

    name: str
    label: str
    board: dict[str, float]
    host: dict[str, float]
    difference: float
    latency_us: float | None

    @property
    def board_top(self) -> str:
        """The label with the board's highest score, the first of equal ones."""
        return max(self.board, key=lambda label: self.board[label])

    @property
    def host_top(self) -> str:
        """The label with LiteRT's highest score, the first of equal ones."""
        return max(self.host, key=lambda label: self.host[label])


@dataclass(frozen=True)
class ClassParity:
    """How far apart the two are on one label.

    Attributes:
        label: The label.
        max_difference: Over all images, 0..1.
        mean_difference: The same, mean of the absolute differences.
    """

    label: str
    max_difference: float
    mean_difference: float


@dataclass(frozen=True)
class ParityReport:
    """A board beside LiteRT.

    Attributes:
        firmware: What the board says of its firmware.
        model: Where the host's model is from.
        model_sha256: Of it.
        resize_mode: How images came to the network's size.
        labels: In the model's order.
        tolerance: The largest difference that passes, 0..1.
        samples: Every image that was sent.
    """

    firmware: str
    model: str
    model_sha256: str
    resize_mode: str
    labels: tuple[str, ...]
    tolerance: float
    samples: tuple[ParitySample, ...]

    @property
    def disagreeing(self) -> list[ParitySample]:
        """Images of which the two name different labels."""
        return [each for each in self.samples if each.board_top != each.host_top]

    @property
    def too_far(self) -> list[ParitySample]:
        """Images with a difference above the tolerance."""
        return [each for each in self.samples if each.difference > self.tolerance]

    @property
    def differing(self) -> list[ParitySample]:
        """Images of either kind, the largest difference first."""
        found = [
            each for each in self.samples if each.board_top != each.host_top or each.difference > self.tolerance
        ]
        return sorted(found, key=lambda each: -each.difference)

    @property
    def ok(self) -> bool:
        """Whether the board does what the model does."""
        return not self.differing

    @property
    def max_difference(self) -> float:
        """Over all images and labels, 0..1."""
        return max(each.difference for each in self.samples)

    @property
    def mean_difference(self) -> float:
        """The mean of the absolute differences over all images and labels."""
        return float(np.mean([row.mean_difference for row in self.classes]))

    @property
    def classes(self) -> list[ClassParity]:
        """Label by label."""
        rows = []
        for label in self.labels:
            gaps = [abs(each.board[label] - each.host[label]) for each in self.samples]
            rows.append(ClassParity(label, max(gaps), float(np.mean(gaps))))
        return rows

    @property
    def is_labelled(self) -> bool:
        """Whether the true labels are known."""
        return any(each.label for each in self.samples)

    @property
    def host_and_board(self) -> list[list[int]]:
        """Images by what the host says (rows) and what the board says (columns), in the labels' order."""
        return _count(self.labels, [(each.host_top, each.board_top) for each in self.samples])

    @property
    def truth_and_board(self) -> list[list[int]]:
        """Images by their true label (rows) and what the board says (columns)."""
        return _count(self.labels, [(each.label, each.board_top) for each in self.samples if each.label])

    def accuracy(self, *, of_board: bool) -> float | None:
        """Ratio of images that get their true label; None where that is not known."""
        pairs = [
            (each.label, each.board_top if of_board else each.host_top) for each in self.samples if each.label
        ]
        return sum(actual == said for actual, said in pairs) / len(pairs) if pairs else None

    def document(self) -> dict[str, Any]:
        """All of it, for other programs."""
        return {
            "ok": self.ok,
            "firmware": self.firmware,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "resize_mode": self.resize_mode,
            "labels": list(self.labels),
            "tolerance": self.tolerance,
            "max_difference": self.max_difference,
            "mean_difference": self.mean_difference,
            "top_label_agreement_ratio": 1 - len(self.disagreeing) / len(self.samples),
            "classes": [asdict(row) for row in self.classes],
            "confusion_matrix_host_board": self.host_and_board,
            "confusion_matrix_actual_board": self.truth_and_board if self.is_labelled else None,
            "accuracy_board": self.accuracy(of_board=True),
            "accuracy_host": self.accuracy(of_board=False),
            "samples": [
                {**asdict(each), "board_top": each.board_top, "host_top": each.host_top} for each in self.samples
            ],
        }


def _count(labels: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[list[int]]:
    matrix = [[0] * len(labels) for _ in labels]
    for row, column in pairs:
        matrix[labels.index(row)][labels.index(column)] += 1
    return matrix


def compare(plug: PluggedBoard, request: ParityRequest, *, on_event: Callable[[Event], None]) -> ParityReport:
    """Send images to a board and hold its scores against LiteRT's.

    Args:
        plug: The board.
        request: What to compare.
        on_event: Gets notes and progress.

    Raises:
        UsageError: The board takes no features, or finds objects.
        NotFoundError: The folder is not there.
        DatasetError: There are no images, or some cannot be used, or their labels are not the model's.
        VerificationError: The model has more or fewer scores than labels; the board runs a network with others.
        DeviceError: It does not answer.
    """
    images = listed_images(request.images, count=request.count, mapping=request.mapping)
    _require_labels(images, request.model.labels, request.images)
    classifier = Classifier(request.model.content)
    _require_label_count(request.model, classifier.output_count)
    pixels = input_pixels(images, classifier.input_shape, request.model.resize_mode)
    if console_of(plug) == "openmv":
        raise UsageError(
            "OpenMV's firmware takes pictures from its camera only, no features",
            hint="watch the board with `eiauto run`; the model itself is judged by `eiauto test`",
        )
    with open_at(plug) as running:
        if "object_detection" in running.config.model_type:
            raise _finds_objects()
        results, labels = [], request.model.labels
        for result in _asked(running, pixels, request.result_timeout_s, on_event):
            labels = _labels_of(result, labels, classifier.output_count)
            _require_labels(images, labels, request.images)
            results.append(result)
    host = firmware_scores(classifier, np.stack(pixels))
    samples = [_sample(*each, labels) for each in zip(images, results, host, strict=True)]
    return ParityReport(
        firmware=running.firmware,
        model=request.model.source,
        model_sha256=sha256_bytes(request.model.content),
        resize_mode=request.model.resize_mode,
        labels=labels,
        tolerance=request.tolerance,
        samples=tuple(samples),
    )


def _finds_objects() -> UsageError:
    return UsageError(
        "the board's firmware finds objects: it prints boxes, not the scores of cells, which could be compared",
        hint="watch it with `eiauto run`",
    )


def _require_labels(images: Sequence[LabelledImage], labels: Sequence[str], folder: Path) -> None:
    """Refuse folders that are no labels of the model; empty labels are not known yet."""
    unknown = sorted({image.label for image in images} - {"", *labels})
    if labels and unknown:
        raise DatasetError(
            f"{folder} has folders that are no labels of the model: {', '.join(unknown)}; it knows"
            f" {', '.join(labels)}",
            hint="rename them, or put the images into a folder without class folders",
        )


def _require_label_count(model: ParityModel, count: int) -> None:
    """Refuse labels that are not those of the scores; empty labels are not known yet."""
    if model.labels and len(model.labels) != count:
        raise VerificationError(
            f"the model of {model.source} gives {count} scores, and the labels are {', '.join(model.labels)}",
            hint="give the deployment that holds both (--from), or the .tflite file without PROJECT (--model)",
        )


def _asked(
    running: AtRunning, pixels: Sequence[Pixels], timeout_s: float, on_event: Callable[[Event], None]
) -> Iterator[InferenceResult]:
    """What the board says of each image, as it comes."""
    for place, image in enumerate(pixels):
        on_event(Event("progress", "images on the board", place, len(pixels)))
        features = packed(image)
        deadline = Deadline(timeout_s + FEATURE_S * features.size)
        yield running.console.run_static(features, deadline=deadline)
    on_event(Event("progress", "images on the board", len(pixels), len(pixels)))


def _labels_of(result: InferenceResult, known: tuple[str, ...], count: int) -> tuple[str, ...]:
    """The labels in the model's order; the firmware prints them in that order too.

    Raises:
        UsageError: The board finds objects.
        VerificationError: It knows other labels than the model has.
    """
    printed = tuple(result.classification)
    if result.boxes is not None:
        raise _finds_objects()
    labels = known or printed
    if len(labels) != count or set(printed) != set(labels):
        expected = f"has {', '.join(known)}" if known else f"gives {count} scores"
        raise VerificationError(
            f"the board's firmware knows the labels {', '.join(printed) or 'of no class'}, the model {expected}",
            hint="flash this model's firmware, or give the model that the board runs (--from, --model)",
        )
    return labels


def _sample(
    image: LabelledImage, result: InferenceResult, scores: NDArray[np.float32], labels: tuple[str, ...]
) -> ParitySample:
    """One image beside LiteRT."""
    board = {label: float(result.classification[label]) for label in labels}
    host = {label: float(score) for label, score in zip(labels, scores, strict=True)}
    difference = max(abs(board[label] - host[label]) for label in labels)
    return ParitySample(image.name, image.label, board, host, difference, result.timing.total_us)
