"""What Studio tells of a trained block: metrics, scores, curves, models; never read from the text of a log."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from ei_automation.backends.studio.client import StudioClient
from ei_automation.errors import NetworkError, NotFoundError
from ei_automation.schema.metrics import VARIANTS, Metrics, ModelVariant, Prediction, TrainingCurves
from ei_automation.schema.sample import StoredSample

MODEL_BYTES = 1024 * 1024 * 1024
RESULTS_WITHIN_S = 60.0
"""How long after the end of a job its results may stay away."""
LOOK_S = (0.2, 5.0)
"""First and longest pause between two looks for them."""
_NO_RESULTS = "no model testing results"
"""Studio's words where nothing was tested, and for a moment after something was."""
_LINK = re.compile(r"/learn-data/(\d+)/model/([^/?#]+)")

Scores = dict[int, tuple[float, ...]]
"""Sample number to scores, in the order of the labels."""


@dataclass(frozen=True)
class Metadata:
    """What a training left, from Studio's KerasModelMetadataResponse.

    Attributes:
        labels: In the order of the model's outputs.
        metrics: Variant to Studio's metrics on the validation samples.
        curves: Empty where Studio tells none.
    """

    labels: tuple[str, ...]
    metrics: Mapping[ModelVariant, Mapping[str, Any]]
    curves: TrainingCurves

    @property
    def validation_count(self) -> int:
        """Samples that validated."""
        counted = next(iter(self.metrics.values()), {}).get("confusionMatrix", ())
        return sum(sum(row) for row in _whole_counts(counted))


def read_metadata(client: StudioClient, project_id: int, learn_id: int) -> Metadata:
    """What the last training of a learn block left.

    Raises:
        NotFoundError: It is not trained.
    """
    reply = client.get(f"/api/{project_id}/training/keras/{learn_id}/metadata", excludeLabels=True)
    found = {item["type"]: item for item in reply["modelValidationMetrics"]}
    return Metadata(
        labels=tuple(reply["classNames"]),
        metrics={variant: found[variant] for variant in VARIANTS if variant in found},
        curves=read_curves(reply.get("tensorboardGraphs") or ()),
    )


def read_curves(graphs: Iterable[Mapping[str, Any]]) -> TrainingCurves:
    """Training curves from Studio's graphs, which are known by their titles.

    Args:
        graphs: Studio's KerasModelMetadataGraph.

    Returns:
        The best cycle is the one with the lowest validation loss, which is the one whose weights Studio keeps.
    """
    found: dict[str, list[float]] = {}
    for graph in graphs:
        for series in graph["data"]:
            title = f"{graph['title']} {series['title']}".lower()
            of = "loss" if "loss" in title else "accuracy" if "acc" in title else ""
            name = f"validation_{of}" if "val" in str(series["title"]).lower() else of
            if of:
                found.setdefault(name, [float(value) for value in series["values"]])
    validation = found.get("validation_loss", [])
    return TrainingCurves(
        loss=found.get("loss", []),
        accuracy=found.get("accuracy", []),
        validation_loss=validation,
        validation_accuracy=found.get("validation_accuracy", []),
        stage_starts=[0] if found else [],
        best_cycle=validation.index(min(validation)) if validation else 0,
    )


def validation_metrics(metadata: Metadata) -> list[Metrics]:
    """Studio's own numbers on the validation samples, with what follows from its confusion matrix."""
    return [_from_matrix(metadata.labels, variant, found) for variant, found in metadata.metrics.items()]


def _from_matrix(labels: Sequence[str], variant: ModelVariant, found: Mapping[str, Any]) -> Metrics:
    """Metrics from a confusion matrix: as if each score were sure, which says nothing of loss and AUC."""
    import numpy as np

    from ei_automation.inference.metrics import classification_metrics

    matrix = _whole_counts(found["confusionMatrix"])
    cells = [(a, p) for a, row in enumerate(matrix) for p, count in enumerate(row) for _ in repeat(None, count)]
    certain = np.eye(len(labels), dtype=np.float32)[[predicted for _, predicted in cells]]
    counted = classification_metrics(
        certain.reshape(len(cells), len(labels)),
        [actual for actual, _ in cells],
        labels,
        variant=variant,
        category="validation",
        minimum_confidence=0.0,
    )
    return counted.model_copy(update={"loss": float(found["loss"]), "roc_auc": None, "with_threshold": None})


