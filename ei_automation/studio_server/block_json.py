"""Blocks and what they have made in Studio's JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ei_automation.schema.metrics import VARIANTS, WEIGHTED_AVERAGE
from ei_automation.studio_server.blocks import dsp_group, feature_count, keras_defaults, transfer_models
from ei_automation.studio_server.call import RefusalError, iso
from ei_automation.studio_server.impulses import FEATURE_SAMPLES, FEATURES, TRAINING
from ei_automation.studio_server.learning import current_impulse, learned_samples
from ei_automation.studio_server.sample_filter import Filter

if TYPE_CHECKING:
    from ei_automation.studio_server.samples import SampleRow
    from ei_automation.studio_server.studio import Studio

THRESHOLD_KEY = "min_score"
"""Identifier of the minimum confidence among a block's thresholds."""
NO_THRESHOLDS: list[dict[str, Any]] = []
"""A block's thresholds in every answer: edgeimpulse_api 1.96.3 cannot read one ("Multiple matches found when
deserializing the JSON string into BlockThresholdValue"); minimumConfidenceRating tells the same number."""
LEARNING = ("training", "validation")
AREA, PRECISION, RECALL, F1 = (
    "Area under ROC Curve",
    "Weighted average Precision",
    "Weighted average Recall",
    "Weighted average F1 score",
)
"""Names of additional metrics, as Studio shows them."""
ROUNDED_DIGITS = 2
LARGEST = 3.4028234663852886e38


def block_of(studio: Studio, project_id: int, kind: str, block_id: int) -> dict[str, Any]:
    """A block of the project's impulse.

    Args:
        studio: Where the project is.
        project_id: Whose.
        kind: dspBlocks or learnBlocks.
        block_id: Which.

    Raises:
        RefusalError: There is none.
    """
    impulse = studio.impulses.get(project_id) or {}
    for block in impulse.get(kind, ()):
        if block["id"] == block_id:
            return dict(block)
    name = {"dspBlocks": "DSP", "learnBlocks": "learn"}[kind]
    raise RefusalError(f"No {name} block found with ID {block_id}")


def features_of(studio: Studio, project_id: int, dsp_id: int) -> dict[str, Any] | None:
    """What a DSP block has made; None where nothing, or nothing is left of its samples."""
    made = studio.impulses.value(project_id, dsp_id, FEATURES)
    return made if made and learning_count(studio, project_id) else None


def learning_count(studio: Studio, project_id: int) -> int:
    """Enabled samples that train or validate."""
    return sum(studio.samples.count(project_id, Filter(category=name, disabled=False)) for name in LEARNING)


def learning_labels(studio: Studio, project_id: int) -> list[str]:
    """Labels of the samples that train or validate, sorted."""
    found: set[str] = set()
    for name in LEARNING:
        summary = studio.samples.summary(project_id, Filter(category=name, disabled=False))
        found |= {label for _, label in summary if label}
    return sorted(found)


def samples_by_hash(studio: Studio, project_id: int) -> dict[str, list[SampleRow]]:
    """Enabled samples by their content, oldest first."""
    found: dict[str, list[SampleRow]] = {}
    for row in reversed(learned_samples(studio.samples, project_id)):
        found.setdefault(row.sha256, []).append(row)
    return found


# DSP


def dsp_config_json(studio: Studio, project_id: int, dsp_id: int) -> dict[str, Any]:
    """Schema DSPConfig."""
    block = block_of(studio, project_id, "dspBlocks", dsp_id)
    labels, made = learning_labels(studio, project_id), features_of(studio, project_id, dsp_id)
    count = feature_count(current_impulse(studio.impulses, project_id))
    info = {
        "id": dsp_id,
        "name": block["name"],
        "windowLength": 0,
        "type": block["type"],
        "classes": labels,
        "features": {
            "generated": made is not None,
            **({"count": made["count"], "classes": made["labels"]} if made else {"count": count}),
        },
        "expectedWindowCount": learning_count(studio, project_id),
        "inputAxes": block["axes"],
        "canCalculateFeatureImportance": False,
        "calculateFeatureImportance": False,
        "canNormalizeData": False,
        "normalizeData": "none",
        "hasAutoTune": False,
    }
    return {"dsp": info, "config": [dsp_group(studio.impulses.dsp_config(project_id, dsp_id))]}


def dsp_metadata_json(studio: Studio, project_id: int, dsp_id: int, *, with_samples: bool) -> dict[str, Any]:
    """Schema DSPMetadata; `generated` is false where there are no features.

    Args:
        studio: Where the project is.
        project_id: Whose.
        dsp_id: Which block.
        with_samples: Whether every sample is named.
    """
    block_of(studio, project_id, "dspBlocks", dsp_id)
    impulse, made = current_impulse(studio.impulses, project_id), features_of(studio, project_id, dsp_id)
    height, width, channels = made["shape"] if made else impulse.input_shape if impulse else (0, 0, 0)
    included = included_samples(studio, project_id, dsp_id) if made and with_samples else []
    return {
        "created": iso(made["created"] if made else studio.impulses.modified(project_id)),
        "generated": made is not None,
        "dspConfig": made["config"] if made else studio.impulses.dsp_config(project_id, dsp_id),
        "labels": made["labels"] if made else [],
        "windowCount": made["count"] if made else 0,
        "featureCount": height * width * channels,
        "includedSamples": [{"id": row.sample_id, "windowCount": 1} for row in included],
        "windowSizeMs": 0,
        "windowIncreaseMs": 0,
        "padZeros": False,
        "frequency": 0,
        "outputConfig": {"type": "image", "shape": {"width": width, "height": height, "channels": channels}},
    }


