"""Tag learn of the local Studio, and trainings: real ones, by the local backend."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ei_automation.backends import BackendOptions, ProjectFacts, open_backend
from ei_automation.backends.base import wait
from ei_automation.schema.impulse import Impulse
from ei_automation.schema.lock import MAIN_SPLIT
from ei_automation.schema.metrics import VARIANTS
from ei_automation.schema.sample import Category, Sample
from ei_automation.schema.training import TrainingParameters
from ei_automation.studio_api.impulse import impulse_from
from ei_automation.studio_api.training import EXPOSED, parameters_from, training_request
from ei_automation.studio_server.block_json import graphs_json
from ei_automation.studio_server.impulses import TRAINING as KEPT
from ei_automation.studio_server.sample_filter import Filter
from ei_automation.testing import RunningStudio
from tests.studio_server.trained import LEARN_ID, TRAINING, Caller, fill, trained, trained_folder

__all__ = ["trained", "trained_folder"]

BLOCK = f"{{p}}/training/keras/{LEARN_ID}"
TRAIN = f"{{p}}/jobs/train/keras/{LEARN_ID}"
FEATURES = "{p}/jobs/generate-features"


def unlike_studio() -> TrainingParameters:
    """Parameters of which Studio's request has no field for half."""
    layers = [{"type": "conv2d", "filters": 4, "pool_size": 3}, {"type": "flatten"}]
    return TrainingParameters.model_validate(
        {
            "learn_block": {"type": "keras", "visual_layers": layers},
            "training_cycles": 3,
            "learning_rate": 0.02,
            "batch_size": 8,
            "validation_ratio": 0.3,
            "validation_split": "group",
            "auto_class_weights": True,
            "augmentation": "all",
            "augmentation_views": 2,
            "early_stop_cycles": 2,
            "seed": 11,
        }
    )


def transfer() -> TrainingParameters:
    """Transfer learning from a random start, whose base is fine-tuned."""
    layer = {"type": "transfer_mobilenetv1_a1_d100", "neurons": 4, "dropout_ratio": 0.2}
    return TrainingParameters.model_validate(
        {
            "learn_block": {"type": "keras-transfer-image", "visual_layer": layer, "weights": "none"},
            "training_cycles": 2,
            "fine_tuning": {"mode": "base", "cycles": 1, "learning_rate": 0.001, "layers_ratio": 0.3},
        }
    )


def models(caller: Caller) -> dict[str, bytes]:
    """The models as the API gives them."""
    found = caller.get("{p}/downloads")["downloads"]
    base = caller.running.api_endpoint.removesuffix("/v1")
    return {
        variant: caller.raw("GET", f"../{item['link'].removeprefix('/v1/')}").content
        for variant, item in zip(VARIANTS, found, strict=True)
        if base and variant in item["type"]
    }


def train_locally(running: RunningStudio, folder: Path, impulse: Impulse, parameters: TrainingParameters) -> Any:
    """The same training by the local backend in a folder of its own; gives its models and its record."""
    rows = running.studio.samples.find(running.project_id, Filter())
    samples = [
        Sample(
            running.studio.samples.content(row),
            f"elsewhere/{row.filename}",
            row.sha256,
            row.label,
            Category(row.category),
            row.group,
        )
        for row in rows
    ]
    options = BackendOptions(
        project="another",
        state_folder=folder,
        split=MAIN_SPLIT,
        cache_folder=folder / "cache",
        project_folder=folder,
        weights=None,
        offline=True,
        facts=ProjectFacts(),
    )
    with open_backend("local", options) as backend:
        backend.upload(samples, lambda _done, _total: None)
        backend.set_impulse(impulse)
        wait(backend, backend.start_training(parameters), deadline_s=120)
        return {variant: backend.download_model(variant) for variant in VARIANTS}, backend.training_record()