def _whole_counts(matrix: Iterable[Iterable[float]]) -> list[list[int]]:
    """A confusion matrix as numbers of samples.

    Raises:
        NetworkError: It holds ratios.
    """
    rows = [list(row) for row in matrix]
    if any(value != int(value) or value < 0 for row in rows for value in row):
        raise NetworkError("Studio's confusion matrix holds no numbers of samples")
    return [[int(value) for value in row] for row in rows]


def read_scores(
    client: StudioClient, project_id: int, learn_id: int, labels: Sequence[str], *, expected: bool
) -> dict[ModelVariant, Scores]:
    """Scores of the testing samples by every variant; empty where nothing was tested.

    Args:
        client: To ask.
        project_id: Whose.
        learn_id: The learn block.
        labels: In the order of the model's outputs.
        expected: A test has just ended: results that are not there yet are waited for.
    """
    end, pause_s = time.monotonic() + (RESULTS_WITHIN_S if expected else 0.0), LOOK_S[0]
    while True:
        found = {variant: _scores(client, project_id, learn_id, labels, variant) for variant in VARIANTS}
        if all(found.values()) or time.monotonic() >= end:
            return found if all(found.values()) else {}
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LOOK_S[1])


def _scores(
    client: StudioClient, project_id: int, learn_id: int, labels: Sequence[str], variant: ModelVariant
) -> Scores:
    """Scores of one variant; empty where there are none."""
    try:
        reply = client.get(
            f"/api/{project_id}/classify/all/result", variant=variant, truncateStructuredLabels=True
        )
    except NotFoundError as error:
        if _NO_RESULTS not in error.message.lower():
            raise
        return {}
    if variant not in reply["availableVariants"] or reply.get("noResultsBecauseThresholdsChanged"):
        return {}
    scores = {}
    for item in reply["result"]:
        for classification in item["classifications"]:
            if classification["learnBlock"]["id"] == learn_id and classification["result"]:
                found = classification["result"][0]
                scores[int(item["sampleId"])] = tuple(float(found.get(label, 0.0)) for label in labels)
    return scores


def testing_metrics(
    scores: Mapping[ModelVariant, Scores],
    samples: Sequence[StoredSample],
    labels: Sequence[str],
    minimum_confidence: float,
) -> list[Metrics]:
    """Metrics counted from every sample's scores.

    Args:
        scores: By variant.
        samples: Testing samples with a label of the model, all of which have scores, ordered by content hash.
        labels: In the order of the model's outputs.
        minimum_confidence: A best score under it is uncertain, 0..1.
    """
    import numpy as np

    from ei_automation.inference.metrics import classification_metrics

    return [
        classification_metrics(
            np.array([found[sample.sample_id] for sample in samples], np.float32),
            [labels.index(sample.label) for sample in samples],
            labels,
            variant=variant,
            category="testing",
            minimum_confidence=minimum_confidence,
        )
        for variant, found in scores.items()
    ]


def testing_predictions(
    scores: Mapping[ModelVariant, Scores], samples: Sequence[StoredSample]
) -> list[Prediction]:
    """The scores behind `testing_metrics`, in the same order."""
    return [
        Prediction(sample.sample_id, variant, "testing", found[sample.sample_id])
        for variant, found in scores.items()
        for sample in samples
    ]


def download_model(client: StudioClient, project_id: int, learn_id: int, variant: ModelVariant) -> bytes:
    """The .tflite file of a variant.

    Raises:
        NotFoundError: Studio lists none.
    """
    for item in client.get(f"/api/{project_id}/downloads")["downloads"]:
        if (place := _model_place(item, learn_id, variant)) is not None:
            target = io.BytesIO()
            client.download(f"/api/{project_id}{place}", target, most_bytes=MODEL_BYTES)
            return target.getvalue()
    raise NotFoundError(f"Studio lists no {variant} model to download", hint="run `eiauto train` again")


def _model_place(item: Mapping[str, Any], learn_id: int, variant: ModelVariant) -> str | None:
    """The path of a download after the project, if it is the wanted model; Studio tells by its type, in words."""
    words = f"{item['name']} {item['type']}".lower()
    other = {"int8": "float32", "float32": "int8"}[variant]
    if "lite" not in words or variant not in words or other in words:
        return None
    if link := _LINK.search(str(item.get("link", ""))):
        return link[0] if int(link[1]) == learn_id else None
    return f"/learn-data/{learn_id}/model/{item['id']}" if item.get("id") else None
