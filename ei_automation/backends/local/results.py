"""What a training and a test leave in the local backend's folder; what cannot be read counts as not there."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ei_automation.backends.local.store import Store
from ei_automation.files import sha256_file, write_atomically
from ei_automation.schema.lock import TrainingRecord
from ei_automation.schema.metrics import Metrics, Prediction

DOING = "writing a test's result"
RESULT_VERSION = 2
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


def read_training(folder: Path) -> KeptTraining | None:
    """Read a kept training; None where there is none, or not one that can be read."""
    try:
        kept = json.loads((folder / "training.json").read_text(encoding="utf-8"))
        record = TrainingRecord.model_validate(kept["record"])
        return KeptTraining(record, frozenset(kept["validation"]), list(kept["labels"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_whole(folder: Path, kept: KeptTraining) -> bool:
    """Whether a training's models are there and are what it wrote."""
    models = {folder / f"{variant}.tflite": model.sha256 for variant, model in kept.record.models.items()}
    return all(path.is_file() and sha256_file(path) == sha256 for path, sha256 in models.items())


def read_evaluation(path: Path, ids: Mapping[str, int]) -> tuple[list[Metrics], list[Prediction]] | None:
    """Read a kept test.

    Args:
        path: Of the metrics.
        ids: Content hash to today's sample id; predictions of other samples are left out.

    Returns:
        Metrics and predictions; None where there are none, or not such that can be read.
    """
    try:
        metrics = [Metrics.model_validate(item) for item in json.loads(path.read_text(encoding="utf-8"))]
        with path.with_suffix(".npz").open("rb") as stream, np.load(stream) as scores:
            predictions = [
                Prediction(ids[sha256], item.variant, item.category, tuple(row))
                for item in metrics
                for sha256, row in zip(
                    scores[f"sha256-{item.category}"].tolist(),
                    scores[f"{item.variant}-{item.category}"].tolist(),
                    strict=True,
                )
                if sha256 in ids
            ]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    return metrics, predictions


def keep_evaluation(place: Path, metrics: Sequence[Metrics], scores: dict[str, NDArray[Any]]) -> None:
    """Keep metrics and the scores behind them; the metrics last, as the mark that both are there."""
    stream = io.BytesIO()
    np.savez(stream, **scores)  # type: ignore[arg-type] # the stub takes the arrays for its options
    write_atomically(place.with_suffix(".npz"), stream.getvalue(), doing=DOING)
    content = json.dumps([item.model_dump(mode="json") for item in metrics], indent=1)
    write_atomically(place, content, doing=DOING)
