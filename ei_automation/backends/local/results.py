"""What a training and a test leave in the local backend's folder."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ei_automation.backends.local.store import Store
from ei_automation.files import write_atomically
from ei_automation.schema.lock import TrainingRecord
from ei_automation.schema.metrics import Metrics, Prediction

DOING = "writing a test's result"
RESULT_VERSION = 1
"""Changes when the layout of these files does: results of another one are made anew, not read."""


def training_folder(store: Store, inputs: str) -> Path:
    """Where the result of a training with these inputs is."""
    return store.folder / "trainings" / inputs[:16]


@dataclass(frozen=True)
class KeptTraining:
    """A training's result as it is kept.

    Attributes:
        record: For the lock.
        validation: Content hashes of the validation samples.
        labels: In the order of the model's outputs.
    """

    record: TrainingRecord
    validation: frozenset[str]
    labels: list[str]


def read_training(folder: Path) -> KeptTraining:
    """Read a kept training."""
    kept = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    return KeptTraining(
        TrainingRecord.model_validate(kept["record"]), frozenset(kept["validation"]), list(kept["labels"])
    )


def read_evaluation(path: Path) -> tuple[list[Metrics], list[Prediction]]:
    """Metrics and predictions of a test; empty before testing."""
    if not path.is_file():
        return [], []
    metrics = [Metrics.model_validate(item) for item in json.loads(path.read_text(encoding="utf-8"))]
    with np.load(path.with_suffix(".npz")) as scores:
        predictions = [
            Prediction(int(sample_id), item.variant, item.category, tuple(float(score) for score in row))
            for item in metrics
            for sample_id, row in zip(
                scores[f"ids-{item.category}"], scores[f"{item.variant}-{item.category}"], strict=True
            )
        ]
    return metrics, predictions


def keep_evaluation(place: Path, metrics: Sequence[Metrics], scores: dict[str, NDArray[Any]]) -> None:
    """Keep metrics and the scores behind them; the metrics last, as the mark that both are there."""
    stream = io.BytesIO()
    np.savez(stream, **scores)  # type: ignore[arg-type] # the stub takes the arrays for its options
    write_atomically(place.with_suffix(".npz"), stream.getvalue(), doing=DOING)
    content = json.dumps([item.model_dump(mode="json") for item in metrics], indent=1)
    write_atomically(place, content, doing=DOING)