@pytest.mark.parametrize("parameters", [unlike_studio(), pytest.param(transfer(), marks=pytest.mark.slow)])
def test_the_same_parameters_give_the_same_bytes_as_the_local_backend(
    trained: RunningStudio, tmp_path: Path, parameters: TrainingParameters
) -> None:
    caller, samples = Caller(trained), trained.studio.samples
    blocks = caller.get("{p}/impulse")["impulse"]
    blocks["learnBlocks"][0]["type"] = parameters.learn_block.type
    blocks["inputBlocks"][0] |= {"imageWidth": 32, "imageHeight": 32}
    caller.post("{p}/impulse", blocks)
    for row in samples.find(trained.project_id, Filter()):
        group = str(row.sample_id // 2)
        samples.set_metadata(trained.project_id, Filter(ids=(row.sample_id,)), {"eiauto_group": group})
    exposed = caller.get(BLOCK)["customParameters"]
    caller.done(caller.post(FEATURES, {"dspId": 2}))
    caller.done(caller.post(TRAIN, training_request(parameters, exposed)))
    impulse = impulse_from(caller.get("{p}/impulse")["impulse"], caller.get("{p}/dsp/2"))
    assert impulse is not None
    local, record = train_locally(trained, tmp_path / "local", impulse, parameters)
    assert models(caller) == local
    assert trained.studio.impulses.value(trained.project_id, LEARN_ID, KEPT)["record"] == record.model_dump(
        mode="json"
    )
    assert parameters_from(caller.get(BLOCK)) == parameters
    graphs = {graph["title"]: graph["data"] for graph in caller.get(f"{BLOCK}/metadata")["tensorboardGraphs"]}
    assert [series["values"] for series in graphs["Loss"]] == [record.curves.loss, record.curves.validation_loss]
    assert [series["values"] for series in graphs["Accuracy"]] == [
        record.curves.accuracy,
        record.curves.validation_accuracy,
    ]


def test_a_training_copies_no_sample(trained: RunningStudio) -> None:
    folder = trained.studio.projects.folder(trained.project_id)
    rows = trained.studio.samples.find(trained.project_id, Filter())
    contents = [path for path in folder.rglob("*") if path.is_file() and path.name in {row.sha256 for row in rows}]
    assert len(contents) == len(rows) == 26
    assert {path.parent.parent for path in contents} == {folder / "samples"}


def test_the_metadata_tell_the_last_training(trained: RunningStudio) -> None:
    caller = Caller(trained)
    found = caller.get(f"{BLOCK}/metadata")
    assert (found["hasTrainedModel"], found["classNames"]) == (True, ["green", "red"])
    assert found["availableModelTypes"] == list(VARIANTS)
    for metrics in found["modelValidationMetrics"]:
        matrix, report = metrics["confusionMatrix"], metrics["report"]
        right = sum(row[place] for place, row in enumerate(matrix))
        assert metrics["accuracy"] == report["accuracy"] == right / 4
        assert [sum(row) for row in matrix] == [report[label]["support"] for label in found["classNames"]]
        assert metrics["onDevicePerformance"] == []
    assert caller.get(f"{BLOCK}/metadata", excludeLabels="True")["labels"] == []
    assert caller.post(f"{BLOCK}/profile") == {"success": True}
    assert caller.get(f"{BLOCK}/data-explorer/features")["hasFeatures"] is False


def test_a_loss_that_is_no_number_is_told_as_one() -> None:
    curves = {
        "loss": [float("nan"), 0.5],
        "validation_loss": [float("inf"), 0.25],
        "accuracy": [0.0, 1.0],
        "validation_accuracy": [0.0, 1.0],
        "stage_starts": [0],
        "best_cycle": 1,
    }
    loss, _ = graphs_json(curves)
    assert json.loads(json.dumps(loss, allow_nan=False)) == loss
    assert [series["values"][1] for series in loss["data"]] == [0.5, 0.25]


def test_a_model_is_downloaded_by_number_and_by_variant(trained: RunningStudio) -> None:
    caller = Caller(trained)
    kept = trained.studio.impulses.value(trained.project_id, LEARN_ID, KEPT)["models"]
    found = models(caller)
    assert {name: hashlib.sha256(data).hexdigest() for name, data in found.items()} == {
        name: facts["sha256"] for name, facts in kept.items()
    }
    answer = caller.raw("GET", f"{{p}}/learn-data/{LEARN_ID}/model/int8")
    assert answer.content == found["int8"]
    assert ".tflite" in answer.headers["content-disposition"]
    assert "No model download" in caller.refused(
        "GET", f"{{p}}/learn-data/{LEARN_ID}/model/..%2f..%2fstudio.sqlite"
    )


def test_settings_are_kept_without_training(trained: RunningStudio) -> None:
    caller = Caller(trained)
    before = models(caller)
    caller.post(BLOCK, {"trainingCycles": 7, "assertGpuUsagePercentage": None})
    found = caller.get(BLOCK)
    assert (found["trainingCycles"], found["learningRate"], found["trained"]) == (
        7,
        TRAINING["learningRate"],
        True,
    )
    assert found["dependencies"]["classes"] == ["green", "red"]
    assert found["shape"] == "(12, 12, 3)"
    assert models(caller) == before
    listed = {item["param"] for model in found["transferLearningModels"] for item in model["customParameters"]}
    assert listed == {item.name for item in EXPOSED} == set(found["customParameters"])


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "Not updated configuration"),
    ({"assertGpuUsagePercentage": None}, "Not updated configuration"),
    ({"mode": "expert", "script": "import os"}, "mode expert"),
    ({"trainingCycles": 2.5}, "trainingCycles"),
    ({"trainingCycles": 0}, "training_cycles"),
    ({"trainingCycles": True}, "trainingCycles"),
    ({"learningRate": 7}, "learning_rate"),
    ({"minimumConfidenceRating": 2}, "between 0 and 1"),
    ({"visualLayers": [{"type": "lstm"}]}, "cannot train this"),
    ({"visualLayers": ["conv2d"]}, "visualLayers"),
    ({"useLearnedOptimizer": True}, "learned optimizer"),
    ({"akidaEdgeLearningConfig": {"enabled": True}}, "akidaEdgeLearningConfig"),
    ({"customValidationMetadataKey": "patient"}, "eiauto_group"),
    ({"customParameters": {"eiauto_weights": "/etc/passwd"}}, "pretrained, none"),
    ({"customParameters": {"other": "1"}}, "no custom parameter 'other'"),
    ({"customParameters": {"eiauto_seed": "soon"}}, "eiauto_seed"),
    ({"selectedModelType": "akida"}, "selectedModelType"),
    ({"visualLayers": [{"type": ["flatten"]}]}, "visualLayers"),
]
"""What a learn block cannot be set to, and words of the refusal."""


