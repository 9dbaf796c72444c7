from __future__ import annotations

import dataclasses
import json

from ei_automation.deployment import bundle
from ei_automation.deployment.contents import BuildContents
from ei_automation.schema.deployment import BuildRequest
from ei_automation.schema.metrics import Metrics


def test_holds_both_models_labels_metrics_and_card(contents: BuildContents) -> None:
    files = bundle.files(BuildRequest("bundle"), contents)
    assert sorted(files) == [
        "MODEL_CARD.md",
        "labels.txt",
        "metrics.json",
        "model_float32.tflite",
        "model_int8.tflite",
    ]
    assert files["model_float32.tflite"] == contents.models["float32"]
    assert files["model_int8.tflite"] == contents.models["int8"]
    rows = json.loads(files["metrics.json"])
    assert tuple(Metrics.model_validate_json(json.dumps(row)) for row in rows) == contents.metrics


def test_the_card_states_results_with_intervals(contents: BuildContents) -> None:
    card = bundle.model_card(contents)
    int8 = next(one for one in contents.metrics if (one.variant, one.category) == ("int8", "testing"))
    low, high = int8.accuracy_interval
    row = f"| testing | int8 | 20 | {int8.accuracy * 100:.1f} % | {low * 100:.1f} % to {high * 100:.1f} % |"
    assert row in card
    assert card.count("| int8 | 20 |") == card.count("| float32 | 20 |") == 2


def test_the_card_states_data_split_weights_assumptions_and_limits(contents: BuildContents) -> None:
    card = bundle.model_card(contents)
    assert "| training | 38 | 40 | 7 | 85 |" in card
    assert "| testing | 0 | 20 | 0 | 20 |" in card
    assert "Split: group, 20 % testing, seed 3." in card
    assert "| Weights of the base | pretrained |" in card
    assert "- The seed is not stated: 3 was taken." in card
    assert "- 2 samples are alike across labels." in card
    assert "## Limits" in card
    assert '"training_cycles": 20' in card
    assert "Reproduces: Door \\| watcher (<https://example.org/door>)." in card
    assert "OpenMV Cam H7 Plus" in card


def test_the_card_says_when_there_were_no_weights(contents: BuildContents) -> None:
    for source in ("none", ""):
        card = bundle.model_card(dataclasses.replace(contents, weights_source=source))
        assert "trained from scratch, from random weights" in card


def test_the_card_of_a_model_that_was_not_measured(contents: BuildContents) -> None:
    bare = dataclasses.replace(contents, metrics=(), assumptions=(), description="", published_title="", boards=())
    card = bundle.model_card(bare)
    assert "Not measured." in card
    assert "None are listed." in card
    assert "Reproduces" not in card


def test_names_are_no_markup(contents: BuildContents) -> None:
    card = bundle.model_card(
        dataclasses.replace(contents, description="<script>alert(1)</script> **bold**\n# title")
    )
    assert "<script>" not in card.replace("\\<script\\>", "")
    assert "\n# title" not in card
