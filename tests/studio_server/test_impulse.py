"""Tags impulse and dsp of the local Studio."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ei_automation.schema.impulse import Impulse, InputBlock
from ei_automation.studio_api.impulse import impulse_from, impulse_request
from ei_automation.studio_server.sample_filter import Filter
from ei_automation.testing import RunningStudio, start_studio
from tests.studio_server.trained import LEARN_ID, PROJECT, TRAINING, Caller, trained, trained_folder

__all__ = ["trained", "trained_folder"]

IMPULSE = Impulse(input_block=InputBlock(image_width=12, image_height=16, resize_mode="fit-long"))


def request(**changes: Any) -> dict[str, Any]:
    """A request for an impulse, with changes of its first blocks by kind."""
    wanted = impulse_request(IMPULSE, "keras", dsp_version=1)
    for kind, change in changes.items():
        wanted[kind][0].update(change)
    return wanted


def detailed(caller: Caller) -> dict[str, Any]:
    """The only impulse, in detail."""
    (found,) = caller.get("{p}/impulses-detailed")["impulses"]
    return dict(found)


def test_an_impulse_is_what_was_set(studio: RunningStudio) -> None:
    caller = Caller(studio)
    assert "impulse" not in caller.get("{p}/impulse")
    assert caller.get("{p}/impulses")["impulses"] == []
    assert caller.get("{p}/impulses-detailed")["impulses"] == []
    assert caller.post("{p}/impulse", request())["id"] == 1
    caller.post("{p}/dsp/2", {"config": {"channels": "Grayscale"}})
    found = caller.get("{p}/impulse", impulseId=1)["impulse"]
    live = impulse_from(found, caller.get("{p}/dsp/2"))
    assert live is not None
    assert (live.input_block, live.dsp_block.channels) == (IMPULSE.input_block, "Grayscale")
    assert caller.get("{p}/impulse/all")["impulse"] == found
    assert [item["id"] for item in caller.get("{p}/impulses")["impulses"]] == [1]
    state = detailed(caller)
    assert (state["isStale"], state["configured"], state["complete"]) == (False, True, False)


def test_names_numbers_and_deletion(studio: RunningStudio) -> None:
    caller = Caller(studio)
    assert caller.post("{p}/impulse/get-new-block-id")["blockId"] == 1
    caller.post("{p}/impulse", request(learnBlocks={"id": 9}))
    caller.post("{p}/impulse/update", {"name": "Cells & more"})
    assert caller.get("{p}/impulse")["impulse"]["name"] == "Cells & more"
    assert caller.post("{p}/impulse/get-new-block-id")["blockId"] == 10
    assert caller.raw("DELETE", "{p}/impulse").json() == {"success": True}
    assert "impulse" not in caller.get("{p}/impulse")
    assert caller.post("{p}/impulse/get-new-block-id")["blockId"] == 11
    assert "No impulse" in caller.refused("POST", "{p}/impulse/update", {"name": "x"})


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"inputBlocks": {"resizeMode": "crop"}}, "resizes images with"),
    ({"inputBlocks": {"resizeMethod": "nearest"}}, "resizes images with"),
    ({"inputBlocks": {"imageWidth": 4000}}, "8 to 1024"),
    ({"inputBlocks": {"type": "time-series"}}, "no block of type 'time-series'"),
    ({"inputBlocks": {"id": 2}}, "unique"),
    ({"inputBlocks": {"id": 0}}, "unique"),
    ({"dspBlocks": {"type": "mfcc"}}, "no block of type 'mfcc'"),
    ({"dspBlocks": {"axes": ["accX"]}}, "one axis"),
    ({"dspBlocks": {"input": 7}}, "no input block with ID 7"),
    ({"dspBlocks": {"name": None}}, "dspBlocks.name"),
    ({"learnBlocks": {"type": "anomaly"}}, "no block of type 'anomaly'"),
    ({"learnBlocks": {"dsp": [7]}}, "not there"),
    ({"learnBlocks": {"id": True}}, "learnBlocks.id"),
]
"""Changes that make an impulse one that cannot be trained here, and words of the refusal."""


def test_an_impulse_that_cannot_be_trained_here_is_refused(studio: RunningStudio) -> None:
    caller = Caller(studio)
    for changes, words in REFUSED:
        assert words in caller.refused("POST", "{p}/impulse", request(**changes))
    assert "impulse" not in caller.get("{p}/impulse")


def test_other_impulses_and_blocks_are_not_there(studio: RunningStudio) -> None:
    caller = Caller(studio)
    caller.post("{p}/impulse", request())
    assert "No impulse found with ID 2" in caller.refused("GET", "{p}/impulse?impulseId=2")
    assert "No DSP block found with ID 7" in caller.refused("GET", "{p}/dsp/7")
    assert "No learn block found with ID 2" in caller.refused("GET", "{p}/training/keras/2")
    assert "channels" in caller.refused("POST", "{p}/dsp/2", {"config": {"channels": "CMYK"}})
    assert "no parameter 'scale'" in caller.refused("POST", "{p}/dsp/2", {"config": {"scale": "1"}})
    assert caller.raw("POST", "{p}/impulse/new", json={}).status_code == 501


def test_what_an_impulse_can_be_made_of(studio: RunningStudio) -> None:
    found = Caller(studio).get("{p}/impulse/blocks")
    assert [block["type"] for block in found["learnBlocks"]] == ["keras", "keras-transfer-image"]
    assert found["dspBlocks"][0]["latestImplementationVersion"] == 1
    models = Caller(studio).get("{p}/transfer-learning-models")["transferLearningModels"]
    assert "transfer_mobilenetv2_a35" in [model["type"] for model in models]


def test_features_tell_what_they_were_made_of(trained: RunningStudio) -> None:
    caller = Caller(trained)
    found = caller.get("{p}/dsp/2/metadata")
    assert (found["generated"], found["labels"], found["windowCount"]) == (True, ["green", "red"], 20)
    assert found["featureCount"] == 12 * 12 * 3
    training = trained.studio.samples.find(trained.project_id, Filter(category="training"))
    assert {item["id"] for item in found["includedSamples"]} == {row.sample_id for row in training}
    assert caller.get("{p}/dsp/2/metadata", excludeIncludedSamples=True)["includedSamples"] == []
    assert caller.get("{p}/dsp/2")["dsp"]["features"] == {
        "generated": True,
        "count": 20,
        "classes": ["green", "red"],
    }
    assert caller.get("{p}/dsp/2/performance")["performance"] == []
    assert caller.get("{p}/dsp/2/features/labels")["labels"] == []
    assert caller.get("{p}/dsp/2/features/importance")["hasFeatureImportance"] is False


def test_features_and_labels_come_as_numpy_files(trained: RunningStudio) -> None:
    caller = Caller(trained)

    def load(path: str) -> NDArray[Any]:
        content = io.BytesIO(caller.raw("GET", path).content)
        return np.asarray(np.load(content, allow_pickle=False))

    included = [item["id"] for item in caller.get("{p}/dsp/2/metadata")["includedSamples"]]
    x, y = load("{p}/dsp-data/2/x/training"), load("{p}/dsp-data/2/y/training")
    assert (x.shape, str(x.dtype), y[:, 1].tolist()) == ((20, 432), "float32", included)
    assert 0 <= x.min() < x.max() <= 1
    greener = x.reshape(-1, 144, 3)[:, :, 1].mean(1) > x.reshape(-1, 144, 3)[:, :, 0].mean(1)
    assert (y[:, 0] == np.where(greener, 1, 2)).all()
    assert (load(f"{{p}}/training/{LEARN_ID}/x") == x).all()
    assert (load(f"{{p}}/training/{LEARN_ID}/y") == y).all()
    assert load("{p}/dsp-data/2/x/testing").shape == (6, 432)
    assert sorted(load("{p}/dsp-data/2/y/testing")[:, 0]) == [1, 1, 1, 2, 2, 2]
    caller.post("{p}/dsp/2/clear")
    assert "generate features" in caller.refused("GET", "{p}/dsp-data/2/x/training")


def test_a_relabelled_sample_makes_the_impulse_stale_and_leaves_the_model(trained: RunningStudio) -> None:
    caller, samples = Caller(trained), trained.studio.samples
    assert (detailed(caller)["isStale"], detailed(caller)["complete"]) == (False, True)
    before = caller.get(f"{{p}}/training/keras/{LEARN_ID}/metadata")
    row = samples.find(trained.project_id, Filter(category="training"))[0]
    samples.relabel(trained.project_id, Filter(ids=(row.sample_id,)), "blue")
    assert detailed(caller)["isStale"] is True
    assert caller.get(f"{{p}}/training/keras/{LEARN_ID}/metadata") == before
    samples.relabel(trained.project_id, Filter(ids=(row.sample_id,)), row.label)
    assert detailed(caller)["isStale"] is False
    tested = samples.find(trained.project_id, Filter(category="testing"))[0]
    samples.relabel(trained.project_id, Filter(ids=(tested.sample_id,)), "blue")
    assert detailed(caller)["isStale"] is False


@pytest.mark.parametrize("change", ["impulse", "dsp", "clear"])
def test_nothing_of_another_impulse_is_served(trained: RunningStudio, change: str) -> None:
    caller = Caller(trained)
    if change == "impulse":
        caller.post("{p}/impulse", caller.get("{p}/impulse")["impulse"])
    elif change == "dsp":
        caller.post("{p}/dsp/2", {"config": {"channels": "RGB"}})
        assert caller.get("{p}/dsp/2/metadata")["generated"] is True
        caller.post("{p}/dsp/2", {"config": {"channels": "Grayscale"}})
    else:
        caller.post("{p}/dsp/2/clear")
    assert caller.get("{p}/dsp/2/metadata")["generated"] is False
    assert caller.get(f"{{p}}/training/keras/{LEARN_ID}/metadata")["hasTrainedModel"] is False
    assert caller.get(f"{{p}}/training/keras/{LEARN_ID}")["trained"] is False
    assert caller.get("{p}/downloads")["downloads"] == []
    assert "No trained" in caller.refused("GET", f"{{p}}/learn-data/{LEARN_ID}/model/1")
    assert "train your impulse" in caller.refused("GET", "{p}/classify/all/result")
    assert "generate features" in caller.refused("POST", f"{{p}}/jobs/train/keras/{LEARN_ID}", TRAINING)
    settings = caller.get(f"{{p}}/training/keras/{LEARN_ID}")
    assert settings["trainingCycles"] == TRAINING["trainingCycles"]


def test_a_block_of_another_type_starts_with_its_own_settings(trained: RunningStudio) -> None:
    caller = Caller(trained)
    impulse = caller.get("{p}/impulse")["impulse"]
    impulse["learnBlocks"][0]["type"] = "keras-transfer-image"
    caller.post("{p}/impulse", impulse)
    found = caller.get(f"{{p}}/training/keras/{LEARN_ID}")
    assert (found["type"], found["trainingCycles"]) == ("keras-transfer-image", 20)
    assert found["visualLayers"][0]["type"] == "transfer_mobilenetv2_a35"


def test_the_threshold_counts_the_results_anew(trained_folder: Path, tmp_path: Path) -> None:
    # Not under the Judge: the official client's own models cannot take a threshold's value.
    shutil.copytree(trained_folder, tmp_path / "studio")
    with start_studio(tmp_path / "studio", project=PROJECT) as running:
        set_thresholds(Caller(running))


def set_thresholds(caller: Caller) -> None:
    body = {
        "thresholds": [{"blockId": LEARN_ID, "key": "min_score", "value": 1}],
        "allowCreatingRegenerateModelTestingJobs": False,
    }
    answer = caller.raw("POST", "{p}/impulse/1/set-thresholds", json=body).json()
    assert (answer["hadModelTestingResults"], answer["regenerateModelTestingStatus"]) == (True, "regenerated")
    assert caller.get(f"{{p}}/training/keras/{LEARN_ID}")["minimumConfidenceRating"] == 1
    accuracy = caller.get("{p}/classify/all/result")["accuracy"]
    assert accuracy["totalSummary"]["good"] == 0
    assert accuracy["confusionMatrixValues"]["red"]["uncertain"] == 3
    assert "Counted 6 samples" in caller.done(caller.post("{p}/impulse/1/regenerate-model-testing-summary"))
    for item in ({"blockId": 7, "key": "min_score", "value": 1}, {"blockId": LEARN_ID, "key": "x", "value": 1}):
        assert "threshold" in caller.refused(
            "POST", "{p}/impulse/1/set-thresholds", {**body, "thresholds": [item]}
        )