def test_what_cannot_be_trained_is_refused_and_changes_nothing(studio: RunningStudio) -> None:
    caller = Caller(studio)
    fill(caller)
    before = caller.get(BLOCK)
    for body, words in REFUSED:
        assert words in caller.refused("POST", BLOCK, body)
        assert words in caller.refused("POST", TRAIN, body)
    assert caller.get(BLOCK) == before
    assert caller.get("{p}/jobs/all")["jobs"] == []


def test_training_wants_features_and_features_want_samples(studio: RunningStudio) -> None:
    caller = Caller(studio)
    fill(caller)
    assert "generate features first" in caller.refused("POST", TRAIN, TRAINING)
    assert "No DSP block found with ID 7" in caller.refused("POST", FEATURES, {"dspId": 7})
    studio.studio.samples.delete(studio.project_id, Filter())
    assert "there are no samples in your training set" in caller.failed(caller.post(FEATURES, {"dspId": 2}))


def test_a_failed_training_leaves_no_older_model(trained: RunningStudio) -> None:
    caller = Caller(trained)
    trained.studio.workshop.job_fails = lambda kind: "out of memory" if kind.startswith("learn-train") else None
    log = caller.failed(caller.post(TRAIN, {**TRAINING, "trainingCycles": 3}))
    assert "out of memory" in log
    trained.studio.workshop.job_fails = lambda _kind: None
    samples = trained.studio.samples.find(trained.project_id, Filter(category="training"))
    trained.studio.samples.content(samples[0]).write_bytes(b"altered")
    trained.studio.samples.relabel(trained.project_id, Filter(ids=(samples[1].sample_id,)), "red")
    assert "cannot be read" in caller.failed(caller.post(TRAIN, {**TRAINING, "trainingCycles": 3}))
    assert caller.get("{p}/downloads")["downloads"] == []


def test_retraining_takes_the_samples_as_they_are_now(trained: RunningStudio) -> None:
    caller = Caller(trained)
    row = trained.studio.samples.find(trained.project_id, Filter(category="training"))[0]
    trained.studio.samples.disable(trained.project_id, Filter(ids=(row.sample_id,)))
    assert caller.get("{p}/impulses-detailed")["impulses"][0]["isStale"] is True
    log = caller.done(caller.post("{p}/jobs/retrain"))
    assert "generating them again" in log
    assert "Training on 15 samples, validating on 4" in log
    assert caller.get("{p}/impulses-detailed")["impulses"][0]["isStale"] is False
    assert caller.get("{p}/dsp/2/metadata")["windowCount"] == 19