def included_samples(studio: Studio, project_id: int, dsp_id: int) -> list[SampleRow]:
    """The samples that features were made of, ordered by content hash; of equal contents the oldest."""
    rows = samples_by_hash(studio, project_id)
    hashes = studio.impulses.value(project_id, dsp_id, FEATURE_SAMPLES) or ()
    return [rows[sha256][0] for sha256 in hashes if sha256 in rows]


# Learn


def keras_settings(studio: Studio, project_id: int, block: Mapping[str, Any]) -> dict[str, Any]:
    """What a learn block is set to, whole: what was set, over the defaults; with the block's `type`."""
    kept = studio.impulses.keras_config(project_id, block["id"])
    defaults = keras_defaults(block["type"])
    custom = {**defaults["customParameters"], **(kept.get("customParameters") or {})}
    return {**defaults, **kept, "customParameters": custom, "type": block["type"]}


def keras_config_json(studio: Studio, project_id: int, learn_id: int) -> dict[str, Any]:
    """Schema KerasConfig."""
    block = block_of(studio, project_id, "learnBlocks", learn_id)
    settings = keras_settings(studio, project_id, block)
    labels, impulse = learning_labels(studio, project_id), current_impulse(studio.impulses, project_id)
    height, width, channels = impulse.input_shape if impulse else (0, 0, 0)
    names = [item["name"] for item in (studio.impulses.get(project_id) or {})["dspBlocks"]]
    return {
        **settings,
        "dependencies": {
            "classes": labels,
            "blockNames": names,
            "featureCount": feature_count(impulse),
            "sampleCount": learning_count(studio, project_id),
            "outputClasses": labels,
        },
        "trained": studio.impulses.value(project_id, learn_id, TRAINING) is not None,
        "name": block["name"],
        "script": "",
        "defaultBatchSize": keras_defaults(block["type"])["batchSize"],
        "shape": f"({height}, {width}, {channels})",
        "transferLearningModels": transfer_models(block["type"], settings["customParameters"]),
        "thresholds": NO_THRESHOLDS,
    }


def keras_metadata_json(studio: Studio, project_id: int, learn_id: int) -> dict[str, Any]:
    """Schema KerasModelMetadata: of the last training, whatever has become of its samples since."""
    block_of(studio, project_id, "learnBlocks", learn_id)
    made = studio.impulses.value(project_id, learn_id, TRAINING)
    labels = made["labels"] if made else []
    count = feature_count(current_impulse(studio.impulses, project_id))
    layer = {
        "input": {"shape": count, "name": "x", "type": "float"},
        "output": {"shape": len(labels), "name": "y", "type": "float"},
    }
    return {
        "created": iso(made["created"] if made else studio.impulses.modified(project_id)),
        "layers": [layer] if made else [],
        "classNames": labels,
        "labels": labels,
        "availableModelTypes": list(VARIANTS) if made else [],
        "recommendedModelType": "int8",
        "modelValidationMetrics": [metrics_json(item) for item in made["metrics"]] if made else [],
        "hasTrainedModel": made is not None,
        "mode": "classification",
        "imageInputScaling": "0..1",
        "thresholds": NO_THRESHOLDS,
        "tensorboardGraphs": graphs_json(made["record"]["curves"]) if made else [],
    }


def metrics_json(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Schema KerasModelMetadataMetrics.

    Args:
        metrics: Our `Metrics` as JSON.
    """
    return {
        "type": metrics["variant"],
        "loss": metrics["loss"],
        "accuracy": metrics["accuracy"],
        "confusionMatrix": metrics["confusion_matrix"],
        "report": report_json(metrics),
        "onDevicePerformance": [],
        "visualization": "none",
        "isSupportedOnMcu": True,
        "additionalMetrics": additional_metrics(metrics),
    }


def report_json(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """scikit-learn's classification report, in its words."""
    rows = {
        label: {
            "precision": row["precision"],
            "recall": row["recall"],
            "f1-score": row["f1_score"],
            "support": row["support"],
        }
        for label, row in metrics["report"].items()
    }
    return {**rows, "accuracy": metrics["accuracy"]}


def additional_metrics(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Schema AdditionalMetric: the averages of the report, and the area where there is one."""
    average = metrics["report"][WEIGHTED_AVERAGE]
    values = {
        AREA: metrics["roc_auc"],
        PRECISION: average["precision"],
        RECALL: average["recall"],
        F1: average["f1_score"],
    }
    return [
        {"name": name, "value": f"{value:.{ROUNDED_DIGITS}f}", "fullPrecisionValue": value}
        for name, value in values.items()
        if value is not None
    ]


def graphs_json(curves: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Loss and accuracy of every cycle, as KerasModelMetadataGraphs.

    Args:
        curves: Our `TrainingCurves` as JSON.
    """
    stages = ", ".join(str(start) for start in curves["stage_starts"])
    about = f"stages start at cycle {stages}; the weights of cycle {curves['best_cycle']} were kept (from 0)"
    return [
        {
            "title": title,
            "xLabel": "Training cycle",
            "yLabel": title,
            "description": about,
            "data": [
                {"title": "Training", "values": [_finite(value) for value in curves[training]]},
                {"title": "Validation", "values": [_finite(value) for value in curves[validation]]},
            ],
        }
        for title, training, validation in (
            ("Loss", "loss", "validation_loss"),
            ("Accuracy", "accuracy", "validation_accuracy"),
        )
    ]


def _finite(value: float) -> float:
    """A number that JSON has: a loss that has become none is told as the largest that float32 has."""
    return value if math.isfinite(value) else LARGEST
