"""Tag learn: the learn block's settings, its last training, its models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ei_automation.errors import UsageError
from ei_automation.schema.metrics import VARIANTS
from ei_automation.studio_api.samples import METADATA_GROUP
from ei_automation.studio_api.training import EXPOSED, parameters_from
from ei_automation.studio_server import block_json
from ei_automation.studio_server.blocks import WEIGHTS
from ei_automation.studio_server.call import Call, File, RefusalError, ok
from ei_automation.studio_server.impulses import IMPULSE_ID, TRAINING
from ei_automation.studio_server.learning import MINIMUM_CONFIDENCE, model_folder
from ei_automation.studio_server.operations import serves

NUMBER, TEXT, SWITCH = (int, float), (str,), (bool,)
SETTABLE: dict[str, tuple[type, ...]] = {
    "mode": TEXT,
    MINIMUM_CONFIDENCE: NUMBER,
    "selectedModelType": TEXT,
    "visualLayers": (list,),
    "trainingCycles": (int,),
    "learningRate": NUMBER,
    "batchSize": NUMBER,
    "trainTestSplit": NUMBER,
    "autoClassWeights": SWITCH,
    "useLearnedOptimizer": SWITCH,
    "augmentationPolicyImage": TEXT,
    "profileInt8": SWITCH,
    "skipEmbeddingsAndMemory": SWITCH,
    "customValidationMetadataKey": TEXT,
    "showAdvancedTrainingSettings": SWITCH,
    "showAugmentationTrainingSettings": SWITCH,
    "customParameters": (dict,),
    "lastShownModelVariant": TEXT,
}
"""What can be set, and what it must be."""
IGNORED = frozenset({"script", "assertGpuUsagePercentage"})
NOT_UPDATED = "Not updated configuration (no parameters were passed in that can be set)"
MODELS = {"float32": ("1", "TensorFlow Lite (float32)"), "int8": ("2", "TensorFlow Lite (int8 quantized)")}
"""Variant to the number and name of its download."""


def checked_changes(call: Call, learn_id: int) -> dict[str, Any]:
    """What a SetKerasParameterRequest changes.

    Raises:
        RefusalError: It changes nothing, or the local Studio cannot train that.
    """
    block = block_json.block_of(call.studio, call.project_id, "learnBlocks", learn_id)
    changes = {name: value for name, value in call.body.items() if value is not None and name not in IGNORED}
    if not changes:
        raise RefusalError(NOT_UPDATED)
    for name, value in changes.items():
        _check_value(name, value)
    settings = {**block_json.keras_settings(call.studio, call.project_id, block), **changes}
    try:
        parameters_from(settings)
    except UsageError as error:
        raise RefusalError(f"The local Studio cannot train this: {error.message}") from None
    return changes


def _check_value(name: str, value: Any) -> None:
    kinds = SETTABLE.get(name)
    if kinds is None:
        raise RefusalError(f"The local Studio has no training parameter '{name}'")
    if type(value) not in kinds:
        raise RefusalError(f"Missing or invalid value for '{name}'")
    if isinstance(value, float) and not math.isfinite(value):
        raise RefusalError(f"Missing or invalid value for '{name}'")
    if name == "visualLayers" and not all(
        isinstance(layer, dict) and isinstance(layer.get("type"), str) for layer in value
    ):
        raise RefusalError("Missing or invalid value for 'visualLayers'")
    if name == MINIMUM_CONFIDENCE and not 0 <= value <= 1:
        raise RefusalError("The minimum confidence is a number between 0 and 1")
    if name == "useLearnedOptimizer" and value:
        raise RefusalError("The local Studio has no learned optimizer")
    if name == "customValidationMetadataKey" and value not in ("", METADATA_GROUP):
        raise RefusalError(f"The local Studio groups its validation by the metadata key {METADATA_GROUP} only")
    if name in ("selectedModelType", "lastShownModelVariant") and value not in VARIANTS:
        raise RefusalError(f"Invalid value for '{name}', expected one of {', '.join(VARIANTS)}")
    if name == "customParameters":
        _check_custom(value)


def _check_custom(values: Mapping[str, Any]) -> None:
    known = {item.name for item in EXPOSED}
    for name, value in values.items():
        if name not in known or not isinstance(value, str):
            raise RefusalError(f"The block has no custom parameter '{name}', or not such a value")
    if values.get("eiauto_weights", "") not in ("", *WEIGHTS):
        raise RefusalError(f"eiauto_weights is one of {', '.join(WEIGHTS)}")


@serves("get_keras")
def get_keras(call: Call) -> dict[str, Any]:
    """What the block is set to."""
    return ok(**block_json.keras_config_json(call.studio, call.project_id, call.number("learnId")))


@serves("set_keras")
def set_keras(call: Call) -> dict[str, Any]:
    """Change what the block is set to; the last training stays what it was."""
    learn_id = call.number("learnId")
    call.studio.impulses.set_keras_config(call.project_id, learn_id, checked_changes(call, learn_id))
    return ok()


@serves("get_keras_metadata")
def get_keras_metadata(call: Call) -> dict[str, Any]:
    """The last training's classes, metrics and curves."""
    found = block_json.keras_metadata_json(call.studio, call.project_id, call.number("learnId"))
    if call.asked_switch("excludeLabels"):
        found["labels"] = []
    return ok(**found)


@serves("start_keras_profile_job")
def start_keras_profile_job(call: Call) -> dict[str, Any]:
    """There is nothing to profile: the local Studio invents no latency."""
    block_json.block_of(call.studio, call.project_id, "learnBlocks", call.number("learnId"))
    return ok()


@serves("get_keras_data_explorer_features")
def get_keras_data_explorer_features(call: Call) -> dict[str, Any]:
    """The local Studio makes no embeddings."""
    block_json.block_of(call.studio, call.project_id, "learnBlocks", call.number("learnId"))
    return ok(hasFeatures=False, data=[])


@serves("list_downloads")
def list_downloads(call: Call) -> dict[str, Any]:
    """The trained models."""
    studio, project_id = call.studio, call.project_id
    found = []
    for block in (studio.impulses.get(project_id) or {}).get("learnBlocks", ()):
        made = studio.impulses.value(project_id, block["id"], TRAINING)
        for variant, (number, name) in MODELS.items() if made else ():
            size = made["models"][variant]["size_bytes"]
            found.append(
                {
                    "id": number,
                    "name": f"{block['name']} model",
                    "type": name,
                    "size": f"{size / 1000:.0f} KB",
                    "link": f"/v1/api/{project_id}/learn-data/{block['id']}/model/{number}",
                    "impulseId": IMPULSE_ID,
                }
            )
    return ok(downloads=found)


@serves("download_learn_model")
def download_learn_model(call: Call) -> File:
    """A trained model, by the number of its download or by its variant."""
    studio, project_id, learn_id = call.studio, call.project_id, call.number("learnId")
    block_json.block_of(studio, project_id, "learnBlocks", learn_id)
    made = studio.impulses.value(project_id, learn_id, TRAINING)
    if made is None:
        raise RefusalError("No trained model found, train your impulse first")
    wanted = call.path["modelDownloadId"]
    for variant, (number, _) in MODELS.items():
        if wanted in (number, variant):
            place = model_folder(studio.projects, project_id) / made["models"][variant]["sha256"]
            name = f"ei-project-{project_id}-keras-{learn_id}-{variant}.tflite"
            return File(place.read_bytes(), "application/octet-stream", name)
    raise RefusalError(f"No model download found with ID {wanted[:40]}")
