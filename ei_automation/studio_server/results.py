"""What testing found, counted from the kept scores with the threshold as it is now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ei_automation.schema.metrics import UNCERTAIN, VARIANTS
from ei_automation.studio_server.block_json import (
    NO_THRESHOLDS,
    additional_metrics,
    keras_settings,
    samples_by_hash,
)
from ei_automation.studio_server.call import RefusalError
from ei_automation.studio_server.impulses import TESTING, TRAINING
from ei_automation.studio_server.learning import confidence

if TYPE_CHECKING:
    from ei_automation.schema.metrics import Metrics, ModelVariant
    from ei_automation.studio_server.samples import SampleRow
    from ei_automation.studio_server.studio import Studio

NO_RESULTS = "No model testing results found, run 'startClassifyJob' first"


@dataclass(frozen=True)
class Tested:
    """A sample that was tested.

    Attributes:
        row: The sample as it is now.
        actual: Its label when it was tested.
        scores: One a label, 0..1.
    """

    row: SampleRow
    actual: str
    scores: Sequence[float]


@dataclass(frozen=True)
class Outcome:
    """What testing found with one variant.

    Attributes:
        block: The learn block, of schema ImpulseLearnBlock.
        settings: What it is set to.
        labels: In the order of the scores.
        tested: By sample number; samples that are gone are left out.
        threshold: A best score under it is uncertain.
        variant: Of the model.
    """

    block: Mapping[str, Any]
    settings: Mapping[str, Any]
    labels: Sequence[str]
    tested: Sequence[Tested]
    threshold: float
    variant: ModelVariant

    def prediction(self, scores: Sequence[float]) -> str:
        """The label with the best score, or uncertain."""
        best = max(range(len(scores)), key=scores.__getitem__)
        return self.labels[best] if scores[best] >= self.threshold else UNCERTAIN

    def metrics(self) -> Metrics:
        """Counted as our own evaluation counts."""
        import numpy as np

        from ei_automation.inference.metrics import classification_metrics

        scores = np.array([item.scores for item in self.tested], np.float32).reshape(-1, len(self.labels))
        actual = [self.labels.index(item.actual) for item in self.tested]
        return classification_metrics(
            scores,
            actual,
            self.labels,
            variant=self.variant,
            category="testing",
            minimum_confidence=self.threshold,
        )


def learn_block(studio: Studio, project_id: int) -> dict[str, Any]:
    """The project's trained learn block.

    Raises:
        RefusalError: There is none.
    """
    for block in (studio.impulses.get(project_id) or {}).get("learnBlocks", ()):
        if studio.impulses.value(project_id, block["id"], TRAINING) is not None:
            return dict(block)
    raise RefusalError("No trained impulse found, train your impulse first")


def outcome_of(studio: Studio, project_id: int, variant: str) -> Outcome:
    """What testing found.

    Args:
        studio: Where the project is.
        project_id: Whose.
        variant: float32 or int8; empty for the block's selected one.

    Raises:
        RefusalError: Nothing is trained, nothing was tested, or no such variant.
    """
    block = learn_block(studio, project_id)
    found = studio.impulses.value(project_id, block["id"], TESTING)
    if found is None:
        raise RefusalError(NO_RESULTS)
    settings = keras_settings(studio, project_id, block)
    chosen = chosen_variant(settings, variant)
    rows, scores = samples_by_hash(studio, project_id), found["scores"][chosen]
    tested = [
        Tested(row, label, scores[sha256])
        for sha256, label in found["actual"].items()
        for row in rows.get(sha256, ())
        if row.category == "testing"
    ]
    tested.sort(key=lambda item: item.row.sample_id)
    threshold = confidence(studio.impulses, project_id, block["id"])
    return Outcome(block, settings, found["labels"], tested, threshold, chosen)


def chosen_variant(settings: Mapping[str, Any], wanted: str) -> ModelVariant:
    """The variant that is asked for, or a block's selected one.

    Raises:
        RefusalError: There is no such variant.
    """
    name = wanted or settings["selectedModelType"]
    for variant in VARIANTS:
        if variant == name:
            return variant
    raise RefusalError(f"There is no model variant '{name}'")


def prediction_json(result: Outcome, item: Tested) -> dict[str, Any]:
    """Schema ModelPrediction."""
    prediction = result.prediction(item.scores)
    return {
        "sampleId": item.row.sample_id,
        "startMs": 0,
        "endMs": 0,
        "label": item.actual,
        "prediction": prediction,
        "predictionCorrect": prediction == item.actual,
    }


def classification_json(
    block: Mapping[str, Any], settings: Mapping[str, Any], scores: Mapping[str, float], actual: str
) -> dict[str, Any]:
    """Schema ClassifySampleResponseClassification, of the one window that an image has.

    Args:
        block: The learn block.
        settings: What it is set to.
        scores: Label to score.
        actual: The sample's label.
    """
    return {
        "learnBlock": dict(block),
        "result": [dict(scores)],
        "minimumConfidenceRating": settings["minimumConfidenceRating"],
        "expectedLabels": [{"startIndex": 0, "endIndex": 0, "label": actual}],
        "thresholds": NO_THRESHOLDS,
        "intervalMs": 0,
        "frequencyHz": 0,
        "resultCount": 1,
    }


def accuracy_json(result: Outcome) -> dict[str, Any]:
    """Schema ClassifyJobResponseAllOfAccuracy; the confusion matrix counts samples, uncertain ones too."""
    good: Counter[str] = Counter()
    matrix: dict[str, Counter[str]] = {label: Counter() for label in result.labels}
    for item in result.tested:
        prediction = result.prediction(item.scores)
        matrix[item.actual][prediction] += 1
        good[item.actual] += prediction == item.actual
    everything = [*result.labels, UNCERTAIN]
    totals = {label: sum(row.values()) for label, row in matrix.items()}
    total, right = sum(totals.values()), sum(good.values())
    recalls = [good[label] / count for label, count in totals.items() if count]
    return {
        "totalSummary": {"good": right, "bad": total - right},
        "summaryPerClass": {
            label: {"good": good[label], "bad": count - good[label]} for label, count in totals.items()
        },
        "confusionMatrixValues": {
            label: {name: row[name] for name in everything} for label, row in matrix.items()
        },
        "allLabels": everything,
        **(
            {"accuracyScore": right / total, "balancedAccuracyScore": sum(recalls) / len(recalls)} if total else {}
        ),
    }


def block_metrics_json(result: Outcome) -> list[dict[str, Any]]:
    """Schema ClassifyJobResponseAllOfAdditionalMetricsByLearnBlock; nothing where nothing was tested."""
    if not result.tested:
        return []
    metrics = additional_metrics(result.metrics().model_dump(mode="json"))
    return [
        {
            "learnBlockId": result.block["id"],
            "learnBlockName": result.block["name"],
            "additionalMetrics": metrics,
        }
    ]


def variant_stats_json(result: Outcome) -> dict[str, Any]:
    """Schema ModelVariantStats."""
    accuracy = accuracy_json(result)
    matrix, right = accuracy["confusionMatrixValues"], accuracy["totalSummary"]["good"]
    return {
        "modelType": result.variant,
        "learnBlockId": result.block["id"],
        "learnBlockType": result.block["type"],
        "confusionMatrix": {
            actual: {name: {"raw": count} for name, count in row.items()} for actual, row in matrix.items()
        },
        "trainingLabels": list(result.labels),
        "classificationLabels": accuracy["allLabels"],
        "totalWindowCount": len(result.tested),
        "totalCorrectWindowCount": {"raw": right},
        "accuracy": {"raw": accuracy["accuracyScore"]} if result.tested else {},
    }
