"""Count metrics as Studio's evaluation has them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from ei_automation.errors import VerificationError
from ei_automation.schema.metrics import (
    WEIGHTED_AVERAGE,
    ClassReport,
    EvaluationCategory,
    Metrics,
    ModelVariant,
    ThresholdAccuracy,
)

Z_95 = 1.959964
"""Normal quantile of a two-sided 95 % interval."""


def wilson_interval(correct: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson score interval of a ratio.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of
    the American Statistical Association 22 (1927), 209-212: centre (p + z²/2n) / (1 + z²/n), half width
    z / (1 + z²/n) · sqrt(p(1-p)/n + z²/4n²).

    Args:
        correct: Successes, 0..n.
        n: Trials; with none the interval is everything.
        z: Normal quantile.

    Returns:
        Lower and upper bound, 0..1.
    """
    if n == 0:
        return (0.0, 1.0)
    ratio, spread = correct / n, z * z / n
    centre = (ratio + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(ratio * (1 - ratio) / n + spread / (4 * n))
    return (0.0 if correct == 0 else max(0.0, centre - half), 1.0 if correct == n else min(1.0, centre + half))


def classification_metrics(
    scores: NDArray[np.floating[Any]],
    labels_index: Sequence[int] | NDArray[np.integer[Any]],
    label_names: Sequence[str],
    *,
    variant: ModelVariant,
    category: EvaluationCategory,
    minimum_confidence: float,
) -> Metrics:
    """Metrics of one model variant on one category.

    Labels that no sample bears count zero; they weigh nothing in the averages. With no sample at all
    `sample_count` is 0, the interval is 0..1 and every other number is 0: nothing can be concluded from it.

    Args:
        scores: (N, K), 0..1: a score for each label.
        labels_index: (N,): the actual label of each sample, as an index into `label_names`.
        label_names: K labels.
        variant: Which model gave the scores.
        category: Which samples they are of.
        minimum_confidence: A best score under it is uncertain, 0..1.

    Raises:
        VerificationError: Scores, samples and labels do not fit one another.
    """
    actual = np.asarray(labels_index, dtype=np.int64)
    _check(scores, actual, len(label_names))
    predicted = scores.argmax(axis=1) if len(scores) else np.zeros(0, dtype=np.int64)
    correct = int((actual == predicted).sum())
    probabilities = _probabilities(scores)
    return Metrics(
        variant=variant,
        category=category,
        labels=list(label_names),
        sample_count=len(actual),
        accuracy=correct / len(actual) if len(actual) else 0.0,
        accuracy_interval=wilson_interval(correct, len(actual)),
        loss=_loss(probabilities, actual),
        roc_auc=_roc_auc(probabilities, actual),
        confusion_matrix=_confusion_matrix(actual, predicted, len(label_names)),
        report=_report(actual, predicted, label_names),
        with_threshold=_with_threshold(scores, actual, minimum_confidence),
    )


def _check(scores: NDArray[Any], actual: NDArray[np.int64], label_count: int) -> None:
    """Refuse scores that cannot belong to these samples and labels."""
    if scores.shape != (len(actual), label_count):
        raise VerificationError(
            f"{len(actual)} samples with {label_count} labels need scores of {(len(actual), label_count)}, "
            f"the model gave {scores.shape}",
            hint="the model belongs to other labels; train again",
        )
    if len(actual) and not (actual.min() >= 0 and actual.max() < label_count):
        raise VerificationError(f"a sample's label index is outside 0..{label_count - 1}")
    if not np.isfinite(scores).all():
        raise VerificationError(
            "the model gave scores that are no numbers", hint="train with a lower learning rate"
        )


def _probabilities(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Scores whose rows sum to one, as Studio does it; int8 scores miss one by up to K/256.

    A row of zeros says nothing and becomes uniform.
    """
    exact = scores.astype(np.float64)
    total = exact.sum(axis=1, keepdims=True)
    uniform = 1.0 / max(1, exact.shape[1])
    return np.where(total > 0, exact / np.where(total > 0, total, 1.0), uniform)


def _loss(probabilities: NDArray[np.float64], actual: NDArray[np.int64]) -> float:
    """Mean cross-entropy, nats; a probability of zero counts as the smallest float64 step, as in scikit-learn."""
    if not len(actual):
        return 0.0
    if probabilities.shape[1] == 1:
        return 0.0
    return float(sklearn_metrics.log_loss(actual, probabilities, labels=range(probabilities.shape[1])))


def _roc_auc(probabilities: NDArray[np.float64], actual: NDArray[np.int64]) -> float | None:
    """One label against the rest, weighted by support; None with fewer than two labels present.

    Equal to scikit-learn's `multi_class="ovr", average="weighted"`, which refuses sets where a label is absent.
    """
    present, support = np.unique(actual, return_counts=True)
    if len(present) < 2:
        return None
    areas = [sklearn_metrics.roc_auc_score(actual == label, probabilities[:, label]) for label in present]
    return float(np.average(areas, weights=support))


def _confusion_matrix(rows: NDArray[np.int64], columns: NDArray[np.int64], size: int) -> list[list[int]]:
    """Rows: actual; columns: predicted."""
    if not len(rows):
        return [[0] * size for _ in range(size)]
    matrix: list[list[int]] = sklearn_metrics.confusion_matrix(rows, columns, labels=range(size)).tolist()
    return matrix


def _report(
    actual: NDArray[np.int64], predicted: NDArray[np.int64], label_names: Sequence[str]
) -> dict[str, ClassReport]:
    """Precision, recall and F1 by label, and their averages weighted by support."""
    if not len(actual):
        empty = ClassReport(precision=0.0, recall=0.0, f1_score=0.0, support=0)
        return dict.fromkeys([*label_names, WEIGHTED_AVERAGE], empty)
    # Indices as names: a label may be called "accuracy" or "macro avg".
    names = [str(index) for index in range(len(label_names))]
    counted = sklearn_metrics.classification_report(
        actual, predicted, labels=range(len(names)), target_names=names, output_dict=True, zero_division=0
    )
    rows = {label: counted[name] for label, name in zip(label_names, names, strict=True)}
    rows[WEIGHTED_AVERAGE] = counted[WEIGHTED_AVERAGE]
    return {
        label: ClassReport(
            precision=float(row["precision"]),
            recall=float(row["recall"]),
            f1_score=float(row["f1-score"]),
            support=int(row["support"]),
        )
        for label, row in rows.items()
    }


def _with_threshold(scores: NDArray[Any], actual: NDArray[np.int64], threshold: float) -> ThresholdAccuracy:
    """Accuracy as Studio's model testing has it: uncertain samples count, and not as correct."""
    size = scores.shape[1]
    certain = scores.max(axis=1) >= threshold if len(scores) else np.zeros(0, dtype=bool)
    predicted = np.where(certain, scores.argmax(axis=1), size) if len(scores) else np.zeros(0, dtype=np.int64)
    correct = int((predicted == actual).sum())
    return ThresholdAccuracy(
        threshold=threshold,
        accuracy=correct / len(actual) if len(actual) else 0.0,
        accuracy_interval=wilson_interval(correct, len(actual)),
        uncertain=int((~certain).sum()),
        # No sample is actually uncertain: the last row is empty and left out.
        confusion_matrix=_confusion_matrix(actual, predicted, size + 1)[:size],
    )
