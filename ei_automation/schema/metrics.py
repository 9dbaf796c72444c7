"""Metrics of a model variant on a category, in the shape of Studio's evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from ei_automation.schema.strict import StrictModel

ModelVariant = Literal["float32", "int8"]
VARIANTS: tuple[ModelVariant, ...] = ("float32", "int8")
EvaluationCategory = Literal["validation", "testing"]
WEIGHTED_AVERAGE = "weighted avg"
"""scikit-learn's name for the row of a report over all labels."""
UNCERTAIN = "uncertain"
"""Studio's name for a sample whose best score stays under the threshold."""


class ClassReport(StrictModel):
    """Precision, recall and F1 of one label, ratios 0..1, and how many samples bear it."""

    precision: float
    recall: float
    f1_score: float
    support: int


class ThresholdAccuracy(StrictModel):
    """Accuracy as Studio's model testing counts it: under the threshold is uncertain, and not correct."""

    threshold: float
    accuracy: float
    accuracy_interval: tuple[float, float] = Field(strict=False)
    """95 % Wilson score interval of the accuracy."""
    uncertain: int
    confusion_matrix: list[list[int]]
    """Rows: actual labels; columns: predicted labels, then uncertain."""


class Metrics(StrictModel):
    """One variant on one category.

    On the local backend all of it is counted by running the .tflite file; Studio's are its own, read from its
    metadata, with what follows from them.
    """

    variant: ModelVariant
    category: EvaluationCategory
    labels: list[str]
    sample_count: int
    accuracy: float
    """Ratio 0..1."""
    accuracy_interval: tuple[float, float] = Field(strict=False)
    """95 % Wilson score interval of the accuracy."""
    loss: float
    """Mean cross-entropy, nats."""
    roc_auc: float | None
    """Area under the ROC curve, one against rest, weighted by support; None with one label present, or where
    the backend does not tell single scores."""
    confusion_matrix: list[list[int]]
    """Rows: actual; columns: predicted; order of `labels`."""
    report: dict[str, ClassReport]
    """Per label, and `weighted avg`."""
    with_threshold: ThresholdAccuracy | None
    """None where the backend does not tell single scores."""


class TrainingCurves(StrictModel):
    """One value a cycle, both stages in order."""

    loss: list[float]
    accuracy: list[float]
    validation_loss: list[float]
    validation_accuracy: list[float]
    stage_starts: list[int]
    """Index of each stage's first cycle."""
    best_cycle: int
    """Index of the cycle whose weights were kept."""


@dataclass(frozen=True)
class Prediction:
    """What one variant said of one sample.

    Attributes:
        sample_id: The backend's number.
        variant: Which model.
        category: validation or testing.
        scores: One a label, 0..1, in the order of the labels.
    """

    sample_id: int
    variant: ModelVariant
    category: EvaluationCategory
    scores: tuple[float, ...]
