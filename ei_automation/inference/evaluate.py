"""Run a model over a category and count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ei_automation.errors import InterruptedRunError, VerificationError
from ei_automation.inference.interpreter import Classifier, Features, Scores
from ei_automation.inference.metrics import classification_metrics
from ei_automation.schema.metrics import EvaluationCategory, Metrics, ModelVariant

PIECE = 256
"""Samples between two looks at `should_stop`; well under a second for the networks here."""


@dataclass(frozen=True)
class Truth:
    """What the scores are held against.

    Attributes:
        labels_index: (N,): the actual label of each sample, as an index into `label_names`.
        label_names: K labels, in the order of the model's outputs.
        variant: Which model it is.
        category: Which samples they are.
        minimum_confidence: A best score under it is uncertain, 0..1.
    """

    labels_index: Sequence[int] | NDArray[np.int64]
    label_names: Sequence[str]
    variant: ModelVariant
    category: EvaluationCategory
    minimum_confidence: float


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`.

    Attributes:
        metrics: What was counted.
        scores: float32, (N, K), 0..1, in the order of the samples.
    """

    metrics: Metrics
    scores: Scores


def evaluate(
    model: bytes | Path,
    feature_chunks: Iterable[Features],
    *,
    truth: Truth,
    threads: int = 1,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Run a .tflite model over samples and count the metrics.

    Only one chunk of features is held at a time.

    Args:
        model: Bytes of the .tflite file, or where it is.
        feature_chunks: float32, (n, H, W, C), 0..1 each; together the N samples of `truth`, in its order.
        truth: The actual labels.
        threads: Interpreters that run side by side; the result does not depend on it.
        on_progress: Called with samples done and in all.
        should_stop: Asked every few hundred samples.

    Raises:
        VerificationError: The model is corrupt or belongs to other labels, features or samples.
        InterruptedRunError: `should_stop` said so.
    """
    total = len(truth.labels_index)
    classifier = Classifier(model, threads=threads)
    collected = np.empty((total, classifier.output_count), dtype=np.float32)
    done = 0
    for piece in _pieces(feature_chunks):
        if should_stop():
            raise InterruptedRunError(f"testing was stopped after {done} of {total} samples")
        if done + len(piece) > total:
            raise VerificationError(f"there are features of more samples than the {total} that have labels")
        collected[done : done + len(piece)] = classifier.scores(piece)
        done += len(piece)
        on_progress(done, total)
    if done != total:
        raise VerificationError(f"there are features of {done} samples, but {total} have labels")
    metrics = classification_metrics(
        collected,
        truth.labels_index,
        truth.label_names,
        variant=truth.variant,
        category=truth.category,
        minimum_confidence=truth.minimum_confidence,
    )
    return Evaluation(metrics, collected)


def _pieces(chunks: Iterable[Features]) -> Iterable[Features]:
    """Chunks, cut to what passes between two looks at the stop sign."""
    for chunk in chunks:
        for start in range(0, len(chunk), PIECE):
            yield chunk[start : start + PIECE]
